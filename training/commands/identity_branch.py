"""`facewright-train identity-branch`: fit recognition features to portraits' identities."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from facewright.models.recognition_torch import CHIP_SIZE
from facewright.training.commands.options import FaceModelFile, PortraitShards, RecognizerFile


def fit_branch(
    rnet: Annotated[
        Path, typer.Option(exists=True, help="Checkpoint whose R-Net (and C-Net) is kept.")
    ],
    data: Annotated[
        list[Path],
        typer.Option(exists=True, help="Directory of portrait shards; may be repeated."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Checkpoint to write.")],
    unseen: PortraitShards = None,
    hidden: Annotated[
        int, typer.Option(min=0, help="Width of the head; 0 tries a linear one alone.")
    ] = 256,
    trunk: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="Trunk that `trunk` has trained.",
            show_default="dlib's network as published",
        ),
    ] = None,
    recognizer: RecognizerFile = None,
    features: Annotated[
        Path | None,
        typer.Option(
            help="Directory of what the networks make of the portraits.",
            show_default="features beside the output",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of people and of the head.")] = 1,
    face_model: FaceModelFile = None,
) -> None:
    """Give R-Net a branch for identity: a head on a recognition network, and its weights.

    --unseen: portraits that R-Net was not trained on, by which it and the head are weighed.
    """
    from rich.console import Console
    from rich.progress import track

    from facewright.models.assets import FACE_MODEL, asset_path
    from facewright.training.identity_branch.fit import BranchSettings, fit_identity_branch
    from facewright.training.identity_branch.trunk import read_trunk
    from facewright.training.recognition.dlib_resnet import DlibResNet
    from facewright.training.recognition.recognizer import installed_dlib_file

    console = Console(stderr=True)

    def computing(batches: Iterable[int]) -> Iterable[int]:
        return track(batches, description="features", console=console)

    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        if trunk is None:
            network = DlibResNet.from_file(recognizer or installed_dlib_file())
            chip_size = CHIP_SIZE
        else:
            network, chip_size = read_trunk(trunk)
        report = fit_identity_branch(
            rnet,
            data,
            unseen or (),
            out,
            face_model=face_model or asset_path(FACE_MODEL),
            trunk=network,
            features=features or out.parent / "features",
            settings=BranchSettings(hidden, chip_size, seed=seed),
            track=computing,
        )
    except (ValueError, OSError) as error:
        typer.echo(f"identity-branch failed: {error}", err=True)
        raise typer.Exit(1) from error
    for name, error_mm in report.candidates:
        typer.echo(f"head, {name}: {error_mm:.3f} mm on the people that choose it")
    for name, error_mm in report.errors.items():
        typer.echo(
            f"{name}: {error_mm:.3f} mm, correlation {report.correlations[name]:.3f}"
            f" ({report.people} people)"
        )
    typer.echo(
        f"{out}: weights of R-Net {report.rnet_weight:.2f}, of the head {report.head_weight:.2f}"
    )
