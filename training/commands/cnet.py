"""`facewright-train cnet`: train C-Net on sets of photos, with R-Net frozen."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from facewright.training.commands.options import (
    FaceModelFile,
    PhotoShards,
    PortraitShards,
    RunDirectory,
)
from facewright.training.commands.progress import asked_to_stop, run_progress, showing


def train_cnet(
    rnet: Annotated[
        Path, typer.Option(exists=True, help="Checkpoint whose R-Net is kept as it is.")
    ],
    out: RunDirectory,
    data: PortraitShards = None,
    photos: PhotoShards = None,
    experiment: Annotated[
        str,
        typer.Option(help="Name (weak, weak_portraits, shape, both) or YAML file of the settings."),
    ] = "weak",
    minutes: Annotated[
        float | None, typer.Option(help="Length of the run in time, without R-Net's part.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Length of the run in steps.")] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            help="Directory of R-Net's features of the pictures, for several runs.",
            show_default="features in --out",
        ),
    ] = None,
    face_model: FaceModelFile = None,
) -> None:
    """Train C-Net; stops by itself, and saves and stops on Ctrl-C or SIGTERM."""
    from facewright.models.assets import FACE_MODEL, asset_path
    from facewright.training.cnet.experiment import read_cnet_experiment
    from facewright.training.cnet.run import FINAL, CNetPaths, CNetRun
    from facewright.training.experiment_files import ExperimentError

    if (out / FINAL).exists():
        typer.echo(f"The run in {out} is finished: {out / FINAL}")
        return
    paths = CNetPaths(
        rnet,
        tuple(data or ()),
        tuple(photos or ()),
        out,
        face_model or asset_path(FACE_MODEL),
        features or out / "features",
    )

    try:
        settings = read_cnet_experiment(experiment).lasting(minutes, steps)
        with asked_to_stop() as stop:

            def computing(batches: Iterable[int]) -> Iterable[int]:
                for batch in showing("R-Net's features")(batches):
                    if stop.is_set():
                        raise typer.Exit(130)
                    yield batch

            run = CNetRun(settings, paths, should_stop=stop.is_set, track=computing)
            with run_progress() as report:
                run.train(report)
    except ExperimentError as error:
        raise typer.BadParameter(str(error)) from error
