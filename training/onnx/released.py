"""A released checkpoint becomes the files that the service takes.

What people bring along are PyTorch checkpoints of the 257 layout, made by the code that its authors
released with Deng et al. 2019 (arXiv 1903.08527), and trained on their own since.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from facewright.models.alignment import FixedAlignment
from facewright.models.checkpoints_torch import load_checkpoint, save_checkpoint
from facewright.models.layout import LAYOUT_257, CoefficientLayout
from facewright.models.morphable_model import MorphableModel
from facewright.training.onnx.export import export_checkpoint
from facewright.training.onnx.importing import ImportRefused

FACE_MODEL, WEIGHTS, CHECKPOINT = "face_model.npz", "weights.onnx", "rnet.pt"


def import_released(
    source: Path,
    face_model: Path,
    model: MorphableModel,
    alignment: FixedAlignment,
    output: Path,
) -> dict[str, Path]:
    """Write a face model, weights to serve and a checkpoint to train C-Net on into `output`.

    Nothing is rounded: bases and weights are stored in float32.

    Args:
        source: the released checkpoint, a `.pth` file.
        face_model: the file that `model` was read from, for messages.
        model: whose coefficients the checkpoint predicts, taken on trust: it does not say.
        alignment: how photos are cut for it.
        output: directory.

    Returns:
        The files by what they are: `face model`, `weights`, `checkpoint`.

    Raises:
        ImportRefused: the file is no released checkpoint, or the face model has other numbers of
            modes; the message names both.
        CheckpointError, ExportError, FileNotFoundError: see `export_checkpoint`.
    """
    rnet, _, info = load_checkpoint(source)
    if info.layout != LAYOUT_257.name:
        raise ImportRefused(f"{source}: a checkpoint of layout {info.layout}, not of 257")
    _check_fit(source, face_model, model, rnet.layout)
    output.mkdir(parents=True, exist_ok=True)
    written = {
        "face model": output / FACE_MODEL,
        "weights": output / WEIGHTS,
        "checkpoint": output / CHECKPOINT,
    }
    if face_model.resolve() != written["face model"].resolve():
        model.save(written["face model"], exact=True)
    sha256 = MorphableModel.load(written["face model"]).sha256
    info = replace(info, face_model_sha256=sha256, alignment=alignment.to_text())
    save_checkpoint(written["checkpoint"], rnet, None, info)
    export_checkpoint(
        written["checkpoint"],
        written["weights"],
        face_model=written["face model"],
        name=source.stem,
        license="that of the checkpoint and of its face model",
        stored_in="float32",
    )
    return written


def _check_fit(
    source: Path, face_model: Path, model: MorphableModel, layout: CoefficientLayout
) -> None:
    own = {"identity": model.n_identity, "expression": model.n_expression, "albedo": model.n_albedo}
    for name, count in own.items():
        columns: slice = getattr(layout, name)
        if count != columns.stop - columns.start:
            raise ImportRefused(
                f"{face_model} has {count} {name} modes, but {source} predicts"
                f" {columns.stop - columns.start}"
            )
