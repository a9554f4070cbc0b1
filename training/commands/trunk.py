"""`facewright-train trunk`: train the identity branch's trunk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from facewright.training.commands.options import (
    FaceModelFile,
    PhotoShards,
    RecognizerFile,
    load_face_model,
)


def train_trunk(
    data: Annotated[
        list[Path],
        typer.Option(exists=True, help="Directory of portrait shards; may be repeated."),
    ],
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
    import logging
    import threading

    from rich.console import Console
    from rich.progress import Progress

    from facewright.training.data.stock import Stock, take_stock
    from facewright.training.identity_branch.trunk import TrunkRun, TrunkSettings
    from facewright.training.recognition.dlib_resnet import read_dlib_resnet
    from facewright.training.recognition.recognizer import installed_dlib_file
    from facewright.training.rnet.experiment import read_experiment
    from facewright.training.trainer.signals import LOG_FORMAT, handling_signals

    stop = threading.Event()
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)

    def ask_to_stop(number: int, frame: Any) -> None:
        stop.set()

    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        settings = TrunkSettings(chip_size, read_experiment(experiment).lasting(minutes, None))
        with handling_signals(ask_to_stop):
            run = TrunkRun(
                read_dlib_resnet(recognizer or installed_dlib_file()),
                load_face_model(face_model),
                take_stock(data, photos or (), (), Stock()),
                out,
                settings,
            )
            with Progress(console=Console(stderr=True)) as progress:
                task = progress.add_task("training", total=1.0)
                run.train(
                    stop.is_set,
                    lambda done, remark: progress.update(task, completed=done, description=remark),
                )
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
