"""`facewright-train rnet`: train R-Net on shards of portraits and photographs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from facewright.training.commands.options import (
    FaceModelFile,
    PhotoShards,
    PortraitShards,
    RunDirectory,
)
from facewright.training.experiment_files import ExperimentError


def train_rnet(
    validation: Annotated[
        list[Path],
        typer.Option(
            exists=True, help="Directory of held-out shards of either kind; may be repeated."
        ),
    ],
    out: RunDirectory,
    data: PortraitShards = None,
    photos: PhotoShards = None,
    experiment: Annotated[
        str,
        typer.Option(
            help="Name (paper, cpu, open_photos, photos, table1, …) or YAML file of the settings."
        ),
    ] = "paper",
    minutes: Annotated[
        float | None, typer.Option(help="Length of the run in time, over all its parts.")
    ] = None,
    images: Annotated[int | None, typer.Option(help="Length of the run in images.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes: of one thread each, or of one GPU each.",
            show_default="one per GPU, or per core",
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="Weights to start from: an earlier run's checkpoint or torchvision's"
            " ImageNet file for ResNet-50.",
        ),
    ] = None,
    face_model: FaceModelFile = None,
) -> None:
    """Train R-Net; stops by itself, and saves and stops on Ctrl-C or SIGTERM."""
    import torch

    from facewright.models.assets import FACE_MODEL, asset_path
    from facewright.training.rnet.checkpoints import FINAL
    from facewright.training.rnet.experiment import read_experiment
    from facewright.training.rnet.launch import launch
    from facewright.training.rnet.run import RunPaths

    if (out / FINAL).exists():
        typer.echo(f"The run in {out} is finished: {out / FINAL}")
        return
    paths = RunPaths(
        tuple(data or ()),
        tuple(photos or ()),
        tuple(validation),
        out,
        face_model or asset_path(FACE_MODEL),
        init,
    )
    try:
        settings = read_experiment(experiment).lasting(minutes, images)
        launch(settings, paths, workers or torch.cuda.device_count() or os.cpu_count() or 1)
    except ExperimentError as error:
        raise typer.BadParameter(str(error)) from error
