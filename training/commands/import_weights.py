"""`facewright-train import`: an exported file, or a released checkpoint, becomes usable here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from facewright.models.checkpoints_torch import save_checkpoint
from facewright.models.layout import LAYOUT_257
from facewright.training.commands.progress import failing_in_one_line
from facewright.training.data.crops import crops_nchw
from facewright.training.data.shards import COEFFICIENTS, ShardSet
from facewright.training.onnx.importing import ImportRefused, import_onnx, refit_last_layer


def import_weights(
    source: Annotated[
        Path, typer.Argument(help="ONNX file that `export` wrote, or a released checkpoint.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Checkpoint to write; of a released one, directory of all files."
        ),
    ],
    layout: Annotated[
        str | None, typer.Option(help="257: SOURCE is a released checkpoint, a .pth file.")
    ] = None,
    face_model: Annotated[
        Path | None,
        typer.Option(
            help="Released: BFM_model_front.mat, or a face model's .npz.",
            show_default="face_model.npz in --out",
        ),
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option(
            help="Released: similarity_Lm3D_all.mat, to which photos are aligned.",
            show_default="beside --face-model, else the mean face's points",
        ),
    ] = None,
    crops: Annotated[
        Path | None, typer.Option(exists=True, help="ONNX: data directory to measure on.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help="ONNX: side of R-Net's images from now on, px.", min=32, max=224),
    ] = None,
    count: Annotated[int, typer.Option(help="ONNX: crops to measure on.", min=1)] = 256,
    refit: Annotated[
        int,
        typer.Option(
            help="ONNX: portraits to fit the last layer to, when they are of another face model.",
            min=0,
        ),
    ] = 0,
) -> None:
    """Turn an exported file into a checkpoint, or a released checkpoint into files to serve."""
    with failing_in_one_line("import"):
        if layout is not None:
            _import_released(source, layout, face_model, template, output)
        elif crops is not None:
            _import_export(source, output, crops, size, count, refit)
        elif source.suffix == ".onnx":
            raise ImportRefused(f"{source} is an ONNX file: give --crops")
        else:
            raise ImportRefused(f"{source} is no ONNX file: a released checkpoint needs --layout")


def _import_released(
    source: Path, layout: str, face_model: Path | None, template: Path | None, output: Path
) -> None:
    from facewright.models.alignment import FixedAlignment
    from facewright.models.morphable_model import MorphableModel
    from facewright.training.face_model.basel import (
        TEMPLATE_FILE,
        five_of_landmarks,
        read_front,
        read_template,
    )
    from facewright.training.onnx.released import FACE_MODEL, import_released

    if layout != LAYOUT_257.name:
        raise ImportRefused(f"{source}: released checkpoints have layout 257, not {layout}")
    file = output / FACE_MODEL if face_model is None else face_model
    if not file.is_file():
        raise ImportRefused(f"{source} needs a face model: there is no {file}; see --face-model")
    matlab = file.suffix.lower() == ".mat"
    try:
        model = read_front(file) if matlab else MorphableModel.load(file)
    except ValueError as error:
        named = str(error) if str(file) in str(error) else f"{file}: {error}"
        raise ImportRefused(f"no face model for {source}: {named}") from error
    beside = file.with_name(TEMPLATE_FILE)
    if template is None and beside.is_file():
        template = beside
    five = (
        five_of_landmarks(model.landmark_template) if template is None else read_template(template)
    )
    written = import_released(source, file, model, FixedAlignment(five), output)
    typer.echo(f"aligned by {template or 'the five points of the mean face'}; no C-Net")
    for name, path in written.items():
        typer.echo(f"{name:<12} {path}")


def _import_export(
    source: Path, output: Path, crops: Path, size: int | None, count: int, refit: int
) -> None:
    shards = ShardSet(crops)
    rows = np.arange(min(max(count, refit), len(shards)))
    pictures = crops_nchw(shards.crops(rows))
    rnet, cnet, info = import_onnx(source, pictures[:count], size)
    if refit:
        labels = shards.labels.take(rows)
        parts = [getattr(labels, name) for name in COEFFICIENTS]
        refit_last_layer(rnet, pictures, torch.from_numpy(np.concatenate(parts, axis=1)))
        # C-Net and the branch know coefficients that no longer exist.
        rnet.branch, cnet = None, None
        info = replace(info, face_model_sha256=shards.meta.face_model_sha256)
    save_checkpoint(output, rnet, cnet, info)
    typer.echo(f"{output}: R-Net at {info.input_size} px, C-Net {'yes' if cnet else 'untrained'}")
