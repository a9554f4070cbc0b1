"""The 3D morphable face model (NumPy; `morphable_model_torch` is its twin).

Equation 1 of the paper: shape S = mean + B_id alpha + B_exp beta, albedo T = mean + B_t delta,
with bases scaled by their standard deviations (a coefficient of 1 is one sigma).

Shape bases may be stored on a coarse cage that a fixed sparse matrix refines to the mesh: the
refinement is linear, so the model still is equation 1, at a tenth of the size.
`docs/model-file.md` describes the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facewright.models import model_file
from facewright.models.jit import kernel
from facewright.models.landmarks import LANDMARK_COUNT, five_points
from facewright.models.subdivision import Subdivision

PART_SKIN: Final = 0
PART_CAVITY: Final = 1
"""Inside of lids and mouth."""
PART_EYEBALL: Final = 2
PART_TEETH: Final = 3
"""Upper and lower teeth with their gums."""
PART_TONGUE: Final = 4

# `licence` is how version 1 of the format spells it, and the metadata of networks.
REQUIRED_METADATA: Final = ("name", "version", "licence", "source", "units")

# Dtype and shape of every array: V vertices, C cage vertices, T triangles, K blendshapes.
_ARRAYS: Final[dict[str, tuple[type[np.generic], tuple[int | str, ...]]]] = {
    "mean_shape": (np.float32, ("C", 3)),
    "identity_basis": (np.float32, ("identity", "C", 3)),
    "expression_basis": (np.float32, ("expression", "C", 3)),
    "mean_albedo": (np.float32, ("V", 3)),
    "albedo_basis": (np.float32, ("albedo", "V", 3)),
    "triangles": (np.int32, ("T", 3)),
    "landmarks": (np.int32, (LANDMARK_COUNT,)),
    "skin_region": (np.bool_, ("V",)),
    "mirror": (np.int32, ("V",)),
    "uv": (np.float32, ("V", 2)),
    "parts": (np.uint8, ("V",)),
    "expression_unit_coefficients": (np.float32, ("K", "expression")),
}


@dataclass(frozen=True, eq=False)
class MorphableModel:
    """A face model with V vertices, shape bases on a cage of C vertices (C == V when dense).

    Model space: right-handed, +x to the subject's left (image right), +y up, +z out of the
    face, millimeters, origin at the mean of the mean shape's vertices.  The arrays are
    read-only.  Construction raises ValueError for wrong shapes or dtypes, values that are not
    finite, and indices out of range.
    """

    mean_shape: NDArray[np.float32]
    """(C, 3) mm."""
    identity_basis: NDArray[np.float32]
    """(n_identity, C, 3) mm per sigma."""
    expression_basis: NDArray[np.float32]
    """(n_expression, C, 3) mm per sigma."""
    subdivision: Subdivision | None
    """(V, C) sparse matrix whose rows sum to 1; None when the shape bases are dense."""
    mean_albedo: NDArray[np.float32]
    """(V, 3) display-referred sRGB in [0, 1]."""
    albedo_basis: NDArray[np.float32]
    """(n_albedo, V, 3) per sigma."""
    triangles: NDArray[np.int32]
    """(T, 3) vertex indices, counter-clockwise seen from outside."""
    landmarks: NDArray[np.int32]
    """(68,) vertex indices in iBUG order."""
    skin_region: NDArray[np.bool_]
    """(V,) cheeks, nose and forehead: where the albedo should be even (paper, equation 6)."""
    mirror: NDArray[np.int32]
    """(V,) index of the vertex at the mirror position."""
    uv: NDArray[np.float32]
    """(V, 2) texture coordinates in [0, 1], v up."""
    parts: NDArray[np.uint8]
    """(V,) 0 skin, 1 inside of lids and mouth, 2 eyeball, 3 teeth, 4 tongue."""
    expression_units: tuple[str, ...]
    """Names of K blendshapes: ARKit's ("jawOpen"), then others with a prefix ("mpfb/...")."""
    expression_unit_coefficients: NDArray[np.float32]
    """(K, n_expression) expression coefficients of the fully active blendshapes."""
    metadata: Mapping[str, str]
    """At least name, version, licence, source and units."""
    sha256: str = field(default="")
    """Hexadecimal digest of the file the model was loaded from; empty when it was built."""

    def __post_init__(self) -> None:
        for name in _ARRAYS:
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, name, _read_only(value))
        object.__setattr__(self, "metadata", dict(self.metadata))
        self._validate()

    @property
    def n_vertices(self) -> int:
        """Number of vertices V."""
        return len(self.mean_albedo)

    @property
    def n_cage_vertices(self) -> int:
        """Number of cage vertices C; equals `n_vertices` when there is no subdivision."""
        return len(self.mean_shape)

    @property
    def n_triangles(self) -> int:
        """Number of triangles T."""
        return len(self.triangles)

    @property
    def n_identity(self) -> int:
        """Number of identity coefficients (80)."""
        return len(self.identity_basis)

    @property
    def n_expression(self) -> int:
        """Number of expression coefficients (64)."""
        return len(self.expression_basis)

    @property
    def n_albedo(self) -> int:
        """Number of albedo coefficients (80)."""
        return len(self.albedo_basis)

    @cached_property
    def behind_lips(self) -> NDArray[np.intp]:
        """(n,) the vertices of teeth and tongue."""
        return np.flatnonzero((self.parts == PART_TEETH) | (self.parts == PART_TONGUE))

    @cached_property
    def mean_vertices(self) -> NDArray[np.float32]:
        """(V, 3) mm: the mean shape on the full mesh, read-only."""
        return _read_only(self.refine(self.mean_shape[None])[0])

    @cached_property
    def _landmark_bases(self) -> NDArray[np.float32]:
        """(n_identity + n_expression, 204): the bases of the landmarks' coordinates."""
        cages = np.concatenate([self.identity_basis, self.expression_basis])
        if self.subdivision is None:
            points = cages[:, self.landmarks]
        else:
            points = self.subdivision.take(self.landmarks).refine(cages)
        return _read_only(points.reshape(len(cages), -1))

    @cached_property
    def _stored_albedo_basis(self) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """The basis (n_albedo, 3 V) in the numbers of a file, and their scales (n_albedo,).

        In int8 where nothing is lost by it, as of every model that was loaded from a usual file:
        a quarter of the memory to go through, which is what the product's time goes into.
        """
        basis = self.albedo_basis.reshape(self.n_albedo, -1)
        levels = np.empty(basis.shape, np.int8)
        scales = np.empty(self.n_albedo, np.float32)
        for k, mode in enumerate(self.albedo_basis):
            quantized, scale = model_file.quantize(mode[None])
            levels[k], scales[k] = quantized.reshape(-1), scale[0]
            if not np.array_equal(levels[k] * scale, basis[k]):
                return basis, np.ones(self.n_albedo, np.float32)
        return _read_only(levels), scales

    @cached_property
    def five_points(self) -> NDArray[np.float64]:
        """(5, 3) mm: the alignment template on the mean shape, see `landmarks.five_points`."""
        return _read_only(five_points(self.landmark_template))

    @cached_property
    def landmark_template(self) -> NDArray[np.float64]:
        """(68, 3) mm: the landmarks on the mean shape, an alignment template too; read-only."""
        return _read_only(self.mean_vertices[self.landmarks].astype(np.float64))

    def shape(self, identity: NDArray[Any], expression: NDArray[Any]) -> NDArray[np.float32]:
        """Shapes of N faces (paper, equation 1): (N, V, 3) float32 mm.

        identity: (N, n_identity), expression: (N, n_expression), in sigmas.
        Raises ValueError for other shapes.
        """
        return self.refine(self.cage(identity, expression))

    def cage(self, identity: NDArray[Any], expression: NDArray[Any]) -> NDArray[np.float32]:
        """Cages of N faces, which `refine` carries to the mesh: (N, C, 3) float32 mm.

        Arguments and errors as for `shape`.
        """
        identity = _coefficients("identity", identity, self.n_identity)
        expression = _coefficients("expression", expression, self.n_expression)
        if len(identity) != len(expression):
            raise ValueError(f"{len(identity)} identities but {len(expression)} expressions")
        cages = identity @ self.identity_basis.reshape(self.n_identity, -1)
        cages += expression @ self.expression_basis.reshape(self.n_expression, -1)
        cages += self.mean_shape.reshape(-1)
        return cages.reshape(-1, self.n_cage_vertices, 3)

    def landmark_points(
        self, identity: NDArray[Any], expression: NDArray[Any]
    ) -> NDArray[np.float32]:
        """The landmarks of N faces without the rest of the mesh: (N, 68, 3) float32 mm.

        Arguments and errors as for `shape`.
        """
        identity = _coefficients("identity", identity, self.n_identity)
        expression = _coefficients("expression", expression, self.n_expression)
        moved = np.concatenate([identity, expression], axis=1) @ self._landmark_bases
        points = moved.reshape(-1, LANDMARK_COUNT, 3)
        points += self.landmark_template.astype(np.float32)
        return points

    def albedo(self, albedo: NDArray[Any]) -> NDArray[np.float32]:
        """Albedos of N faces (paper, equation 1), clipped: (N, V, 3) float32 sRGB in [0, 1].

        albedo: (N, n_albedo), in sigmas.  Raises ValueError for other shapes.
        """
        basis, scales = self._stored_albedo_basis
        weights = _coefficients("albedo", albedo, self.n_albedo) * scales
        colors = np.empty((len(weights), self.n_vertices * 3), np.float32)
        _blend(self.mean_albedo.reshape(-1), basis, weights, colors)
        return colors.reshape(-1, self.n_vertices, 3)

    def refine(self, cages: NDArray[np.float32]) -> NDArray[np.float32]:
        """Carry cage positions or displacements (N, C, 3) float32 to the mesh: (N, V, 3)."""
        if self.subdivision is None:
            return np.ascontiguousarray(cages)
        return self.subdivision.refine(cages)

    @classmethod
    def load(cls, path: str | Path) -> MorphableModel:
        """Read a model file.

        Raises `FaceModelFileError` (a ValueError) when the file is not a sound face model of
        the version this code reads, OSError when it cannot be read.
        """
        arrays, header, digest = model_file.read(Path(path))
        try:
            matrix = None
            if "subdivision_data" in arrays:
                matrix = Subdivision(
                    arrays.pop("subdivision_data"),
                    arrays.pop("subdivision_indices"),
                    arrays.pop("subdivision_indptr"),
                    (len(arrays["mean_albedo"]), len(arrays["mean_shape"])),
                )
            return cls(
                subdivision=matrix,
                expression_units=header.expression_units,
                metadata=header.metadata,
                sha256=digest,
                **arrays,
            )
        except ValueError as error:
            raise model_file.FaceModelFileError(f"not a sound face model: {error}") from error

    def save(self, path: str | Path, *, exact: bool = False) -> None:
        """Write a model file; the same model gives the same bytes.

        Shape bases are rounded to float16 and the albedo basis to 8 bits with one scale per
        mode, so a loaded model differs from the saved one by that; saving a loaded model
        writes the same arrays again.  With `exact` they stay in float32, and nothing differs.
        """
        arrays: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in _ARRAYS}
        if self.subdivision is not None:
            arrays["subdivision_data"] = self.subdivision.data
            arrays["subdivision_indices"] = self.subdivision.indices
            arrays["subdivision_indptr"] = self.subdivision.indptr
        header = model_file.Header(self.expression_units, dict(self.metadata))
        model_file.write(Path(path), arrays, header, exact=exact)

    def _validate(self) -> None:
        extents: dict[str, int] = {}
        for name, (dtype, shape) in _ARRAYS.items():
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != dtype:
                found = getattr(array, "dtype", type(array).__name__)
                raise ValueError(f"{name} must be a {np.dtype(dtype)} array, not {found}")
            # The first array with a named extent sets it for all others.
            expected = [
                extents.setdefault(extent, found) if isinstance(extent, str) else extent
                for extent, found in zip(shape, array.shape, strict=False)
            ]
            if array.ndim != len(shape) or list(array.shape) != expected:
                raise ValueError(f"{name} must have shape {shape}, not {array.shape}")
            if dtype is np.float32 and not np.all(np.isfinite(array)):
                raise ValueError(f"{name} has values that are not finite")
        if min(extents[extent] for extent in "CVT") == 0:
            raise ValueError("a face model needs vertices and triangles")
        for name in ("triangles", "landmarks", "mirror"):
            array = getattr(self, name)
            if array.min() < 0 or array.max() >= self.n_vertices:
                raise ValueError(f"{name} refers to a vertex that does not exist")
        if self.parts.max() > PART_TONGUE:
            raise ValueError(
                "parts must be 0 (skin), 1 (cavity), 2 (eyeball), 3 (teeth) or 4 (tongue)"
            )
        for name in ("mean_albedo", "uv"):
            array = getattr(self, name)
            if array.min() < 0.0 or array.max() > 1.0:
                raise ValueError(f"{name} must lie in [0, 1]")
        if not len(set(self.expression_units)) == len(self.expression_units) == extents["K"]:
            raise ValueError("expression_units needs one distinct name per row of coefficients")
        missing = [key for key in REQUIRED_METADATA if not self.metadata.get(key)]
        if missing:
            raise ValueError(f"metadata lacks {', '.join(missing)}")
        self._validate_subdivision()

    def _validate_subdivision(self) -> None:
        if self.subdivision is None:
            if self.n_cage_vertices != self.n_vertices:
                raise ValueError("without a subdivision the shape must have every vertex")
        elif self.subdivision.shape != (self.n_vertices, self.n_cage_vertices):
            raise ValueError(f"subdivision must not have shape {self.subdivision.shape}")


_BLOCK: Final = 2048
"""Numbers of a color row that stay in the nearest cache while all modes are added."""


@kernel
def _blend(
    mean: NDArray[np.float32],
    basis: NDArray[Any],
    weights: NDArray[np.float32],
    colors: NDArray[np.float32],
) -> None:
    """Fill `colors` (N, m) with mean + weights (N, n) @ basis (n, m), clipped to [0, 1]."""
    modes, length = basis.shape
    for face in range(len(weights)):
        for begin in range(0, length, _BLOCK):
            end = min(length, begin + _BLOCK)
            block = colors[face, begin:end]
            for i in range(end - begin):
                block[i] = mean[begin + i]
            # Two modes at a time: half as many ways to the cache and back.
            for k in range(0, modes - 1, 2):
                a, b = weights[face, k], weights[face, k + 1]
                first, second = basis[k, begin:end], basis[k + 1, begin:end]
                for i in range(end - begin):
                    block[i] += a * np.float32(first[i]) + b * np.float32(second[i])
            if modes % 2:
                a, first = weights[face, modes - 1], basis[modes - 1, begin:end]
                for i in range(end - begin):
                    block[i] += a * np.float32(first[i])
            for i in range(end - begin):
                block[i] = min(max(block[i], np.float32(0.0)), np.float32(1.0))


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A contiguous view that cannot be written, leaving the caller's own array as it is."""
    view = np.ascontiguousarray(array).view()
    view.setflags(write=False)
    return view


def _coefficients(name: str, values: NDArray[Any], count: int) -> NDArray[np.float32]:
    values = np.asarray(values, np.float32)
    if values.ndim != 2 or values.shape[1] != count:
        raise ValueError(f"expected (N, {count}) {name} coefficients, got {values.shape}")
    return values
