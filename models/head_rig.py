"""The whole head that goes with the face model, ready to be animated.

Its face is the face model's for all coefficients: the cages share their rows, and this file holds
what lies beyond them (skull, ears, neck, the backs of the eyeballs). The vertices of a coarser
detail are the first ones of a finer one, at the same points and texture coordinates.
`docs/heads.md` says how heads are used.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from facewright.models.blendshape_names import ARKIT_BLENDSHAPES
from facewright.models.morphable_model import MorphableModel
from facewright.models.subdivision import Subdivision

Detail = Literal["low", "medium", "high"]
DETAILS: Final[tuple[Detail, ...]] = get_args(Detail)
PARTS: Final = (
    "skin",
    "mouth",
    "left_eye",
    "right_eye",
    "upper_teeth",
    "lower_teeth",
    "tongue",
    "lashes",
)
"""In the order of the triangles; `mouth` is the inside of the mouth and of the lids."""
JOINTS: Final = ("Neck", "Head", "LeftEye", "RightEye")
REGIONS: Final = ("face", "lips", "eyelids", "ears", "scalp")
COLOR_ANCHORS: Final = 24

FORMAT: Final = "facewright-head-rig"
FORMAT_VERSION: Final = 2
_HEADER = "header.json"
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_MOST_BYTES = 512 * 2**20

_STORED: Final[dict[str, tuple[str, tuple[int | str, ...]]]] = {
    "face_rows": ("<i4", ("C",)),
    "mean_extra": ("<f4", ("E", 3)),
    "identity_extra": ("<f2", ("identity", "E", 3)),
    "expression_extra": ("<f2", ("expression", "E", 3)),
    "targets": ("<f2", (len(ARKIT_BLENDSHAPES), "C", 3)),
    "subdivision_data": ("<f4", ("n",)),
    "subdivision_indices": ("<i4", ("n",)),
    "subdivision_indptr": ("<i4", ("rows",)),
    "uv": ("<f4", ("V", 2)),
    "face_vertices": ("<i4", ("V",)),
    "face_uv": ("<f4", ("F", 2)),
    "face_triangles_low": ("<i4", ("T0", 3)),
    "face_triangles_medium": ("<i4", ("T1", 3)),
    "joint_weights": ("<f4", (len(JOINTS), "C")),
    "head_share": ("|u1", ("V",)),
    "regions": ("|u1", (len(REGIONS), "V")),
    "occlusion": ("|u1", ("V",)),
    "color_shares": ("<f2", ("C", COLOR_ANCHORS)),
    "band_vertices": ("<i4", ("B",)),
    "band_places": ("<f4", ("B",)),
    **{f"triangles_{detail}": ("<i4", (f"T_{detail}", 3)) for detail in DETAILS},
    **{f"part_ends_{detail}": ("<i4", (len(PARTS),)) for detail in DETAILS},
}


class HeadRigFileError(ValueError):
    """A file is not a head, or not one this code can read."""


class ForeignHeadRig(HeadRigFileError):
    """A head belongs to another face model."""


@dataclass(frozen=True, eq=False)
class HeadLevel:
    """One level of detail."""

    subdivision: Subdivision
    """(V, C): carries the head's cage to the level's vertices."""
    triangles: NDArray[np.int32]
    """(T, 3) vertex indices, counter-clockwise seen from outside, by parts."""
    part_ends: NDArray[np.int32]
    """(8,) where each of `PARTS` ends in `triangles`."""

    @property
    def n_vertices(self) -> int:
        """Number of vertices V."""
        return self.subdivision.shape[0]

    def part(self, name: str) -> NDArray[np.int32]:
        """The triangles (T, 3) of one of `PARTS`."""
        index = PARTS.index(name)
        return self.triangles[self.part_ends[index - 1] if index else 0 : self.part_ends[index]]


@dataclass(frozen=True, eq=False)
class HeadRig:
    """A head with V vertices at its finest level, on a cage of C; read-only.

    Model space, coefficients and millimeters are the face model's.  Construction raises
    ValueError for wrong shapes, dtypes, indices out of range and values that are not finite.
    """

    face_rows: NDArray[np.int32]
    """(C,) the face model's cage vertex that each of the head's is; -1 beyond the face."""
    mean_extra: NDArray[np.float32]
    """(E, 3) mm: the mean of the E cage vertices beyond the face, in their order."""
    identity_extra: NDArray[np.float32]
    """(80, E, 3) mm per sigma."""
    expression_extra: NDArray[np.float32]
    """(64, E, 3) mm per sigma."""
    targets: NDArray[np.float32]
    """(52, C, 3) mm: displacement of each of `ARKIT_BLENDSHAPES`, fully active."""
    subdivision: Subdivision
    """(V, C), of the finest level."""
    uv: NDArray[np.float32]
    """(V, 2) texture coordinates of the head in [0, 1], v up."""
    face_vertices: NDArray[np.int32]
    """(V,) the face model's vertex at the same point; -1 beyond the face."""
    face_uv: NDArray[np.float32]
    """(F, 2) the head's texture coordinates of the face model's vertices."""
    face_triangles: Mapping[Detail, NDArray[np.int32]]
    """(T, 3) the face model's triangles at "low" and "medium", over its own vertices."""
    triangles: Mapping[Detail, NDArray[np.int32]]
    """(T, 3) at each detail."""
    part_ends: Mapping[Detail, NDArray[np.int32]]
    """(8,) at each detail, see `HeadLevel`."""
    joint_weights: NDArray[np.float32]
    """(4, C): the places of `JOINTS` as blends of the cage; rows sum to 1."""
    head_share: NDArray[np.float32]
    """(V,) in [0, 1]: how much of a vertex follows the head; the rest follows the neck."""
    regions: NDArray[np.float32]
    """(5, V) weights in [0, 1] of `REGIONS`; `face` is where the face model's colors hold."""
    occlusion: NDArray[np.float32]
    """(V,) in [0, 1]: what of the sky a vertex of the mean head sees."""
    color_shares: NDArray[np.float32]
    """(C, 24): how the skin beyond the face is mixed of the colors around its outline."""
    band_vertices: NDArray[np.int32]
    """(B,) vertices of the face model near its outline."""
    band_places: NDArray[np.float32]
    """(B,) where around the outline they lie, in [0, 24): chin, subject's left, forehead."""
    metadata: Mapping[str, str]
    """At least name, version, licence, source, units and face_model_sha256."""
    sha256: str = ""
    """Digest of the file; empty when it was built."""

    def __post_init__(self) -> None:
        c, v = len(self.face_rows), len(self.uv)
        if self.subdivision.shape != (v, c):
            raise ValueError(f"subdivision must be ({v}, {c}), not {self.subdivision.shape}")
        if int((self.face_rows < 0).sum()) != len(self.mean_extra):
            raise ValueError("mean_extra must have a row for every cage vertex beyond the face")
        for detail in DETAILS:
            triangles, ends = self.triangles[detail], self.part_ends[detail]
            if not triangles.size or triangles.min() < 0 or triangles.max() >= v:
                raise ValueError(f"triangles of {detail} refer to a vertex that does not exist")
            if (np.diff(ends) < 0).any() or ends[0] < 0 or ends[-1] != len(triangles):
                raise ValueError(f"the parts of {detail} do not divide its triangles")
        faces = len(self.face_uv)
        indices = [self.face_vertices, self.band_vertices, *self.face_triangles.values()]
        if max(int(array.max()) for array in indices) >= faces:
            raise ValueError("a vertex of the face does not exist")
        for value in (self.mean_extra, self.identity_extra, self.expression_extra, self.targets):
            if not np.isfinite(value).all():
                raise ValueError("a shape has values that are not finite")

    @cached_property
    def _beyond(self) -> NDArray[np.intp]:
        return np.flatnonzero(self.face_rows < 0)

    @cached_property
    def _levels(self) -> dict[Detail, HeadLevel]:
        levels: dict[Detail, HeadLevel] = {}
        for detail in DETAILS:
            triangles = self.triangles[detail]
            rows = np.arange(int(triangles.max()) + 1)
            levels[detail] = HeadLevel(
                self.subdivision.take(rows), triangles, self.part_ends[detail]
            )
        return levels

    def level(self, detail: Detail) -> HeadLevel:
        """The level of that detail; raises KeyError for another word."""
        return self._levels[detail]

    def region(self, name: str) -> NDArray[np.float32]:
        """(V,) weights of one of `REGIONS`."""
        return self.regions[REGIONS.index(name)]

    def cage(
        self,
        face_cage: NDArray[np.float32],
        identity: NDArray[np.float32],
        expression: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """The head's cage (C, 3) mm.

        face_cage: (C_face, 3) mm, `MorphableModel.cage` of the same coefficients.
        identity: (80,), expression: (64,), in sigmas.
        """
        cage = face_cage[np.maximum(self.face_rows, 0)]
        extra = self.mean_extra.ravel() + identity @ self.identity_extra.reshape(len(identity), -1)
        extra += expression @ self.expression_extra.reshape(len(expression), -1)
        cage[self._beyond] = extra.reshape(-1, 3)
        return cage

    def joints(self, cage: NDArray[np.float32]) -> NDArray[np.float32]:
        """(4, 3) mm: the places of `JOINTS` in a cage (C, 3)."""
        joints: NDArray[np.float32] = self.joint_weights @ cage
        return joints

    def outline_colors(self, colors: NDArray[np.float32]) -> NDArray[np.float32]:
        """(24, 3) mean colors along the face's outline, of colors (B, 3) at `band_vertices`."""
        left = np.floor(self.band_places).astype(np.int64)
        share = self.band_places - left
        sums = np.zeros((COLOR_ANCHORS, 4), np.float64)
        for index, weight in ((left, 1 - share), (left + 1, share)):
            np.add.at(
                sums, index % COLOR_ANCHORS, np.c_[colors, np.ones(len(colors))] * weight[:, None]
            )
        return (sums[:, :3] / np.maximum(sums[:, 3:], 1e-9)).astype(np.float32)

    def continued(self, anchors: NDArray[np.float32]) -> NDArray[np.float32]:
        """(V, 3) colors that go on beyond the face from those along its outline (24, 3)."""
        return self.subdivision.refine((self.color_shares @ anchors)[None])[0]

    @classmethod
    def load(cls, path: str | Path, model: MorphableModel) -> HeadRig:
        """Read the head that goes with a face model.

        Raises `ForeignHeadRig` for another face model's head, `HeadRigFileError` when the file is
        not a sound head, OSError when it cannot be read.
        """
        data = Path(path).read_bytes()
        try:
            arrays, metadata = _unpack(data, model.sha256)
            subdivision = Subdivision(
                arrays.pop("subdivision_data"),
                arrays.pop("subdivision_indices"),
                arrays.pop("subdivision_indptr"),
                (len(arrays["uv"]), len(arrays["face_rows"])),
            )
            fields: dict[str, Any] = {
                name: _read_only(_in_memory(name, arrays[name]))
                for name in arrays
                if not name.startswith(("triangles_", "part_ends_", "face_triangles_"))
            }
            details: tuple[Detail, ...] = ("low", "medium")
            rig = cls(
                subdivision=subdivision,
                face_triangles={d: _read_only(arrays[f"face_triangles_{d}"]) for d in details},
                triangles={d: _read_only(arrays[f"triangles_{d}"]) for d in DETAILS},
                part_ends={d: _read_only(arrays[f"part_ends_{d}"]) for d in DETAILS},
                metadata=metadata,
                sha256=hashlib.sha256(data).hexdigest(),
                **fields,
            )
        except ForeignHeadRig:
            raise
        except (ValueError, KeyError, zipfile.BadZipFile) as error:
            raise HeadRigFileError(f"not a sound head: {error}") from error
        rig._check(model)
        return rig

    def _check(self, model: MorphableModel) -> None:
        if len(self.face_uv) != model.n_vertices or int(self.face_rows.max()) >= (
            model.n_cage_vertices
        ):
            raise HeadRigFileError("the head does not have the face model's vertices")


def face_model_of(path: Path) -> str:
    """The sha256 of the face model that a head's file belongs to.

    Raises `HeadRigFileError` when the file is not a head, OSError when it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return str(json.loads(archive.read(_HEADER))["metadata"]["face_model_sha256"])
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise HeadRigFileError(f"not a sound head: {error}") from error


def write_head_rig(
    path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
) -> None:
    """Write a head's file; the same input gives the same bytes.

    arrays: one for each name of the format, rounded to its stored type.
    """
    text = {"format": FORMAT, "version": FORMAT_VERSION, "metadata": dict(metadata)}
    with zipfile.ZipFile(path, "w") as archive:
        _add(archive, _HEADER, (json.dumps(text, indent=1, sort_keys=True) + "\n").encode())
        for name, (dtype, _) in _STORED.items():
            buffer = io.BytesIO()
            array = np.ascontiguousarray(arrays[name], dtype)
            np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
            _add(archive, f"{name}.npy", buffer.getvalue())


def _add(archive: zipfile.ZipFile, name: str, payload: bytes) -> None:
    info = zipfile.ZipInfo(name, _TIMESTAMP)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3
    info.external_attr = 0o644 << 16
    archive.writestr(info, payload, compresslevel=9)


def _unpack(data: bytes, face_model_sha256: str) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = {_HEADER, *(f"{name}.npy" for name in _STORED)}
        if set(archive.namelist()) != names:
            raise ValueError("missing or unknown entries")
        if sum(info.file_size for info in archive.infolist()) > _MOST_BYTES:
            raise ValueError(f"unpacks to more than {_MOST_BYTES} bytes")
        header = json.loads(archive.read(_HEADER))
        if header.get("format") != FORMAT or header.get("version") != FORMAT_VERSION:
            raise ValueError("another format or version")
        metadata: dict[str, str] = header["metadata"]
        if metadata["face_model_sha256"] != face_model_sha256:
            raise ForeignHeadRig("the head belongs to another face model")
        arrays: dict[str, NDArray[Any]] = {}
        extents: dict[str, int] = {}
        for name, (dtype, shape) in _STORED.items():
            array = np.lib.format.read_array(
                io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False
            )
            expected = [
                extents.setdefault(extent, found) if isinstance(extent, str) else extent
                for extent, found in zip(shape, array.shape, strict=False)
            ]
            if array.dtype != np.dtype(dtype) or list(array.shape) != expected:
                raise ValueError(f"{name} must be {dtype} of shape {shape}")
            arrays[name] = array
    return arrays, metadata


def _in_memory(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Stored halves as float32, stored bytes as shares of 255."""
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = np.ascontiguousarray(array).view()
    view.setflags(write=False)
    return view
