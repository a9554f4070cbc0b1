from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from facewright.models.layout import LAYOUT_239, LAYOUT_257, CoefficientLayout
from facewright.models.resnet_torch import Bottleneck, ResNet50, Variant
from facewright.models.rnet_torch import RNet

# Stride of every unit of the four stages, written out.
STRIDES: dict[str, list[list[int]]] = {
    "paper": [[1, 1, 2], [1, 1, 1, 2], [1, 1, 1, 1, 1, 2], [1, 1, 1]],
    "torchvision": [[1, 1, 1], [2, 1, 1, 1], [2, 1, 1, 1, 1, 1], [2, 1, 1]],
}


@cache
def network(variant: Variant = "paper") -> RNet:
    """An R-Net that tests only ask: half a second is spent on drawing its weights."""
    return RNet(variant=variant).eval()


def randomized(net: ResNet50, seed: int = 0) -> ResNet50:
    """Every parameter and statistic of normalization away from its neutral value."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.weight.data.uniform_(0.3, 0.9, generator=generator)
            module.bias.data.normal_(0, 0.1, generator=generator)
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    return net.eval()


def reference_resnet(w: Mapping[str, Tensor], images: Tensor, strides: list[list[int]]) -> Tensor:
    """F_g from a state dict by its names alone; the subsampled shortcut by slicing."""

    def conv_bn(x: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        kernel = w[f"{conv}.weight"]
        x = functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        mean, var = w[f"{norm}.running_mean"], w[f"{norm}.running_var"]
        gain, bias = w[f"{norm}.weight"], w[f"{norm}.bias"]
        mean, var, gain, bias = (v.view(1, -1, 1, 1) for v in (mean, var, gain, bias))
        return (x - mean) / torch.sqrt(var + 1e-5) * gain + bias

    x = torch.relu(conv_bn(images, "conv1", "bn1", 2))
    x = functional.max_pool2d(functional.pad(x, (1, 1, 1, 1), value=-math.inf), 3, 2)
    for stage, unit_strides in enumerate(strides, 1):
        for unit, stride in enumerate(unit_strides):
            name = f"layer{stage}.{unit}"
            y = torch.relu(conv_bn(x, f"{name}.conv1", f"{name}.bn1"))
            y = torch.relu(conv_bn(y, f"{name}.conv2", f"{name}.bn2", stride))
            y = conv_bn(y, f"{name}.conv3", f"{name}.bn3")
            if unit == 0:
                x = conv_bn(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
            else:
                x = x[:, :, ::stride, ::stride]
            x = torch.relu(x + y)
    return x.mean((2, 3))


@pytest.mark.parametrize("variant", ["paper", "torchvision"])
def test_resnet_equals_reference_by_names(variant: Variant) -> None:
    torch.manual_seed(1)
    net = randomized(ResNet50(variant)).double()
    images = torch.rand(2, 3, 96, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = reference_resnet(net.state_dict(), images, STRIDES[variant])
        actual = net(images)[1]
    assert expected.std() > 0.01
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def test_variants_have_the_parameters_of_torchvision() -> None:
    paper, torchvision = (network(v).backbone.state_dict() for v in ("paper", "torchvision"))
    assert {k: v.shape for k, v in paper.items()} == {k: v.shape for k, v in torchvision.items()}
    assert len(paper) == 318
    # torchvision's resnet50 has 25,557,032 parameters, 2,049,000 of them in its classifier.
    assert sum(p.numel() for p in network().backbone.parameters()) == 25_557_032 - 2_049_000
    assert paper["layer3.5.conv2.weight"].shape == (256, 256, 3, 3)
    assert paper["layer4.0.downsample.0.weight"].shape == (2048, 1024, 1, 1)


@pytest.mark.parametrize(
    ("variant", "size", "stage1"),
    [("paper", 224, 28), ("paper", 128, 16), ("torchvision", 224, 56), ("paper", 32, 4)],
)
def test_feature_shapes(variant: Variant, size: int, stage1: int) -> None:
    with torch.no_grad():
        fb1, fg = network(variant).features(torch.rand(1, 3, size, size))
    assert fb1.shape == (1, 256, stage1, stage1)
    assert fg.shape == (1, 2048)


def test_refuses_sides_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        network()(torch.rand(1, 3, 200, 200))
    with pytest.raises(ValueError, match="square"):
        network()(torch.rand(1, 3, 224, 230))


def test_large_crops_are_shrunk_by_area() -> None:
    net = RNet(input_size=64).eval()
    crops = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    small = torch.nn.functional.avg_pool2d(crops, 2)
    torch.testing.assert_close(net.shrink(crops), small)
    with torch.no_grad():
        torch.testing.assert_close(net(crops), net(small))


def test_refuses_unknown_variant() -> None:
    with pytest.raises(ValueError, match="variant"):
        RNet(variant="other")  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", [LAYOUT_239, LAYOUT_257])
@pytest.mark.parametrize("training", [True, False])
def test_starts_with_the_mean_face(layout: CoefficientLayout, training: bool) -> None:
    torch.manual_seed(2)
    net = RNet(layout).train(training)
    with torch.no_grad():
        parts = layout.split(net(torch.rand(4, 3, 96, 96)))
    for part in (parts.identity, parts.expression, parts.albedo):
        assert part.abs().max() < 0.15
    assert parts.rotation.abs().max() < 0.15
    assert parts.translation[:, :2].abs().max() < 0.15
    # Under the first band alone a color is albedo times light, here 0.8 to 1 times.
    shading = parts.light[..., 0] * 0.8862269
    assert shading.min() > 0.75
    assert shading.max() < 1.05
    # At this depth the perspective camera draws 100 mm as the alignment's 102 px.
    scale = 1015.0 / (1000.0 - 100.0 * net.fc.bias[layout.translation][2].item())
    assert scale * 100 == pytest.approx(102, abs=1e-3)


def test_every_parameter_is_trained() -> None:
    torch.manual_seed(3)
    net = RNet()
    for module in net.modules():
        if isinstance(module, Bottleneck):  # zero at the start, which stops the gradient behind it
            torch.nn.init.ones_(module.bn3.weight)
    net(torch.rand(2, 3, 64, 64)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
