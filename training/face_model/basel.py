"""Face models of people who hold a license of the Basel Face Model 2009.

`BFM_model_front.mat` is what the code released with the paper makes of the Basel Face Model 2009
(shape, identity, albedo) and expression bases built from FaceWarehouse, cut to the face: 35,709
vertices, 80 + 64 + 80 modes, bases scaled by their standard deviations.  `read_front` reads it, and
`read_split` makes the same of the files that it is made from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from scipy.spatial import cKDTree

from facewright.models.landmarks import LANDMARK_COUNT
from facewright.models.mirror import FLIP_X
from facewright.models.model_file import FaceModelFileError
from facewright.models.morphable_model import PART_SKIN, MorphableModel
from facewright.training.face_model.uv import face_coordinates

MM_PER_UNIT: Final = 100.0
"""The file is in units of 100 mm: the original's micrometers over 1e5."""
MICROMETERS: Final = 1e-5
"""Units of 100 mm in a micrometer."""

FRONT_FILE: Final = "BFM_model_front.mat"
TEMPLATE_FILE: Final = "similarity_Lm3D_all.mat"

N_IDENTITY, N_EXPRESSION, N_ALBEDO = 80, 64, 80

_FRONT_KEYS = (
    "meanshape",
    "idBase",
    "exBase",
    "meantex",
    "texBase",
    "tri",
    "keypoints",
    "skinmask",
)
_ORIGINAL_KEYS = ("shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV")
# The corners of the eyes, the nose's tip and the corners of the mouth among 68 landmarks; 0-based.
_RIGHT_EYE, _LEFT_EYE, _NOSE, _MOUTH = (36, 39), (42, 45), 30, (48, 54)


def read_front(path: str | Path) -> MorphableModel:
    """Read `BFM_model_front.mat` into a `MorphableModel` with dense bases.

    Units become millimeters and colors [0, 1], 1-based indices 0-based, and the mean shape is
    centered.  The file names no mirror pairs and no texture coordinates: a vertex's mirror is
    the vertex nearest to its mirror position on the mean shape, and texture coordinates are made
    as those of the open face model.  There are no named blendshapes, and every vertex counts as
    skin.

    Raises:
        FaceModelFileError: the file is not of this form; the message names it.
        OSError: it cannot be read.
    """
    path = Path(path)
    content = _matlab(path, _FRONT_KEYS, f"a {FRONT_FILE} file")
    return _sound(path, lambda: _convert(content))


def read_split(folder: str | Path) -> MorphableModel:
    """Make the model of `BFM_model_front.mat` from the files of which it is made.

    The folder holds, under the names that the released code gives them,

    - `01_MorphableModel.mat`, the Basel Face Model 2009: `shapeMU`, `shapePC`, `shapeEV` and the
      same of `tex`, in micrometers and 0-255, bases of unit length beside their deviations;
    - `Exp_Pca.bin`, expressions on a part of its vertices: their number as int32, then a mean and
      as many modes in float32; `std_exp.txt`, their deviations;
    - `BFM_exp_idx.mat` (`trimIndex`), which of the vertices that part has, and `BFM_front_idx.mat`
      (`idx`), which of those the face has, both 1-based;
    - `facemodel_info.mat`: `tri`, `keypoints` and `skinmask` of the face.

    Raises:
        FaceModelFileError: a file is missing or not of this form; the message names it.
        OSError: it cannot be read.
    """
    folder = Path(folder)
    original = folder / "01_MorphableModel.mat"
    basel = _matlab(original, _ORIGINAL_KEYS, "a Basel Face Model 2009")
    trimmed = _matlab(folder / "BFM_exp_idx.mat", ("trimIndex",), "a list of vertices")
    front = _matlab(folder / "BFM_front_idx.mat", ("idx",), "a list of vertices")
    info = _matlab(folder / "facemodel_info.mat", ("tri", "keypoints", "skinmask"), "its kind")
    of_part = _from_one_based(front["idx"]).reshape(-1)
    part = _from_one_based(trimmed["trimIndex"]).reshape(-1)
    expression = _expression(folder / "Exp_Pca.bin", folder / "std_exp.txt", len(part))

    def convert() -> MorphableModel:
        whole = part[of_part]
        return _convert(
            {
                "meanshape": _rows(np.reshape(basel["shapeMU"], (-1, 1)), whole) * MICROMETERS,
                "idBase": _scaled(basel, "shape", N_IDENTITY, whole) * MICROMETERS,
                "exBase": _rows(expression, of_part) * MICROMETERS,
                "meantex": _rows(np.reshape(basel["texMU"], (-1, 1)), whole),
                "texBase": _scaled(basel, "tex", N_ALBEDO, whole),
                **{key: info[key] for key in ("tri", "keypoints", "skinmask")},
            }
        )

    return _sound(folder, convert)


def read_template(path: str | Path) -> NDArray[np.float64]:
    """The five points (5, 3) in mm of `similarity_Lm3D_all.mat`, to which photos are aligned.

    An eye is the middle between its corners, as the released code takes it.

    Raises:
        FaceModelFileError: the file is not of this form; the message names it.
        OSError: it cannot be read.
    """
    path = Path(path)
    landmarks = np.asarray(_matlab(path, ("lm",), f"a {TEMPLATE_FILE} file")["lm"])
    if landmarks.shape != (LANDMARK_COUNT, 3) or landmarks.dtype.kind not in "fiu":
        raise FaceModelFileError(f"{path}: lm has shape {landmarks.shape}, not (68, 3)")
    return MM_PER_UNIT * five_of_landmarks(landmarks.astype(np.float64))


def five_of_landmarks(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Image-left eye, image-right eye, nose tip and mouth corners (5, 3) of 68 landmarks."""
    eyes = [landmarks[list(eye)].mean(axis=0) for eye in (_RIGHT_EYE, _LEFT_EYE)]
    return np.stack([*eyes, landmarks[_NOSE], *landmarks[list(_MOUTH)]])


def _matlab(path: Path, keys: tuple[str, ...], kind: str) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content: dict[str, Any] = loadmat(file, variable_names=keys)  # type: ignore[arg-type]
    except (ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise FaceModelFileError(f"{path}: not a readable MATLAB file: {error}") from error
    missing = [key for key in keys if key not in content]
    if missing:
        raise FaceModelFileError(f"{path}: not {kind}: it lacks {', '.join(missing)}")
    return content


def _sound(path: Path, convert: Any) -> MorphableModel:
    try:
        model: MorphableModel = convert()
    except (ValueError, TypeError, IndexError) as error:
        raise FaceModelFileError(f"{path}: not a sound Basel face model: {error}") from error
    return model


def _convert(content: dict[str, Any]) -> MorphableModel:
    """The model of arrays as `BFM_model_front.mat` has them."""
    mean = np.asarray(content["meanshape"], np.float64).reshape(-1, 3) * MM_PER_UNIT
    mean -= mean.mean(axis=0)
    n_vertices = len(mean)
    mean_albedo = np.asarray(content["meantex"], np.float64).reshape(-1, 3) / 255.0
    triangles = _from_one_based(content["tri"])
    if triangles.ndim != 2 or triangles.shape[1] != 3 or not len(triangles):
        raise ValueError(f"tri has shape {triangles.shape}, not (T, 3)")
    if triangles.min() < 0 or triangles.max() >= n_vertices:
        raise ValueError("tri refers to a vertex that does not exist")
    return MorphableModel(
        mean_shape=mean.astype(np.float32),
        identity_basis=_basis(content["idBase"], n_vertices, N_IDENTITY, MM_PER_UNIT),
        expression_basis=_basis(content["exBase"], n_vertices, N_EXPRESSION, MM_PER_UNIT),
        subdivision=None,
        mean_albedo=mean_albedo.clip(0.0, 1.0).astype(np.float32),
        albedo_basis=_basis(content["texBase"], n_vertices, N_ALBEDO, 1.0 / 255.0),
        triangles=triangles,
        landmarks=_from_one_based(content["keypoints"]).reshape(-1),
        skin_region=np.asarray(content["skinmask"]).reshape(-1) > 0,
        mirror=np.asarray(cKDTree(mean).query(mean * FLIP_X)[1], np.int32),
        uv=face_coordinates(mean, triangles),
        parts=np.full(n_vertices, PART_SKIN, np.uint8),
        expression_units=(),
        expression_unit_coefficients=np.zeros((0, N_EXPRESSION), np.float32),
        metadata={
            "name": "Basel Face Model 2009, front",
            "version": "2009",
            "licence": "Basel Face Model license: personal, non-commercial, no redistribution",
            "source": FRONT_FILE,
            "units": "mm",
        },
    )


def _basis(columns: Any, n_vertices: int, modes: int, unit: float) -> NDArray[np.float32]:
    """Columns (3V, k) of interleaved coordinates to (k, V, 3) in our unit."""
    columns = np.asarray(columns, np.float64)
    if columns.shape != (3 * n_vertices, modes):
        raise ValueError(
            f"a basis of shape {columns.shape} does not fit {n_vertices} vertices and {modes} modes"
        )
    basis: NDArray[np.float64] = (columns * unit).T.reshape(-1, n_vertices, 3)
    return basis.astype(np.float32)


def _rows(values: Any, vertices: NDArray[np.int32]) -> NDArray[np.float64]:
    """Some vertices (n,) of columns (3V, k) of interleaved coordinates: (3n, k)."""
    columns = np.asarray(values, np.float64)
    chosen: NDArray[np.float64] = columns.reshape(len(columns) // 3, 3, -1)[vertices]
    return chosen.reshape(3 * len(vertices), -1)


def _scaled(
    basel: dict[str, Any], kind: str, modes: int, vertices: NDArray[np.int32]
) -> NDArray[np.float64]:
    """The first modes (3n, modes) of some vertices, times their deviations."""
    deviations = np.asarray(basel[f"{kind}EV"], np.float64).reshape(-1)[:modes]
    return _rows(np.asarray(basel[f"{kind}PC"])[:, :modes], vertices) * deviations


def _expression(modes: Path, deviations: Path, n_vertices: int) -> NDArray[np.float64]:
    """The first expressions (3V, 64) of `Exp_Pca.bin`, times their deviations, micrometers."""
    data = modes.read_bytes()
    count = int(np.frombuffer(data[:4], "<i4")[0]) if len(data) >= 4 else 0
    if count < N_EXPRESSION or len(data) != 4 + 4 * 3 * n_vertices * (count + 1):
        raise FaceModelFileError(
            f"{modes}: {len(data)} bytes are not the expressions of the {n_vertices} vertices"
            " of BFM_exp_idx.mat"
        )
    columns = np.frombuffer(data, "<f4", offset=4 + 4 * 3 * n_vertices).reshape(count, -1).T
    try:
        sigma = np.loadtxt(deviations, np.float64).reshape(-1)
    except ValueError as error:
        raise FaceModelFileError(f"{deviations}: no list of numbers: {error}") from error
    if len(sigma) < N_EXPRESSION:
        raise FaceModelFileError(f"{deviations}: {len(sigma)} deviations, not {N_EXPRESSION}")
    return columns[:, :N_EXPRESSION] * sigma[:N_EXPRESSION]


def _from_one_based(indices: Any) -> NDArray[np.int32]:
    # Subtracted in int64: the file's small unsigned type would wrap a stray 0 around.
    return (np.asarray(indices).astype(np.int64) - 1).astype(np.int32)
