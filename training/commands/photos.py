"""`facewright-train prepare`, `landmark-shift` and `landmark-convention`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from facewright.training.commands.options import (
    FaceModelFile,
    HoldOut,
    LabelFile,
    LandmarkShift,
    NetworkFile,
    PersonOf,
    PhotoFolder,
    PhotoLimit,
    PointsFile,
    load_face_model,
)
from facewright.training.commands.progress import (
    failing_in_one_line,
    kept_when_stopped,
    showing,
)


def prepare_photos(
    photos: PhotoFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory of the shards.")],
    labels: LabelFile,
    landmarks: Annotated[
        Literal["facemesh", "labels68"], typer.Option(help="mesh468 or landmarks68 of --labels.")
    ] = "facemesh",
    landmark_shift: LandmarkShift = (0.0, 0.0),
    points: PointsFile = None,
    person: PersonOf = None,
    split: Annotated[
        Literal["train", "held-out"], typer.Option(help="Whose photos; by the people's names.")
    ] = "train",
    hold_out: HoldOut = 0.15,
    shard_size: Annotated[int, typer.Option(min=1, help="Photos per shard.")] = 1000,
    workers: Annotated[int, typer.Option(min=1, help="Photos worked on side by side.")] = 1,
    face_model: FaceModelFile = None,
) -> None:
    """Align photographs of people, find landmarks and skin, and write shards of them.

    Without --points, faces are found by the service's own detector, `facewright detect`, which
    is run as a program of its own: training never imports the service. Its file, `points.npz`,
    is kept in the directory of the shards for the next start; it holds the names of the photos,
    the shards do not.

    Shards that are complete already are kept; a directory with shards of other photos, labels
    or settings is refused.
    """
    from rich.console import Console
    from rich.progress import Progress

    from facewright.training.photos.faces import read_faces
    from facewright.training.photos.landmarks import LabeledLandmarks
    from facewright.training.photos.prepare import plan_photos, write_shards

    console = Console(stderr=True)
    with failing_in_one_line("prepare"), kept_when_stopped():
        source = LabeledLandmarks(labels, landmarks, landmark_shift)
        model = load_face_model(face_model)
        faces = read_faces(points or _detect(photos, out))
        plan = plan_photos(
            photos, faces, people=split, hold_out=hold_out, rule=person, shard_size=shard_size
        )
        with Progress(console=console) as progress:
            bar = progress.add_task("preparing", total=len(plan.names))
            left_out = write_shards(
                plan, out, model, source,
                workers=workers, advance=lambda count: progress.advance(bar, count),
            )  # fmt: skip
    for reason, count in sorted(left_out.items()):
        console.print(f"{count} left out: the photo {reason}")
    people = len(set(plan.person.tolist()))
    console.print(
        f"{len(plan.names) - left_out.total()} photos of up to {people} {split} people in {out}",
        soft_wrap=True,
    )


def measure_shift(
    labels: Annotated[Path, typer.Argument(help=".npz of names, mesh468 and landmarks68.")],
    hold_out: HoldOut = 0.15,
) -> None:
    """Measure by how many pixels landmarks68 are off FaceMesh's points; training people only."""
    import numpy as np

    from facewright.training.photos.labels import landmark_shift
    from facewright.training.photos.people import rows_of

    with failing_in_one_line("landmark-shift"), np.load(labels) as file:
        rows = rows_of([str(name) for name in file["names"]], "train", hold_out)
        mesh468 = file["mesh468"][rows].astype(np.float64)
        right, down = landmark_shift(mesh468, file["landmarks68"][rows].astype(np.float64))
    typer.echo(f"--landmark-shift {right:.2f} {down:.2f}")


def fit_label_convention(
    network: NetworkFile,
    photos: PhotoFolder,
    labels: LabelFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON file of the convention.")],
    points: PointsFile = None,
    hold_out: HoldOut = 0.15,
    limit: PhotoLimit = None,
    face_model: FaceModelFile = None,
) -> None:
    """Find where landmarks68 of jaw and brows lie on the face model; training people only."""
    import numpy as np

    from facewright.training.evaluation.network import load_network
    from facewright.training.evaluation.photos import choose_photos, predict_photos
    from facewright.training.photos.conventions import fit_convention, write_convention
    from facewright.training.photos.labels import read_labels
    from facewright.training.photos.people import rows_of

    show = showing("predicting and fitting")
    with failing_in_one_line("landmark-convention"):
        known = read_labels(labels, points)
        if known.landmarks is None:
            raise ValueError(f"{labels} has no landmarks68")
        known = known.take(np.flatnonzero(np.isfinite(known.landmarks).all((1, 2))))
        known = known.take(rows_of(known.names, "train", hold_out))
        known = known.take(choose_photos(known.names, limit, 0))
        assert known.landmarks is not None
        loaded = load_network(network)
        model = load_face_model(face_model)
        predictions = predict_photos(loaded, model, photos, known, track=show)
        fit = fit_convention(
            model, loaded.layout, predictions.coefficients, predictions.transforms,
            known.landmarks, track=show,
        )  # fmt: skip
        fitted_on = f"{fit.photos} photos of training people of {photos.name}, by {network.name}"
        write_convention(fit, model, out, fitted_on=fitted_on)
    before, after = fit.before.mean(), fit.after.mean()
    typer.echo(f"{before:.2f}% of the face box before, {after:.2f}% after, in {out}")


def _detect(photos: Path, out: Path) -> Path:
    """Run the service's `facewright detect` unless an earlier start did."""
    points = out / "points.npz"
    if points.exists():
        return points
    if not photos.is_dir():
        raise ValueError(f"{photos} is no directory")
    command = [sys.executable, "-m", "facewright", "detect", str(photos), "--out", str(points)]
    done = subprocess.run(command, check=False)
    # 1: some photos cannot be used, and it has said so; the others are in the file.
    if done.returncode not in (0, 1) or not points.exists():
        raise ValueError("`facewright detect` failed; its message is above")
    return points
