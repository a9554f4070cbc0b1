from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from facewright.models.chips_torch import DLIB_LANDMARKS, DLIB_REFERENCE
from facewright.training.onnx.interpreter import OnnxNetwork, UnsupportedNetwork
from facewright.training.recognition.alignment import arcface_chips
from facewright.training.recognition.dlib_resnet import DlibFormatError
from facewright.training.recognition.recognizer import (
    ArcFaceNetwork,
    Recognizer,
    RecognizerError,
    RecognizerMissing,
    load_recognizer,
)


def _faces(count: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(7)
    images = rng.random((count, 3, 224, 224), dtype=np.float32)
    points = np.full((68, 2), 0.5)
    points[list(DLIB_LANDMARKS)] = DLIB_REFERENCE
    landmarks = 60 + 100 * points + rng.normal(0, 2, (count, 68, 2))
    return torch.from_numpy(images), torch.from_numpy(landmarks).float()


def _arcface(
    path: Path, batch: int | str = "n", normalizes: bool = False, channels: int = 3, size: int = 112
) -> Path:
    """Writes a network whose descriptor is the chip, averaged over 4 x 4 blocks."""
    nodes, x = [], "x"
    if normalizes:
        nodes = [
            helper.make_node("Sub", ["x", "m"], ["s"]),
            helper.make_node("Mul", ["s", "k"], ["z"]),
        ]
        x = "z"
    block = size // 4
    nodes += [
        helper.make_node(
            "AveragePool", [x], ["a"], kernel_shape=[block, block], strides=[block, block]
        ),
        helper.make_node("Reshape", ["a", "shape"], ["y"]),
    ]
    first = 1 if batch == 1 else 0
    values = {
        "m": np.float32(127.5),
        "k": np.float32(1 / 127.5),
        "shape": np.array([first, 16 * channels]),
    }
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, channels, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in values.items()],
    )
    opsets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def _check(recognizer: Recognizer, dimension: int) -> None:
    images, landmarks = _faces(2)
    images.requires_grad_()
    landmarks.requires_grad_()
    found = recognizer(images, landmarks)
    assert recognizer.dimension == dimension
    assert found.shape == (2, dimension)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    (1 - found[0] @ found[1]).backward()
    assert images.grad is not None
    assert all(gradient.abs().sum() > 0 for gradient in images.grad)
    assert landmarks.grad is None
    # Nothing far from the faces is looked at.
    assert not images.grad[:, :, 210:].any()
    assert isinstance(recognizer, torch.nn.Module)
    assert not list(recognizer.parameters())
    assert not recognizer.state_dict()
    assert not any(module.training for module in recognizer.train().modules())
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(recognizer(images, landmarks), found)
    torch.testing.assert_close(recognizer(images[1:], landmarks[1:]), found[1:])


def test_dlib_file(dlib_path: Path) -> None:
    _check(load_recognizer(dlib_path), 128)


def test_onnx_file(tmp_path: Path) -> None:
    _check(load_recognizer(str(_arcface(tmp_path / "network.onnx"))), 48)


@pytest.mark.parametrize("batch", ["n", 1])
@pytest.mark.parametrize("normalizes", [False, True])
def test_arcface_input(tmp_path: Path, batch: int | str, normalizes: bool) -> None:
    network = OnnxNetwork.from_file(_arcface(tmp_path / "a.onnx", batch, normalizes))
    images, landmarks = _faces(3)
    chips = arcface_chips(images, landmarks, 112)
    blocks = torch.nn.functional.avg_pool2d(2 * chips - 1, 28).flatten(1)
    found = ArcFaceNetwork(network)(chips)
    torch.testing.assert_close(found, blocks, atol=1e-5, rtol=1e-5)


def test_arcface_of_another_size(tmp_path: Path) -> None:
    recognizer = load_recognizer(_arcface(tmp_path / "a.onnx", size=224))
    images, landmarks = _faces(1)
    blocks = torch.nn.functional.avg_pool2d(arcface_chips(images, landmarks, 224), 56).flatten(1)
    expected = torch.nn.functional.normalize(2 * blocks - 1)
    torch.testing.assert_close(recognizer(images, landmarks), expected, atol=1e-4, rtol=0)


def test_sources_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(RecognizerError, match="neither 'dlib' nor"):
        load_recognizer("facenet.pb")
    with pytest.raises(FileNotFoundError):
        load_recognizer(tmp_path / "absent.onnx")
    (tmp_path / "text.dat").write_text("this is no network")
    with pytest.raises(DlibFormatError, match="text.dat"):
        load_recognizer(tmp_path / "text.dat")
    gray = _arcface(tmp_path / "gray.onnx", channels=1)
    with pytest.raises(UnsupportedNetwork, match=r"gray.onnx: input .*\(N, 3, S, S\)"):
        load_recognizer(gray)


def test_the_package_is_found_without_being_imported(
    dlib_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "face_recognition_models"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('it was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RecognizerMissing, match="requirements/recognition.txt"):
        load_recognizer("dlib")
    (package / "models" / "dlib_face_recognition_resnet_model_v1.dat").symlink_to(dlib_path)
    assert load_recognizer("dlib").dimension == 128
    assert "face_recognition_models" not in sys.modules


def test_without_the_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecognizerMissing, match="pip install --no-deps -r requirements/recogn"):
        load_recognizer()


def test_the_published_network() -> None:
    try:
        recognizer = load_recognizer("dlib")
    except RecognizerMissing as error:
        pytest.skip(str(error))
    _check(recognizer, 128)
