"""Options that several training commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
