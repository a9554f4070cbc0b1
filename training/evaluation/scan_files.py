"""Files of scans and of points picked on them; predictions as Wavefront OBJ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from facewright.training.evaluation.errors import ScanError

LANDMARK_SUFFIXES = (".pp", ".ljson", ".txt")


def read_obj(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices (V, 3) and triangles (T, 3) of a Wavefront OBJ file; polygons become fans.

    Texture coordinates, normals, colors and groups are passed over.

    Raises:
        ScanError: no vertex, or a line that cannot be read.
        OSError: no such file.
    """
    vertices: list[list[str]] = []
    triangles: list[tuple[int, int, int]] = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if line.startswith("v "):
                vertices.append(line.split(None, 4)[1:4])
            elif line.startswith("f "):
                try:
                    corners = [int(word.split("/", 1)[0]) for word in line.split()[1:]]
                except ValueError as error:
                    raise ScanError(f"{path}, line {number}: {error}") from error
                # Indices count from 1, or back from the last vertex so far if negative.
                corners = [c - 1 if c > 0 else len(vertices) + c for c in corners]
                triangles += [
                    (corners[0], a, b) for a, b in zip(corners[1:], corners[2:], strict=False)
                ]
    try:
        points = np.array(vertices, np.float64)
    except ValueError as error:
        raise ScanError(f"{path}: a vertex cannot be read: {error}") from error
    if points.ndim != 2 or points.shape[1] != 3:
        raise ScanError(f"{path}: no vertices with three coordinates")
    return points, np.array(triangles, np.int64).reshape(-1, 3)


def write_obj(path: Path, vertices: NDArray[Any], triangles: NDArray[Any]) -> None:
    """Write vertices (V, 3) and triangles (T, 3), to four decimals; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["v {:.4f} {:.4f} {:.4f}".format(*row) for row in vertices.tolist()]
    lines += ["f {} {} {}".format(*row) for row in (np.asarray(triangles) + 1).tolist()]
    path.write_text("\n".join(lines) + "\n")


def read_points(path: Path) -> NDArray[np.float64]:
    """Points (K, 3) picked on a scan, in the order of the file.

    By suffix: `.pp` (MeshLab's picked points), `.ljson` (menpo's landmark file, version 2 or
    3), `.txt` (three numbers a line).

    Raises:
        ScanError: an unknown suffix, or a file that cannot be read as what its suffix says.
        OSError: no such file.
    """
    text = path.read_text()
    try:
        if path.suffix == ".pp":
            nodes = ElementTree.fromstring(text).iter("point")
            points = np.array([[float(node.attrib[axis]) for axis in "xyz"] for node in nodes])
        elif path.suffix == ".ljson":
            points = np.array(_menpo_points(json.loads(text)), np.float64)
        elif path.suffix == ".txt":
            points = np.array([line.split() for line in text.splitlines() if line.strip()], float)
        else:
            raise ScanError(f"{path}: landmarks must be {', '.join(LANDMARK_SUFFIXES)}")
    except (ElementTree.ParseError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ScanError):
            raise
        raise ScanError(f"{path}: not a readable {path.suffix} file: {error}") from error
    if points.ndim != 2 or points.shape[1] != 3:
        raise ScanError(f"{path}: expected points of three coordinates, got {points.shape}")
    return points


def _menpo_points(content: Any) -> Any:
    groups = content.get("groups")
    if groups is None:
        return content["landmarks"]["points"]
    # Version 3 names its groups; a scan with several has the same points first.
    first = groups[0] if isinstance(groups, list) else next(iter(groups.values()))
    return first["landmarks"]["points"]
