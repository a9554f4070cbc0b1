"""``facewright-train rnet``: train R-Net on shards of portraits."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer


def train_rnet(
    data: Annotated[
        list[Path],
        typer.Option(
            help="Directory of training shards; may be repeated. New shards are picked"
            " up at the end of each pass."
        ),
    ],
    validation: Annotated[Path, typer.Option(help="Directory of held-out shards.")],
    out: Annotated[
        Path,
        typer.Option(help="Directory of the run. If it holds a checkpoint, the run is resumed."),
    ],
    minutes: Annotated[
        float | None, typer.Option(help="Length of the run in time, over all its parts.")
    ] = None,
    images: Annotated[int | None, typer.Option(help="Length of the run in images.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes, one thread each.", show_default="one per core")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Weights to start from: an earlier run's checkpoint or torchvision's"
            " ImageNet file for ResNet-50."
        ),
    ] = None,
    face_model: Annotated[
        Path | None, typer.Option(help="Face model of the labels.", show_default="the shipped one")
    ] = None,
) -> None:
    """Train R-Net; stops by itself, and saves and stops on Ctrl-C or SIGTERM."""
    from models.assets import FACE_MODEL, asset_path
    from training.rnet.config import ConfigError, read_config
    from training.rnet.launch import launch
    from training.rnet.trainer import FINAL, RunPaths

    if (out / FINAL).exists():
        typer.echo(f"The run in {out} is finished: {out / FINAL}")
        return
    try:
        settings = read_config(config)
        if minutes is not None or images is not None:
            settings = replace(settings, minutes=minutes, images=images)
    except (ConfigError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from error
    if settings.minutes is None and settings.images is None:
        raise typer.BadParameter("give --minutes or --images")
    paths = RunPaths(tuple(data), validation, out, face_model or asset_path(FACE_MODEL), init)
    launch(settings, paths, workers or os.cpu_count() or 1)
