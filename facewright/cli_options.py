"""Options that several of `facewright`'s commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

PhotoPaths = Annotated[
    list[Path],
    typer.Argument(
        metavar="PHOTOS",
        help="Photos (JPEG, PNG, WebP, HEIC, AVIF), and directories, searched to the end.",
    ),
]
OutDirectory = Annotated[
    Path, typer.Option("--out", "-o", file_okay=False, help="Directory for the results.")
]
OutPlace = Annotated[
    str, typer.Argument(metavar="OUT", help="Directory for the results, or a URI.")
]
Include = Annotated[
    str, typer.Option(help="Comma-separated: what to write of mesh, overlay, confidences.")
]
MeshFormats = Annotated[
    str, typer.Option(help="Comma-separated formats of the meshes: glb, obj, ply, stl.")
]
Faces = Annotated[
    Literal["all", "largest"], typer.Option(help="All faces of a photo, or the largest.")
]
Expression = Annotated[
    Literal["keep", "neutral"], typer.Option(help="Expression of the meshes: the photo's, or none.")
]
Pose = Annotated[
    Literal["canonical", "camera"],
    typer.Option(help="Meshes in the model's frame, or placed as in the photo."),
]
Landmarks = Annotated[bool, typer.Option(help="Draw landmarks on the overlays.")]
Texture = Annotated[
    Literal["albedo", "photo"],
    typer.Option(help="Colors of the meshes: the face model's, or baked from the photos."),
]
TextureSize = Annotated[
    Literal["256", "512", "1024", "2048"], typer.Option(help="Side of the texture, pixels.")
]
Subject = Annotated[
    Literal["face", "head"], typer.Option(help="Faces, or whole heads that can be animated.")
]
Detail = Annotated[
    Literal["low", "medium", "high"] | None,
    typer.Option(help="How many triangles the meshes have.", show_default="high; medium of heads"),
]
Targets = Annotated[
    Literal["none", "arkit", "all"],
    typer.Option(help="Morph targets of heads: ARKit's 52, with 15 visemes (all), or none."),
]
Compression = Annotated[
    Literal["none", "quantized"],
    typer.Option(help="Numbers of a head's GLB file; none is for software that lacks the other."),
]
