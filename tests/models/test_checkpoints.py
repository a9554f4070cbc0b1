from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from facewright.models.checkpoints_torch import (
    CheckpointError,
    CheckpointInfo,
    initialize,
    load_checkpoint,
    load_imagenet,
    save_checkpoint,
)
from facewright.models.cnet_torch import CNet
from facewright.models.layout import LAYOUT_239, LAYOUT_257
from facewright.models.resnet_torch import ResNet50, Variant
from facewright.models.rnet_torch import RNet

INFO = CheckpointInfo("239", "paper", "ab" * 32, 7, 700, {"lr": 1e-4, "stages": [128, 224]})


@cache
def _weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    weights = ResNet50("torchvision").state_dict()
    for name, value in weights.items():
        if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            value.uniform_(0.4, 1.0, generator=generator)
        elif value.ndim == 1:
            value.normal_(0, 0.1, generator=generator)
    return weights


def resnet_weights() -> dict[str, Tensor]:
    """State dict of a ResNet-50 with nothing at its neutral value."""
    return dict(_weights())


def released_heads() -> dict[str, Tensor]:
    """The last layers of the released format with random content."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for index, size in enumerate((80, 64, 80, 3, 27, 2, 1)):
        state[f"final_layers.{index}.weight"] = (
            torch.randn(size, 2048, 1, 1, generator=generator) / 50
        )
        state[f"final_layers.{index}.bias"] = torch.randn(size, generator=generator)
    return state


def released_state() -> dict[str, Tensor]:
    """A state dict of the released format."""
    return {f"backbone.{name}": value for name, value in _weights().items()} | released_heads()


def save(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    return path


@pytest.mark.parametrize("with_cnet", [True, False])
def test_round_trip(tmp_path: Path, with_cnet: bool) -> None:
    torch.manual_seed(0)
    rnet, cnet = RNet(input_size=96), CNet() if with_cnet else None
    path = tmp_path / "last.pt"
    saved = replace(INFO, input_size=96)
    save_checkpoint(path, rnet, cnet, saved)
    random = torch.random.get_rng_state()
    again, cnet_again, info = load_checkpoint(path)
    assert torch.equal(torch.random.get_rng_state(), random)  # no start is drawn for nothing
    assert info == saved
    assert again.input_size == 96
    assert not again.training
    assert again.layout is LAYOUT_239
    for name, value in rnet.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    if cnet is None:
        assert cnet_again is None
    else:
        assert cnet_again is not None
        assert not cnet_again.training
        for name, value in cnet.state_dict().items():
            assert torch.equal(value, cnet_again.state_dict()[name]), name


def test_save_refuses_a_wrong_description(tmp_path: Path) -> None:
    rnet = RNet(LAYOUT_257, "torchvision", input_size=128)
    described = {"layout": "257", "variant": "torchvision", "input_size": 128}
    for wrong in described:
        right = {name: value for name, value in described.items() if name != wrong}
        with pytest.raises(ValueError, match="its description"):
            save_checkpoint(tmp_path / "x.pt", rnet, None, replace(INFO, **right))


def test_released_checkpoint_gives_the_outputs_of_its_heads(tmp_path: Path) -> None:
    state = released_state()
    path = save(tmp_path, {"net_recon": state, "opt_00": {"state": {}}})
    random = torch.random.get_rng_state()
    rnet, cnet, info = load_checkpoint(path)
    assert torch.equal(torch.random.get_rng_state(), random)
    assert (info.layout, info.variant, info.face_model_sha256) == ("257", "torchvision", "")
    assert cnet is None
    assert not rnet.training

    crops = torch.rand(2, 3, 64, 64)
    backbone = ResNet50("torchvision").eval()
    backbone.load_state_dict(
        {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    )
    with torch.no_grad():
        parts = rnet.layout.split(rnet(crops))
        pooled = backbone(crops)[1][:, :, None, None]
        identity, expression, albedo, angles, light, shift, depth = (
            functional.conv2d(
                pooled, state[f"final_layers.{i}.weight"], state[f"final_layers.{i}.bias"]
            ).flatten(1)
            for i in range(7)
        )
    torch.testing.assert_close(parts.identity, identity)
    torch.testing.assert_close(parts.expression, expression)
    torch.testing.assert_close(parts.albedo, albedo)
    torch.testing.assert_close(parts.rotation, angles)
    torch.testing.assert_close(parts.translation[:, :2], shift)
    torch.testing.assert_close(parts.translation[:, 2:], depth)
    for channel in range(3):
        expected = light[:, 9 * channel : 9 * channel + 9].clone()
        expected[:, 0] += 0.8
        torch.testing.assert_close(parts.light[:, channel], expected)


@pytest.mark.parametrize(("variant", "old_torch"), [("paper", True), ("torchvision", False)])
def test_imagenet_initializes_both_variants(
    tmp_path: Path, variant: Variant, old_torch: bool
) -> None:
    weights = resnet_weights()
    if old_torch:  # files of torch 0.3 have no counters
        weights = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    content = weights | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    net = ResNet50(variant).eval()
    load_imagenet(net, save(tmp_path, content))
    own = net.state_dict()
    for name, value in weights.items():
        if name not in ("conv1.weight", "bn1.running_mean"):
            assert torch.equal(own[name], value), name

    # An image in [0, 1] gives what the original gives for the normalized image, away from the
    # border (3 px of padding).
    image = torch.rand(1, 3, 64, 64)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    expected = functional.batch_norm(
        functional.conv2d((image - mean) / std, weights["conv1.weight"], stride=2, padding=3),
        weights["bn1.running_mean"],
        weights["bn1.running_var"],
        weights["bn1.weight"],
        weights["bn1.bias"],
    )
    with torch.no_grad():
        actual = net.bn1(net.conv1(image))
    inside = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(actual[inside], expected[inside], rtol=1e-4, atol=1e-4)


class TestErrors:
    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no weights file"):
            load_checkpoint(tmp_path / "absent.pt")

    def test_not_weights(self, tmp_path: Path) -> None:
        path = tmp_path / "text.pt"
        path.write_text("not a checkpoint")
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_checkpoint(path)

    def test_code_is_not_run(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_checkpoint(save(tmp_path, {"model": Trap()}))
        assert not Trap.sprung

    def test_unrelated_dict(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="lacks face_model_sha256, images"):
            load_checkpoint(save(tmp_path, {"model": {}}))

    def test_not_a_dict(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="holds a list"):
            load_checkpoint(save(tmp_path, [1, 2]))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"layout": "300"}, "layout '300'"),
            ({"variant": "slim"}, "variant"),
            ({"layout": "257"}, r"wrong shape: fc.weight \(239, 2048\) instead of \(257, 2048\)"),
        ],
    )
    def test_wrong_entries(self, tmp_path: Path, change: dict[str, Any], message: str) -> None:
        content = {"model": {"fc.weight": torch.zeros(239, 2048)}, **INFO.entries()} | change
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(save(tmp_path, content))

    def test_missing_and_unexpected_keys_are_named(self, tmp_path: Path) -> None:
        state = released_state()
        del state["backbone.layer2.1.conv3.weight"]
        state["backbone.extra"] = torch.zeros(1)
        state["final_layers.7.bias"] = torch.zeros(1)
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(save(tmp_path, {"net_recon": state}))
        message = str(caught.value)
        assert "missing: backbone.layer2.1.conv3.weight" in message
        assert "unexpected: backbone.extra, final_layers.7.bias" in message

    def test_missing_head(self, tmp_path: Path) -> None:
        state = released_heads()
        del state["final_layers.4.weight"]
        with pytest.raises(CheckpointError, match=r"final_layers\.4\.weight is missing"):
            load_checkpoint(save(tmp_path, {"net_recon": state}))

    def test_imagenet_file_of_another_network(self, tmp_path: Path) -> None:
        net = ResNet50()
        before = net.conv1.weight.clone()
        weights = {k: v for k, v in resnet_weights().items() if not k.startswith("layer4")}
        with pytest.raises(CheckpointError, match=r"missing: layer4.0.conv1.weight.* and \d+ more"):
            load_imagenet(net, save(tmp_path, weights))
        assert torch.equal(net.conv1.weight, before)


class Trap:
    """Would show that unpickling ran code."""

    sprung = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (_spring, ())


def _spring() -> None:
    Trap.sprung = True


def test_initialize_takes_the_last_layer_only_from_the_same_face_model(tmp_path: Path) -> None:
    torch.manual_seed(7)
    earlier, network = RNet(), RNet()
    info = CheckpointInfo("239", "paper", "aa", 1, 1, {})
    save_checkpoint(tmp_path / "earlier.pt", earlier, None, info)
    own_layer = network.fc.weight.clone()
    for sha256, layer in (("bb", own_layer), ("aa", earlier.fc.weight)):
        initialize(network, tmp_path / "earlier.pt", sha256)
        assert torch.equal(network.backbone.conv1.weight, earlier.backbone.conv1.weight)
        assert torch.equal(network.fc.weight, layer)
