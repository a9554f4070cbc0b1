"""`facewright-train segmentation`: portraits with classes, the network, its measures and file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.morphable_model import MorphableModel
from facewright.training.commands.options import (
    HEAD_FILE,
    FaceModelFile,
    HeadFile,
    PortraitCount,
    PortraitSeed,
    SeedSplit,
)
from facewright.training.commands.progress import (
    asked_to_stop,
    failing_in_one_line,
    portraits_progress,
    run_progress,
)
from facewright.training.face_model.heads import HeadModel
from facewright.training.segmentation.dataset import SegmentationShards, write_portraits
from facewright.training.synthetic.dataset import split_seed
from facewright.training.synthetic.generate import PortraitGenerator
from facewright.training.synthetic.head import Head
from facewright.training.synthetic.objects import OFTEN
from facewright.training.trainer.tables import one_line

app = typer.Typer(no_args_is_help=True, help="Train the network that tells skin from occluders.")


@app.command("portraits")
def make_portraits(
    out: Annotated[Path, typer.Argument(help="Directory of the shards; made when missing.")],
    count: PortraitCount = 6_000,
    seed: PortraitSeed = 0,
    split: SeedSplit = "train",
    head: HeadFile = HEAD_FILE,
    face_model: FaceModelFile = None,
) -> None:
    """Render portraits with the class of every pixel. Shards that are complete are kept."""
    model = MorphableModel.load(face_model or asset_path(FACE_MODEL))
    built = Head.build(HeadModel.load(head), model)
    generator = PortraitGenerator(built, classes=True, held=OFTEN)
    try:
        with portraits_progress(count) as drawn:
            write_portraits(generator, out, split_seed(split, seed), count, drawn)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@app.command("train")
def train_network(
    portraits: Annotated[Path, typer.Option(help="Shards of `segmentation portraits`.")],
    out: Annotated[Path, typer.Option(help="Directory of the run; an interrupted one goes on.")],
    photos: Annotated[
        list[Path] | None, typer.Option(help="Shards of `prepare` to learn from without labels.")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="File of `segmentation export` to go on from.")
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0.01, help="Length of the run, in processor time.")
    ] = 30.0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Train the network on one core; saves and stops on Ctrl-C or SIGTERM."""
    import cv2
    import torch

    from facewright.training.segmentation.run import FINAL, RunPaths, train

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    paths = RunPaths(portraits, tuple(photos or ()), out, init)
    with asked_to_stop() as stop, run_progress() as report:
        finished = train(paths, minutes, seed, stop.is_set, report)
    if not finished:
        typer.echo("Stopped; the same command goes on.", err=True)
        raise typer.Exit(130)
    typer.echo(f"The trained network is {out / FINAL}")


@app.command("export")
def export_network(
    checkpoint: Annotated[Path, typer.Argument(help="Of `segmentation train`.")],
    output: Annotated[
        Path, typer.Option("--out", "-o", help="ONNX file; record and card go next to it.")
    ],
    portraits: Annotated[
        Path, typer.Option(help="Held-out shards of `segmentation portraits`, for the figures.")
    ],
    story: Annotated[
        Path, typer.Option(help="JSON with the model card's data, procedure, photographs, limits.")
    ],
    version: Annotated[str, typer.Option(help="Version of the weights.")] = "1",
) -> None:
    """Measure the network on held-out portraits and write the file that the service loads."""
    from facewright.training.onnx.segmentation import export_segmentation
    from facewright.training.segmentation.evaluation import check_crops, held_out_iou
    from facewright.training.segmentation.run import load_network

    net, steps, images = load_network(checkpoint)
    shards = SegmentationShards(portraits)
    iou = held_out_iou(net, shards)
    facts = {
        "training": {"steps": steps, "images": images},
        "figures": {"portraits": len(shards), "intersection_over_union": iou},
    }
    with failing_in_one_line("export"):
        record = export_segmentation(
            net, output, version=version, crops_nchw=check_crops(shards), facts=facts,
            story=json.loads(story.read_text()),
        )  # fmt: skip
    typer.echo(f"{output}: {record['size_bytes'] / 1e6:.2f} MB, sha256 {record['sha256']}")
    typer.echo(f"intersection over union, {len(shards)} portraits: {one_line(iou)}")
