"""A trained network as a function from crops to coefficients, whichever file it is in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from facewright.models.arrays import FloatArray
from facewright.models.checkpoints_torch import load_checkpoint
from facewright.models.layout import LAYOUTS, CoefficientLayout
from facewright.models.morphable_model import MorphableModel
from facewright.training.data.crops import crops_nchw

Crops = npt.NDArray[np.uint8]
Run = Callable[[Sequence[str], Crops], list[FloatArray]]
"""Outputs of the given names, of crops."""


@dataclass(frozen=True, eq=False)
class Network:
    """What is evaluated, on crops (N, 224, 224, 3) uint8 RGB.

    Attributes:
        predict: coefficients (N, layout.size) of crops.
        layout: of the coefficients.
        face_model_sha256: of the face model they belong to; "" when the file does not say.
        describe: descriptors (N, D) of unit length; None of a network without.
        confide: coefficients and confidences (N, 80); None of a network without a C-Net.
    """

    predict: Callable[[Crops], FloatArray]
    layout: CoefficientLayout
    face_model_sha256: str
    describe: Callable[[Crops], FloatArray] | None = None
    confide: Callable[[Crops], Sequence[FloatArray]] | None = None

    def check(self, model: MorphableModel) -> None:
        """Make sure that the network was trained for a face model.

        Raises:
            ValueError: it was trained for another one.
        """
        if self.face_model_sha256 not in ("", model.sha256):
            raise ValueError(
                f"the network is of face model {self.face_model_sha256}, not {model.sha256}"
            )


def load_network(path: Path) -> Network:
    """Read an ONNX file (by its suffix) or a checkpoint.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ValueError: the ONNX file has no known layout in its metadata.
        FileNotFoundError: no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no network at {path}")
    read = _onnx if path.suffix == ".onnx" else _checkpoint
    run, outputs, layout, sha256 = read(path)

    def one(output: str) -> Callable[[Crops], FloatArray] | None:
        return (lambda crops: run([output], crops)[0]) if output in outputs else None

    predict = one("coefficients")
    assert predict is not None
    both = ("coefficients", "confidences")
    confide = partial(run, both) if set(both) <= set(outputs) else None
    return Network(predict, layout, sha256, one("descriptors"), confide)


def _onnx(path: Path) -> tuple[Run, Collection[str], CoefficientLayout, str]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    layout = LAYOUTS.get(metadata.get("layout", ""))
    if layout is None:
        raise ValueError(f"{path}: no known coefficient layout in the metadata")

    def run(outputs: Sequence[str], crops: Crops) -> list[FloatArray]:
        found: list[FloatArray] = session.run(
            outputs, {"crops": crops_nchw(crops).contiguous().numpy()}
        )
        return found

    names = [output.name for output in session.get_outputs()]
    return run, names, layout, metadata.get("face_model", "")


def _checkpoint(path: Path) -> tuple[Run, Collection[str], CoefficientLayout, str]:
    rnet, cnet, info = load_checkpoint(path)

    @torch.no_grad()
    def run(outputs: Sequence[str], crops: Crops) -> list[FloatArray]:
        found = rnet.regress(crops_nchw(crops))
        values = found._asdict()
        if cnet is not None and "confidences" in outputs:
            values["confidences"] = cnet(found.stage1, found.pooled)
        return [values[name].numpy() for name in outputs]

    names = ["coefficients"]
    names += [] if cnet is None else ["confidences"]
    names += [] if rnet.branch is None else ["descriptors"]
    return run, names, rnet.layout, info.face_model_sha256
