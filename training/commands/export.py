"""`facewright-train export`: a checkpoint becomes the ONNX file that is served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facewright.models.agreement import STRANGER_COSINE, STRANGER_DISTANCE
from facewright.models.assets import FACE_MODEL, asset_path
from facewright.training.commands.options import FaceModelFile
from facewright.training.commands.progress import failing_in_one_line
from facewright.training.onnx.export import (
    DEFAULT_NAME,
    MAX_DIFFERENCE,
    MAX_DRIFT_MM,
    Storage,
    export_checkpoint,
)


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of the trainer.")],
    output: Annotated[
        Path, typer.Option("--out", "-o", help="ONNX file; record and card go next to it.")
    ],
    crops: Annotated[
        Path | None, typer.Option(help="Data directory whose crops to check with; else noise.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="JSON file with figures and texts of the model card.")
    ] = None,
    face_model: FaceModelFile = None,
    name: Annotated[str, typer.Option(help="Name of the weights.")] = DEFAULT_NAME,
    version: Annotated[str, typer.Option(help="Version of the weights.")] = "0",
    license: Annotated[str, typer.Option(help="License of the weights.")] = "MIT",
    stranger_distance: Annotated[
        float, typer.Option(help="What `evaluate strangers` fitted to the weights, sigmas.")
    ] = STRANGER_DISTANCE,
    stranger_cosine: Annotated[
        float,
        typer.Option(help="What `evaluate strangers --descriptors` fitted to them.", min=-1, max=1),
    ] = STRANGER_COSINE,
    stored_in: Annotated[Storage, typer.Option(help="How weights are stored.")] = "int8",
) -> None:
    """Export a checkpoint to ONNX, checked against torch, with its model card."""
    with failing_in_one_line("export"):
        record = export_checkpoint(
            checkpoint,
            output,
            face_model=asset_path(FACE_MODEL) if face_model is None else face_model,
            crops=crops,
            figures=figures,
            name=name,
            version=version,
            license=license,
            stranger_distance=stranger_distance,
            stranger_cosine=stranger_cosine,
            stored_in=stored_in,
        )
    check = record["export_check"]
    typer.echo(f"{output}: {record['size_bytes'] / 1e6:.1f} MB, sha256 {record['sha256']}")
    typer.echo(f"checked with {check['crops']}")
    typer.echo(f"graph against torch: {check['graph_difference']:.2e} (limit {MAX_DIFFERENCE:g})")
    typer.echo(
        f"{stored_in} storage: coefficients {check['stored_difference']:.2e},"
        f" vertices {check['vertex_drift_mm']:.4f} mm on average (limit {MAX_DRIFT_MM:g}),"
        f" {check['largest_drift_mm']:.3f} at most"
    )
    if record["figures"] is None:
        typer.echo("no --figures given: model card not written")
