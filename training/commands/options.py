"""Options that several training commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
TrainingPortraits = Annotated[
    list[Path],
    typer.Option(exists=True, help="Directory of portrait shards; may be repeated."),
]
PortraitCount = Annotated[int, typer.Option(min=1, help="Number of portraits in all.")]
PortraitSeed = Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")]
SeedSplit = Annotated[
    Literal["train", "val"],
    typer.Option(help="Which part of the seeds; no picture of one is in the other."),
]
HeadFile = Annotated[
    Path, typer.Option(help="Head model that `facewright-train face-model` writes.")
]
HEAD_FILE = Path("runs/face_model/head.npz")
PhotoShards = Annotated[
    list[Path] | None,
    typer.Option(exists=True, help="Directory of photo shards; may be repeated."),
]
NetworkFile = Annotated[Path, typer.Argument(help="ONNX file or checkpoint.")]
PhotoFolder = Annotated[
    Path, typer.Argument(help="Directory of photos, searched with its directories.")
]
LabelFile = Annotated[Path, typer.Option(help=".npz of names, mesh468 and maybe landmarks68.")]
_POINTS = "Points to align by, as `facewright detect PHOTOS -o` writes them."
PointsFile = Annotated[Path | None, typer.Option(help=_POINTS)]
NeededPointsFile = Annotated[Path, typer.Option(help=_POINTS)]
LandmarkShift = Annotated[
    tuple[float, float],
    typer.Option(help="Px right and down that landmarks68 are off; see `landmark-shift`."),
]
PersonOf = Annotated[
    Literal["folder", "name", "file"] | None,
    typer.Option(
        help="Who is on a photo: its folder, its file name up to the last underscore, or "
        "somebody else on every file.",
        show_default="the folder if there is one",
    ),
]
HoldOut = Annotated[
    float, typer.Option(min=0, max=1, help="Share of people that training never sees.")
]
PhotoLimit = Annotated[int | None, typer.Option(help="Use about this many photos.")]
Seed = Annotated[int, typer.Option(help="Of what is drawn at random.")]
FaceModelFile = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        help="Face model that the coefficients belong to.",
        show_default="the shipped one",
    ),
]
RecognizerFile = Annotated[
    Path | None,
    typer.Option(
        exists=True, help="dlib's network (.dat).", show_default="the installed package's"
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
