"""A trained network as a function from crops to coefficients, whichever file it is in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from facewright.models.arrays import FloatArray
from facewright.models.checkpoints_torch import load_checkpoint
from facewright.models.layout import LAYOUTS, CoefficientLayout

Crops = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Network:
    """What is evaluated.

    Attributes:
        predict: coefficients (N, layout.size) of crops (N, 224, 224, 3) uint8 RGB.
        layout: of the coefficients.
        face_model_sha256: of the face model they belong to; "" when the file does not say.
        describe: descriptors (N, D) of unit length of such crops; None of a network without.
    """

    predict: Callable[[Crops], FloatArray]
    layout: CoefficientLayout
    face_model_sha256: str
    describe: Callable[[Crops], FloatArray] | None = None


@dataclass(frozen=True, eq=False)
class AlbumNetwork:
    """What albums are evaluated with.

    Attributes:
        predict: coefficients (N, layout.size) and confidences (N, 80) of crops (N, 224, 224, 3)
            uint8 RGB.
        layout: of the coefficients.
        face_model_sha256: of the face model they belong to; "" when the file does not say.
    """

    predict: Callable[[Crops], tuple[FloatArray, FloatArray]]
    layout: CoefficientLayout
    face_model_sha256: str


def load_album_network(path: Path) -> AlbumNetwork:
    """Read an ONNX file (by its suffix) or a checkpoint with its C-Net.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ValueError: the checkpoint has no C-Net, or the ONNX file no known layout.
        FileNotFoundError: no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no network at {path}")
    if path.suffix == ".onnx":
        session, layout, sha256 = _session(path)

        def run(crops: Crops) -> tuple[FloatArray, FloatArray]:
            crops_nchw = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32) / 255
            out = session.run(["coefficients", "confidences"], {"crops": crops_nchw})
            return out[0], out[1]

        return AlbumNetwork(run, layout, sha256)
    rnet, cnet, info = load_checkpoint(path)
    if cnet is None:
        raise ValueError(f"{path} has no C-Net")
    confide = cnet

    @torch.no_grad()
    def predict(crops: Crops) -> tuple[FloatArray, FloatArray]:
        crops_nchw = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
        found = rnet.regress(crops_nchw)
        return found.coefficients.numpy(), confide(found.stage1, found.pooled).numpy()

    return AlbumNetwork(predict, rnet.layout, info.face_model_sha256)


def load_network(path: Path) -> Network:
    """Read an ONNX file (by its suffix) or a checkpoint.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ValueError: the ONNX file has no known layout in its metadata.
        FileNotFoundError: no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no network at {path}")
    return _onnx(path) if path.suffix == ".onnx" else _checkpoint(path)


def _session(path: Path) -> tuple[onnxruntime.InferenceSession, CoefficientLayout, str]:
    """Session of an ONNX file, layout of its coefficients, and their face model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    layout = LAYOUTS.get(metadata.get("layout", ""))
    if layout is None:
        raise ValueError(f"{path}: no known coefficient layout in the metadata")
    return session, layout, metadata.get("face_model", "")


def _onnx(path: Path) -> Network:
    session, layout, sha256 = _session(path)

    def run(output: str, crops: Crops) -> FloatArray:
        crops_nchw = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32) / 255
        out: FloatArray = session.run([output], {"crops": crops_nchw})[0]
        return out

    describes = "descriptors" in {output.name for output in session.get_outputs()}
    describe = partial(run, "descriptors") if describes else None
    return Network(partial(run, "coefficients"), layout, sha256, describe)


def _checkpoint(path: Path) -> Network:
    rnet, _, info = load_checkpoint(path)

    @torch.no_grad()
    def run(output: str, crops: Crops) -> FloatArray:
        crops_nchw = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
        out: npt.NDArray[Any] = getattr(rnet.regress(crops_nchw), output).numpy()
        return out

    describe = None if rnet.branch is None else partial(run, "descriptors")
    return Network(partial(run, "coefficients"), rnet.layout, info.face_model_sha256, describe)
