"""`facewright-train synth`: write a data set of portraits, or a contact sheet of some."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import cv2
import typer

from facewright.models.assets import FACE_MODEL, asset_path
from facewright.training.commands.options import (
    HEAD_FILE,
    FaceModelFile,
    HeadFile,
    PortraitCount,
    PortraitSeed,
    SeedSplit,
)
from facewright.training.commands.progress import portraits_progress
from facewright.training.contact_sheets import contact_sheet
from facewright.training.data.shards import ShardMeta, ShardReader, shard_path
from facewright.training.synthetic.dataset import (
    GENERATOR_VERSION,
    Job,
    missing_shards,
    split_seed,
    write_shards,
)
from facewright.training.synthetic.generate import PortraitGenerator
from facewright.training.synthetic.verify import landmark_errors


def make_portraits(
    out: Annotated[Path, typer.Argument(help="Directory of the shards; made when missing.")],
    count: PortraitCount = 10_000,
    seed: PortraitSeed = 0,
    split: SeedSplit = "train",
    workers: Annotated[int, typer.Option(min=1, help="Processes, one core each.")] = 1,
    shard_size: Annotated[int, typer.Option(min=1, help="Portraits per shard.")] = 1_000,
    per_person: Annotated[
        int, typer.Option(min=1, help="Portraits of every person, so that views can agree.")
    ] = 3,
    head: HeadFile = HEAD_FILE,
    face_model: FaceModelFile = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Only draw a contact sheet of --count portraits (PNG).")
    ] = None,
) -> None:
    """Render labeled portraits into OUT. Shards that are complete already are kept."""
    job = Job(
        directory=out,
        head_path=head,
        model_path=face_model or asset_path(FACE_MODEL),
        seed=split_seed(split, seed),
        count=count,
        shard_size=shard_size,
        per_person=per_person,
    )
    if sheet is not None:
        _draw_sheet(job, sheet)
        return
    meta = ShardMeta(
        kind="portraits",
        seed=job.seed,
        generator_version=GENERATOR_VERSION,
        face_model_sha256=job.load_head().face_model_sha256,
    )
    try:
        indices = missing_shards(job, meta)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    sizes = job.sizes()
    done = count - sum(sizes[i] for i in indices)
    with portraits_progress(count, done) as drawn:
        write_shards(job, meta, indices, workers, drawn)
    errors = landmark_errors(ShardReader(shard_path(out, 0)).labels, job.model_path)
    typer.echo(f"{len(sizes)} shards in {out}; labeled pose puts landmarks within {errors}")


def _draw_sheet(job: Job, path: Path) -> None:
    generator = PortraitGenerator(job.load_head())
    numbers = range(job.count)
    pictures = [p.image for p in generator.portraits(job.seed, numbers, job.per_person)]
    columns = max(1, math.ceil(math.sqrt(1.5 * len(pictures))))
    if not cv2.imwrite(str(path), contact_sheet(pictures, columns)[..., ::-1]):
        raise typer.BadParameter(f"cannot write {path}")
    typer.echo(f"{len(pictures)} portraits in {path}")
