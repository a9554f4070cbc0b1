"""The command `facewright`.

Imports of anything heavy are inside the commands, so that `facewright --help` is quick.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from facewright.cli_options import (
    Compression,
    Detail,
    Expression,
    Faces,
    Include,
    Landmarks,
    MeshFormats,
    OutDirectory,
    OutPlace,
    PhotoPaths,
    Pose,
    Subject,
    Targets,
    Texture,
    TextureSize,
)

if TYPE_CHECKING:
    from typing import TypeVar

    from facewright.service.options import AlbumOptions, MeshFormat, ReconstructOptions

    Options = TypeVar("Options", ReconstructOptions, AlbumOptions)

app = typer.Typer(
    name="facewright",
    help="A photo of a face in, a 3D mesh out. Environment variables FACEWRIGHT_... set the "
    "models, limits and threads of every command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from facewright import __version__

        typer.echo(f"facewright {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A photo of a face in, a 3D mesh out."""


def _settle(command: Callable[[], int]) -> NoReturn:
    """Run `command` and exit with its code; 2 and one line for what the user has to mend."""
    from pydantic import ValidationError

    from facewright.service.errors import FacewrightError
    from facewright.service.options import AlbumOptions, ReconstructOptions, explain
    from facewright.service.settings import Settings

    kinds = {kind.__name__: kind for kind in (AlbumOptions, ReconstructOptions, Settings)}
    try:
        raise typer.Exit(command())
    except FacewrightError as error:
        message = error.detail
    except OSError as error:  # such as a place that cannot be written
        message = ": ".join(str(part) for part in (error.filename, error.strerror) if part)
    except ValidationError as error:
        problems = explain(kinds[error.title], error)
        message = "; ".join(f"{name} {problem}" for name, problem in problems)
    typer.echo(f"facewright: {message}", err=True)
    raise typer.Exit(2)


def _options(kind: type[Options], context: typer.Context) -> Options:
    """The command's options that the API has too; raises `pydantic.ValidationError`."""
    fields = kind.model_fields.keys() & context.params.keys() - {"mesh_format"}  # a list here
    return kind.model_validate({name: context.params[name] for name in fields})


def _need_bulk() -> None:
    """End with one line unless the extra `bulk` is installed."""
    from importlib.util import find_spec

    if missing := [name for name in ("pyarrow", "ray") if find_spec(name) is None]:
        typer.echo(
            f"facewright: {' and '.join(missing)} missing: they come with the extra 'bulk' "
            "(docs/bulk.md), in a checkout by pip install '.[bulk]'",
            err=True,
        )
        raise typer.Exit(2)


def _mesh_formats(text: str) -> list[MeshFormat]:
    """The formats in a comma-separated list; raises `InvalidParameter` for others."""
    from facewright.service.errors import InvalidParameter
    from facewright.service.options import MESH_FORMATS

    words = [word.strip() for word in text.split(",")]
    if not words or any(word not in MESH_FORMATS for word in words):
        raise InvalidParameter(f"mesh_format must be some of {', '.join(MESH_FORMATS)}")
    return [form for form in MESH_FORMATS if form in words]


@app.command()
def serve(
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on; 0.0.0.0 for all.",
            show_default="FACEWRIGHT_HOST, else 127.0.0.1",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen on.", show_default="FACEWRIGHT_PORT, else 8000"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Server processes, each with models of its own.",
            show_default="FACEWRIGHT_WORKERS, else 1",
        ),
    ] = None,
) -> None:
    """Serve the HTTP API and a page to try it with."""
    from facewright.service.api.server import run_server

    overrides = {"host": host, "port": port, "workers": workers}
    _settle(lambda: run_server({k: v for k, v in overrides.items() if v is not None}))


@app.command()
def reconstruct(
    context: typer.Context,
    photos: PhotoPaths,
    out: OutDirectory,
    include: Include = "mesh,overlay",
    mesh_format: MeshFormats = "glb",
    overlay: Annotated[
        Literal["jpg", "png"], typer.Option(help="File format of the overlays.")
    ] = "jpg",
    faces: Faces = "all",
    expression: Expression = "keep",
    pose: Pose = "canonical",
    landmarks: Landmarks = False,
    texture: Texture = "photo",
    texture_size: TextureSize = "1024",
    mesh: Subject = "face",
    detail: Detail = None,
    targets: Targets = "all",
    compression: Compression = "quantized",
) -> None:
    """Reconstruct the faces of PHOTOS without a server: meshes, overlays and JSON.

    Of NAME.jpg the files are NAME.json, NAME_face0.glb (the largest face) and NAME_overlay.jpg; of
    further photos of that name, in other directories, NAME-2.json and so on, in the order of
    their paths. A photo that fails does not stop the others; the exit code is then 1.
    """
    from facewright.service.commands.reconstruct import reconstruct_files
    from facewright.service.options import ReconstructOptions

    def command() -> int:
        options = _options(ReconstructOptions, context)
        return reconstruct_files(photos, out, options, _mesh_formats(mesh_format), overlay)

    _settle(command)


@app.command()
def album(
    context: typer.Context,
    photos: Annotated[
        list[Path],
        typer.Argument(
            exists=True,
            metavar="PHOTOS",
            help="Photos of one person, and directories of them (not what lies deeper).",
        ),
    ],
    out: OutDirectory,
    include: Include = "mesh,overlay,confidences",
    mesh_format: MeshFormats = "glb,obj",
    strategy: Annotated[
        Literal["confidence", "mean", "best"], typer.Option(help="How photos are weighed.")
    ] = "confidence",
    faces: Annotated[
        Literal["largest", "consistent"],
        typer.Option(help="Which face of a photo: the largest, or the one that fits the others."),
    ] = "largest",
    outliers: Annotated[
        Literal["flag", "drop"], typer.Option(help="What to do with photos of somebody else.")
    ] = "flag",
    min_photos: Annotated[
        int, typer.Option(min=1, help="Fewest photos with a face that make a result.")
    ] = 1,
    landmarks: Landmarks = False,
    texture: Texture = "photo",
    texture_size: TextureSize = "1024",
    mesh: Subject = "face",
    detail: Detail = None,
    targets: Targets = "all",
    compression: Compression = "quantized",
) -> None:
    """Reconstruct the one identity of PHOTOS: mesh, JSON and a page of all photos.

    A photo that fails does not stop the others; the exit code is then 1.
    """
    from facewright.service.commands.album import album_files
    from facewright.service.options import AlbumOptions

    def command() -> int:
        options = _options(AlbumOptions, context)
        return album_files(photos, out, options, _mesh_formats(mesh_format))

    _settle(command)


@app.command()
def bulk(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Directory of photos; or files, with wildcards or without: photos, Parquet and "
            "CSV tables of them, WebDataset tars. A path or a URI, such as s3://bucket/photos.",
        ),
    ],
    out: OutPlace,
    column: Annotated[
        str, typer.Option(help="Column of tables with the photos' paths, URIs or bytes.")
    ] = "path",
    albums: Annotated[
        str | None,
        typer.Option(
            metavar="by-folder|COLUMN",
            help="Also one identity of all photos in a folder, or with one value of a column.",
        ),
    ] = None,
    faces: Faces = "all",
    meshes: Annotated[
        str, typer.Option(help="Comma-separated formats of meshes, into a tar per part: glb, ...")
    ] = "",
    expression: Expression = "keep",
    pose: Pose = "canonical",
    texture: Texture = "albedo",
    texture_size: TextureSize = "1024",
    mesh: Subject = "face",
    detail: Detail = None,
    targets: Targets = "all",
    compression: Compression = "quantized",
    part_size: Annotated[
        int, typer.Option(min=1, help="Photos of one file of the table, which is done or not.")
    ] = 256,
    worker_cpus: Annotated[
        int, typer.Option(min=1, help="Processors of one worker that has no GPU.")
    ] = 2,
) -> None:
    """Reconstruct the faces of millions of photos into a table, on Ray Data.

    Needs the extra `bulk`. Works on this machine, or on the Ray cluster that RAY_ADDRESS names.
    The same command goes on after any interruption. The exit code is 1 when photos failed,
    3 when parts could not be done.
    """
    _need_bulk()
    from facewright.service.bulk.manifest import BulkOptions, absolute
    from facewright.service.bulk.run import run_bulk
    from facewright.service.options import ReconstructOptions

    def command() -> int:
        answer = _options(ReconstructOptions, context)
        formats = tuple(_mesh_formats(meshes)) if meshes else ()
        options = BulkOptions(
            absolute(source), absolute(out), column, albums, answer, formats, part_size
        )
        return run_bulk(options, worker_cpus)

    _settle(command)


@app.command()
def mesh(
    context: typer.Context,
    rows: Annotated[
        str,
        typer.Argument(
            metavar="ROWS", help="What `bulk` has written, or a Parquet file with rows of it."
        ),
    ],
    out: OutPlace,
    mesh_format: MeshFormats = "glb",
    expression: Expression = "keep",
    pose: Pose = "canonical",
    mesh: Subject = "face",
    detail: Detail = None,
    targets: Targets = "all",
    compression: Compression = "quantized",
) -> None:
    """Write the meshes of a table that `bulk` has made: a tar for each of its files.

    Needs the extra `bulk`. The same command goes on after any interruption.
    """
    _need_bulk()
    from facewright.service.bulk.manifest import absolute
    from facewright.service.bulk.meshes import write_meshes
    from facewright.service.options import ReconstructOptions

    def command() -> int:
        options = _options(ReconstructOptions, context)
        return write_meshes(absolute(rows), absolute(out), _mesh_formats(mesh_format), options)

    _settle(command)


@app.command()
def detect(
    photos: PhotoPaths,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            dir_okay=False,
            help="File for the points (.npz); without it they are printed, one JSON line per face.",
        ),
    ] = None,
    faces: Faces = "largest",
) -> None:
    """Find the faces of PHOTOS: boxes and alignment points, as every reconstruction starts.

    A photo that fails does not stop the others; the exit code is then 1.
    """
    from facewright.service.commands.detect import detect_files

    _settle(lambda: detect_files(photos, out, faces))


@app.command()
def models() -> None:
    """Show what is loaded: names, versions, licenses, checksums."""
    from facewright.service.commands.models import print_models

    _settle(print_models)


@app.command()
def bench(
    photo: Annotated[
        Path | None,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="A photo; a rendered portrait of the face model when left out.",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Length of one of some 16 measurements.")
    ] = 8.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", dir_okay=False, help="Write all figures there.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Write the tables into this page."),
    ] = None,
    memory_requests: Annotated[
        int, typer.Option(min=0, help="Requests to watch the server's memory over.")
    ] = 0,
) -> None:
    """Put a server under load and hold it against its networks alone; prints Markdown tables.

    The server runs in a process of its own, with the settings of the environment. Photos per
    second and waiting times at several concurrencies and photo sizes, processor use, batch
    sizes, and what happens at four times the load that it can bear.
    """
    from facewright.service.bench.run import run_bench

    _settle(lambda: run_bench(photo, seconds, json_file, page, memory_requests))
