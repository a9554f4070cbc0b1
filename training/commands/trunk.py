"""`facewright-train trunk`: train the identity branch's trunk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facewright.training.commands.options import (
    FaceModelFile,
    PhotoShards,
    RecognizerFile,
    TrainingPortraits,
    load_face_model,
)
from facewright.training.commands.progress import asked_to_stop, run_progress


def train_trunk(
    data: TrainingPortraits,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File of the run. If it exists, it is resumed.")
    ],
    minutes: Annotated[
        float, typer.Option(min=0.01, help="Length of the run in time, over all its parts.")
    ],
    photos: PhotoShards = None,
    chip_size: Annotated[
        int, typer.Option(min=103, max=150, help="Side of the chips that the trunk sees, px.")
    ] = 120,
    experiment: Annotated[
        str, typer.Option(help="Name (trunk) or YAML file of the settings.")
    ] = "trunk",
    recognizer: RecognizerFile = None,
    face_model: FaceModelFile = None,
) -> None:
    """Teach dlib's network to know people by smaller chips, and what shape their faces have.

    Stops by itself, and saves and stops on Ctrl-C or SIGTERM.
    """
    from facewright.training.data.stock import Stock, take_stock
    from facewright.training.identity_branch.trunk import TrunkRun, TrunkSettings
    from facewright.training.recognition.dlib_resnet import read_dlib_resnet
    from facewright.training.recognition.recognizer import installed_dlib_file
    from facewright.training.rnet.experiment import read_experiment

    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        settings = TrunkSettings(chip_size, read_experiment(experiment).lasting(minutes, None))
        with asked_to_stop() as stop:
            run = TrunkRun(
                read_dlib_resnet(recognizer or installed_dlib_file()),
                load_face_model(face_model),
                take_stock(data, photos or (), (), Stock()),
                out,
                settings,
            )
            with run_progress() as report:
                run.train(stop.is_set, report)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
