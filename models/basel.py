"""Loader for `BFM_model_front.mat`, for holders of a Basel Face Model 2009 licence.

That file is what the code released with the paper makes from the Basel Face Model 2009 (shape,
identity, albedo) and the FaceWarehouse-based expression bases, cut to the face: about 36K
vertices, 80 + 64 + 80 modes, bases scaled by their standard deviations.

Needs SciPy, which serving does not.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from scipy.spatial import cKDTree

from facewright.models.mirror import FLIP_X
from facewright.models.model_file import FaceModelFileError
from facewright.models.morphable_model import PART_SKIN, MorphableModel

MM_PER_UNIT: Final = 100.0
"""The file is in units of 100 mm: the original's micrometres over 1e5."""

_KEYS = (
    "meanshape",
    "idBase",
    "exBase",
    "meantex",
    "texBase",
    "tri",
    "keypoints",
    "skinmask",
)


def load_bfm_model_front(path: str | Path) -> MorphableModel:
    """Read `BFM_model_front.mat` into a `MorphableModel` with dense bases.

    Units become millimetres and colours [0, 1], 1-based indices 0-based, and the mean shape is
    centred.  The file names no mirror pairs and no texture coordinates: a vertex's mirror is
    the vertex nearest to its mirror position on the mean shape, and texture coordinates unroll
    a cylinder around the head.  There are no named blendshapes, and every vertex counts as
    skin.  Raises FaceModelFileError when the file is not of this form, OSError when it cannot
    be read.
    """
    path = Path(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        content = loadmat(path, variable_names=_KEYS)
    except (ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise FaceModelFileError(f"not a readable MATLAB file: {error}") from error
    missing = [key for key in _KEYS if key not in content]
    if missing:
        raise FaceModelFileError(f"not a BFM_model_front file: it lacks {', '.join(missing)}")
    try:
        return _convert(content, digest)
    except (ValueError, TypeError) as error:
        raise FaceModelFileError(f"not a sound BFM_model_front file: {error}") from error


def _convert(content: dict[str, Any], digest: str) -> MorphableModel:
    mean = np.asarray(content["meanshape"], np.float64).reshape(-1, 3) * MM_PER_UNIT
    mean -= mean.mean(axis=0)
    n_vertices = len(mean)
    expression_basis = _basis(content["exBase"], n_vertices, MM_PER_UNIT)
    mean_albedo = np.asarray(content["meantex"], np.float64).reshape(-1, 3) / 255.0
    return MorphableModel(
        mean_shape=mean.astype(np.float32),
        identity_basis=_basis(content["idBase"], n_vertices, MM_PER_UNIT),
        expression_basis=expression_basis,
        subdivision=None,
        mean_albedo=mean_albedo.clip(0.0, 1.0).astype(np.float32),
        albedo_basis=_basis(content["texBase"], n_vertices, 1.0 / 255.0),
        triangles=_from_one_based(content["tri"]),
        landmarks=_from_one_based(content["keypoints"]).reshape(-1),
        skin_region=np.asarray(content["skinmask"]).reshape(-1) > 0,
        mirror=np.asarray(cKDTree(mean).query(mean * FLIP_X)[1], np.int32),
        uv=_cylindrical_uv(mean).astype(np.float32),
        parts=np.full(n_vertices, PART_SKIN, np.uint8),
        expression_units=(),
        expression_unit_coefficients=np.zeros((0, len(expression_basis)), np.float32),
        metadata={
            "name": "Basel Face Model 2009, front",
            "version": "2009",
            "licence": "Basel Face Model licence: personal, non-commercial, no redistribution",
            "source": "BFM_model_front.mat",
            "units": "mm",
        },
        sha256=digest,
    )


def _basis(columns: NDArray[Any], n_vertices: int, unit: float) -> NDArray[np.float32]:
    """Columns (3V, k) of interleaved coordinates to (k, V, 3) in our unit."""
    columns = np.asarray(columns, np.float32)
    if columns.ndim != 2 or len(columns) != 3 * n_vertices:
        raise ValueError(f"a basis of shape {columns.shape} does not fit {n_vertices} vertices")
    return (columns * np.float32(unit)).T.reshape(-1, n_vertices, 3)


def _from_one_based(indices: NDArray[Any]) -> NDArray[np.int32]:
    # Subtracted in int64: the file's small unsigned type would wrap a stray 0 around.
    return (np.asarray(indices).astype(np.int64) - 1).astype(np.int32)


def _cylindrical_uv(vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    """(V, 2) in [0, 1]: angle around a vertical axis behind the face, and height."""
    x, y, z = vertices.T
    coordinates = np.stack([np.arctan2(x, z - z.min() + 1.0), y], axis=-1)
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    return (coordinates - low) / (high - low)
