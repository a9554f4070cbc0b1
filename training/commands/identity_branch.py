"""`facewright-train identity-branch`: fit recognition features to portraits' identities."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facewright.models.recognition_torch import CHIP_SIZE, FaceResNet
from facewright.training.commands.options import FaceModelFile, RecognizerFile, TrainingPortraits
from facewright.training.commands.progress import failing_in_one_line, showing


def fit_branch(
    rnet: Annotated[
        Path, typer.Option(exists=True, help="Checkpoint whose R-Net (and C-Net) is kept.")
    ],
    data: TrainingPortraits,
    out: Annotated[Path, typer.Option("--out", "-o", help="Checkpoint to write.")],
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
    seed: Annotated[int, typer.Option(help="Of the choice of people.")] = 1,
    face_model: FaceModelFile = None,
) -> None:
    """Give R-Net a branch for identity: a head on a recognition network and on R-Net itself.

    --data: portraits that neither of them was trained on.
    """
    from facewright.models.assets import FACE_MODEL, asset_path
    from facewright.training.identity_branch.fit import fit_identity_branch
    from facewright.training.identity_branch.trunk import read_trunk
    from facewright.training.recognition.dlib_resnet import read_dlib_resnet
    from facewright.training.recognition.recognizer import installed_dlib_file

    out.parent.mkdir(parents=True, exist_ok=True)
    with failing_in_one_line("identity-branch"):
        network: FaceResNet
        if trunk is None:
            network = read_dlib_resnet(recognizer or installed_dlib_file())
            chip_size = CHIP_SIZE
        else:
            network, chip_size = read_trunk(trunk)
        report = fit_identity_branch(
            rnet,
            data,
            out,
            face_model=face_model or asset_path(FACE_MODEL),
            trunk=network,
            chip_size=chip_size,
            features=features or out.parent / "features",
            seed=seed,
            track=showing("features"),
        )
    for name, error_mm in report.errors.items():
        typer.echo(f"{name}: {error_mm:.3f} mm, correlation {report.correlations[name]:.3f}")
    typer.echo(f"{out}: ridge {report.ridge:g}, by {report.people} people")
