"""`facewright-train import`: an exported ONNX file becomes a checkpoint again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from facewright.models.camera import CROP_SIZE
from facewright.models.checkpoints_torch import save_checkpoint
from facewright.training.data.shards import ShardSet
from facewright.training.onnx.importing import ImportRefused, import_onnx, refit_last_layer


def import_weights(
    source: Annotated[Path, typer.Argument(help="ONNX file that `export` wrote")],
    output: Annotated[Path, typer.Option("--output", "-o", help="checkpoint to write")],
    crops: Annotated[Path, typer.Option(exists=True, help="data directory to measure on")],
    size: Annotated[
        int | None, typer.Option(help="side of R-Net's images from now on, px", min=32, max=224)
    ] = None,
    count: Annotated[int, typer.Option(help="crops to measure on", min=1)] = 256,
    refit: Annotated[
        int,
        typer.Option(
            help="portraits to fit the last layer to, when they are of another face model", min=0
        ),
    ] = 0,
) -> None:
    """Turn an exported file into a checkpoint to train further (`rnet --init`)."""
    shards = ShardSet(crops)
    margin = shards.meta.margin
    rows = np.arange(min(max(count, refit), len(shards)))
    rgb_u8 = shards.images(rows)[:, margin : margin + CROP_SIZE, margin : margin + CROP_SIZE]
    crops_nchw = torch.from_numpy(rgb_u8).permute(0, 3, 1, 2).float() / 255
    try:
        rnet, cnet, info = import_onnx(source, crops_nchw[:count], size)
    except (ImportRefused, FileNotFoundError) as error:
        typer.echo(f"import failed: {error}", err=True)
        raise typer.Exit(1) from error
    if refit:
        labels = shards.labels.take(rows)
        parts = [labels.identity, labels.expression, labels.albedo, labels.light]
        parts += [labels.rotation, labels.translation]
        refit_last_layer(rnet, crops_nchw, torch.from_numpy(np.concatenate(parts, axis=1)))
        # C-Net and the branch know coefficients that no longer exist.
        rnet.branch, cnet = None, None
        info = replace(info, face_model_sha256=shards.meta.face_model_sha256)
    save_checkpoint(output, rnet, cnet, info)
    typer.echo(f"{output}: R-Net at {info.input_size} px, C-Net {'yes' if cnet else 'untrained'}")
