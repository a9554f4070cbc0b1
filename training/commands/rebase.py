"""`facewright-train rebase`: carry R-Net over to another build of the face model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.checkpoints_torch import load_checkpoint, save_checkpoint
from facewright.models.morphable_model import MorphableModel
from facewright.training.rnet.rebase import RebaseError, rebase


def rebase_checkpoint(
    checkpoint: Annotated[Path, typer.Argument(exists=True, help="R-Net without a branch.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="Checkpoint to write.")],
    old: Annotated[Path, typer.Option("--from", exists=True, help="Its face model.")],
    new: Annotated[
        Path | None, typer.Option("--to", help="Another build [default: the shipped one].")
    ] = None,
) -> None:
    """Carry R-Net over to another build of the face model, with the same mesh."""
    rnet, _, info = load_checkpoint(checkpoint)
    before = MorphableModel.load(old)
    after = MorphableModel.load(new or asset_path(FACE_MODEL))
    if info.face_model_sha256 != before.sha256 or rnet.branch is not None:
        raise typer.BadParameter(f"{checkpoint} is not of {old}, or has a branch: fit it after")
    try:
        worst = rebase(rnet, before, after)
    except RebaseError as error:
        raise typer.BadParameter(str(error)) from error
    save_checkpoint(output, rnet, None, replace(info, face_model_sha256=after.sha256))
    typer.echo(f"{output}: no identity mode is off by more than {worst:.3f} mm rms")
