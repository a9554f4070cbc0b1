"""Options that several training commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from facewright.models.morphable_model import MorphableModel

RunDirectory = Annotated[
    Path,
    typer.Option(help="Directory of the run. If it holds a checkpoint, the run is resumed."),
]
PortraitShards = Annotated[
    list[Path] | None,
    typer.Option(exists=True, help="Directory of portrait shards; may be repeated."),
]
PhotoShards = Annotated[
    list[Path] | None,
    typer.Option(exists=True, help="Directory of photo shards; may be repeated."),
]
FaceModelFile = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        help="Face model that the coefficients belong to.",
        show_default="the shipped one",
    ),
]


def load_face_model(file: Path | None) -> MorphableModel:
    """The face model of a file, or the shipped one.

    Raises:
        FaceModelFileError, OSError: see `MorphableModel.load`.
    """
    from facewright.models.assets import FACE_MODEL, asset_path
    from facewright.models.morphable_model import MorphableModel

    return MorphableModel.load(file or asset_path(FACE_MODEL))
