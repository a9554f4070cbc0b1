"""``facewright-train evaluate``: measure a network on portraits or on photographs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import track

app = typer.Typer(
    help="Measure a network beside the mean face.", no_args_is_help=True, add_completion=False
)

NetworkArgument = Annotated[Path, typer.Argument(help="ONNX file or checkpoint")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="write the figures here")]
FaceModelOption = Annotated[
    Path | None, typer.Option(help="face model of the network; else the shipped one")
]


@app.command("synthetic")
def synthetic(
    network: NetworkArgument,
    data: Annotated[Path, typer.Argument(help="directory of held-out shards")],
    json: JsonOption = None,
    face_model: FaceModelOption = None,
) -> None:
    """Shape, landmark and pose errors on portraits whose coefficients are known."""
    from models.assets import FACE_MODEL, asset_path
    from models.morphable_model import MorphableModel
    from training.data.shards import ShardSet
    from training.evaluation.network import load_network
    from training.evaluation.report import show, write
    from training.evaluation.synthetic import evaluate_synthetic

    try:
        shards = ShardSet(data)
        figures = evaluate_synthetic(
            load_network(network),
            MorphableModel.load(face_model or asset_path(FACE_MODEL)),
            shards,
            measured_on=f"{len(shards)} held-out synthetic portraits",
            track=_track,
        )
    except (ValueError, OSError) as error:
        _fail(error)
    show(figures, Console())
    if json is not None:
        write(figures, json)


@app.command("photos")
def photos(
    network: NetworkArgument,
    directory: Annotated[Path, typer.Argument(help="directory of photos")],
    labels: Annotated[Path, typer.Option(help=".npz of names, mesh468 and maybe landmarks68")],
    points: Annotated[
        Path | None,
        typer.Option(help=".npz of names and points (N, 5, 2) to align by, such as a detector's"),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="use about this many photos")] = None,
    seed: Annotated[int, typer.Option(help="of the choice of photos and pairs")] = 0,
    json: JsonOption = None,
    face_model: FaceModelOption = None,
) -> None:
    """Landmark errors and separability of identities on photographs."""
    from models.assets import FACE_MODEL, asset_path
    from models.morphable_model import MorphableModel
    from training.evaluation.network import load_network
    from training.evaluation.photos import choose_photos, evaluate_photos, read_labels
    from training.evaluation.report import show, write

    try:
        known = read_labels(labels, points)
        chosen = known.take(choose_photos(known.names, limit, seed))
        figures = evaluate_photos(
            load_network(network),
            MorphableModel.load(face_model or asset_path(FACE_MODEL)),
            directory,
            chosen,
            measured_on=f"{len(chosen.names)} photos of {directory.name}",
            seed=seed,
            track=_track,
        )
    except (KeyError, ValueError, OSError) as error:
        _fail(error)
    show(figures, Console())
    if json is not None:
        write(figures, json)


def _track(rows: Iterable[int]) -> Iterable[int]:
    return track(rows, description="predicting", console=Console(stderr=True))


def _fail(error: Exception) -> NoReturn:
    typer.echo(f"evaluation failed: {error}", err=True)
    raise typer.Exit(1) from error
