"""The identity branch in the graph, and back from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from facewright.models.cnet_torch import CNet
from facewright.models.identity_branch_torch import IdentityBranch
from facewright.models.layout import LAYOUT_239
from facewright.models.morphable_model import MorphableModel
from facewright.models.rnet_torch import RNet
from facewright.training.onnx.builder import Precision
from facewright.training.onnx.graph import build_onnx, serialize
from facewright.training.onnx.importing import import_onnx
from tests.training.onnx.networks import blocks

pytestmark = pytest.mark.slow

OUTPUTS = ["coefficients", "confidences", "descriptors"]
METADATA = {"layout": LAYOUT_239.name, "variant": "paper", "face_model": "ab" * 32}


def network(model: MorphableModel, chip_size: int) -> RNet:
    """R-Net whose poses differ from crop to crop, with a branch that has a say."""
    torch.manual_seed(0)
    branch = IdentityBranch(LAYOUT_239.size, chip_size)
    branch.set_face_model(model)
    torch.nn.init.normal_(branch.head.weight, std=0.1)
    rnet = RNet(input_size=64, branch=branch)
    torch.nn.init.normal_(rnet.fc.weight, std=0.01)
    rnet.fc.weight.data[LAYOUT_239.rotation] *= 20
    with torch.no_grad():
        rnet.train()(blocks(8, seed=1))
    return rnet.eval()


def run(rnet: RNet, precision: Precision, images: torch.Tensor) -> list[np.ndarray]:
    torch.manual_seed(3)
    graph = serialize(build_onnx(rnet, CNet(16, 32).eval(), precision, METADATA))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(OUTPUTS, {"crops": images.numpy()})


@pytest.mark.parametrize("chip_size", [150, 120])
def test_graph_gives_what_torch_gives(toy_head, chip_size: int) -> None:
    rnet = network(toy_head.model, chip_size)
    images = blocks(3, seed=5)
    with torch.no_grad():
        expected = rnet.regress(images)
        bare = rnet.fc(expected.pooled)
    assert expected.descriptors is not None
    # The crops are seen from different sides, and the branch changes the identity alone.
    assert bare[:, LAYOUT_239.rotation].std(0).min() > 0.01
    moved = (expected.coefficients - bare).abs().mean(0)
    assert moved[LAYOUT_239.identity].min() > 1e-3
    assert not moved[LAYOUT_239.identity.stop :].any()
    coefficients, _, descriptors = run(rnet, "float32", images)
    np.testing.assert_allclose(coefficients, expected.coefficients, atol=2e-5)
    np.testing.assert_allclose(descriptors, expected.descriptors, atol=2e-5)
    alone = run(rnet, "float32", images[1:2])
    np.testing.assert_allclose(alone[2][0], descriptors[1], atol=2e-5)


def test_8_bits_change_little(toy_head) -> None:
    rnet = network(toy_head.model, 150)
    images = blocks(4, seed=5)
    exact, stored = run(rnet, "float32", images), run(rnet, "int8", images)
    assert 0 < np.abs(exact[0] - stored[0]).max() < 0.05
    assert 0 < 1 - (exact[2] * stored[2]).sum(1).min() < 1e-3
    np.testing.assert_allclose(np.linalg.norm(stored[2], axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_import_reads_the_branch_back(toy_head, tmp_path: Path, precision: Precision) -> None:
    rnet = network(toy_head.model, 120)
    cnet = CNet(16, 32).eval()
    torch.nn.init.normal_(cnet.fc2.weight, std=0.05)
    path = tmp_path / "x.onnx"
    path.write_bytes(serialize(build_onnx(rnet, cnet, precision, METADATA)))
    again, cnet_again, info = import_onnx(path, blocks(4, seed=2))
    assert again.branch is not None
    assert again.branch.chip_size == 120
    assert cnet_again is not None
    assert (cnet_again.channels, cnet_again.hidden) == (16, 32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = blocks(3, seed=3)
    coefficients, confidences, descriptors = session.run(OUTPUTS, {"crops": images.numpy()})
    with torch.no_grad():
        found = again.regress(images)
        own = cnet_again(found.stage1, found.pooled)
    assert found.descriptors is not None
    np.testing.assert_allclose(found.coefficients, coefficients, atol=5e-4)
    np.testing.assert_allclose(found.descriptors, descriptors, atol=5e-4)
    np.testing.assert_allclose(own, confidences, atol=5e-4)
    if precision == "float32":
        for name, value in rnet.branch.state_dict().items():
            torch.testing.assert_close(again.branch.state_dict()[name], value, msg=name)
