"""Commands around scans: register the head cage to them, and measure a face model with them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.morphable_model import MorphableModel
from facewright.training.face_model.calibration import Calibration
from facewright.training.face_model.expression import unit_displacement
from facewright.training.face_model.floors import TrueFace, distance, fit
from facewright.training.face_model.landmarks import find_landmarks
from facewright.training.face_model.people import Population
from facewright.training.face_model.scanned import FILE, register_scans
from facewright.training.face_model.scans import ScanStatistics
from facewright.training.face_model.sources import FaceSources, SourcesUnavailable
from facewright.training.face_model.topology import build_topology, head_cage

SEED = 991


def register_scan_statistics(
    scans: Annotated[Path, typer.Argument(exists=True, help="Statistics of scans (.npz).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = FILE,
) -> None:
    """Register the head cage to SCANS; the face model is built of the result. Takes 4 minutes."""
    console = Console()
    try:
        sources = FaceSources()
        statistics = ScanStatistics.load(scans)
    except (SourcesUnavailable, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    topology = build_topology(sources)
    calibration = Calibration.load()
    population = Population(sources, calibration.offsets, calibration.spread)
    jaw = topology.dense.matrix @ (topology.cage.source @ unit_displacement(sources, "jawOpen"))
    found = register_scans(
        statistics,
        topology,
        head_cage(sources, topology),
        population,
        find_landmarks(topology, jaw),
        console.print,
    )
    found.heads.save(out)
    off = np.abs(found.match.distance[found.match.area > 0])
    console.print(
        f"{out}: {off.mean():.3f} mm off on average, 95% within {np.quantile(off, 0.95):.3f}"
    )


def measure_floors(
    scans: Annotated[Path, typer.Argument(exists=True, help="Statistics of scans (.npz).")],
    model: Annotated[
        Path | None, typer.Option(help="Face model to measure [default: the shipped one].")
    ] = None,
    seen: Annotated[
        Path | None,
        typer.Option(exists=True, help="What a scanner sees of the face's vertices (.npy, bool)."),
    ] = None,
    truths: Annotated[
        Path | None,
        typer.Option(exists=True, help="Directory of *_gt.npz with identity coefficients."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Random people of the scans.")] = 100,
) -> None:
    """Measure how near a face model's mean and its fitted modes come to scanned people, mm."""
    statistics = ScanStatistics.load(scans)
    face_model = MorphableModel.load(model or asset_path(FACE_MODEL))
    visible = np.ones(len(statistics.mean), bool)
    if seen is not None:
        face = np.load(seen)
        visible[:] = False
        visible[: len(face)] = face
    triangles = statistics.skin[visible[statistics.skin].all(axis=1)]

    def sampled(vertices: np.ndarray) -> TrueFace:
        return TrueFace.sample(vertices, triangles, statistics.landmarks, visible)

    mean = face_model.mean_vertices.astype(np.float64)
    typer.echo(
        f"mean face to the scans' mean: {distance(face_model, mean, sampled(statistics.mean)):.3f}"
    )
    groups = {"random people": statistics.people(np.random.default_rng(SEED), count)}
    if truths is not None:
        weights = np.stack([np.load(f)["identity"] for f in sorted(truths.glob("*_gt.npz"))])
        modes = statistics.modes.astype(np.float64)
        groups["truths"] = statistics.mean + np.tensordot(weights.astype(np.float64), modes, 1)
    neutral = np.zeros((1, face_model.n_expression))
    for name, people in groups.items():
        rows = []
        for person in track(people, name, transient=True):
            truth = sampled(person)
            fitted = face_model.shape(fit(face_model, truth)[None], neutral)[0]
            rows.append([distance(face_model, v, truth) for v in (mean, fitted)])
        of_mean, of_fit = np.mean(rows, axis=0)
        typer.echo(f"{name} ({len(rows)}): mean face {of_mean:.3f}, fitted modes {of_fit:.3f}")
