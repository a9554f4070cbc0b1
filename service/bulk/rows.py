"""The table: what is written of each face and each photo that failed, and read again for meshes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from facewright.models.blendshape_names import ARKIT_BLENDSHAPES
from facewright.models.blendshapes import BlendshapeSolver
from facewright.models.layout import CoefficientLayout, layout_of
from facewright.service.errors import FacewrightError
from facewright.service.networks.detection import DetectedFace
from facewright.service.pipeline.reconstruction import ObservedFace, Reconstruction

SECONDS: Final = ("read", "decode", "detect", "regress", "recognize", "reconstruct")
"""Stages whose time is written; those that share a network wait for each other's batches."""

_FLOATS = pa.list_(pa.float32())
_DOUBLES = pa.list_(pa.float64())

FACES: Final = pa.schema(
    [
        pa.field("photo_index", pa.int64(), nullable=False),
        pa.field("photo", pa.string(), nullable=False),
        pa.field("photo_sha256", pa.string()),
        pa.field("album", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("code", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("face", pa.int32()),
        pa.field("box", _FLOATS),
        pa.field("score", pa.float32()),
        pa.field("crop_transform", _DOUBLES),
        pa.field("intrinsics", _DOUBLES),
        pa.field("rotation_matrix", _FLOATS),
        pa.field("translation_mm", _FLOATS),
        pa.field("coefficients", _FLOATS),
        pa.field("confidences", _FLOATS),
        pa.field("landmarks", _FLOATS),
        pa.field("blendshapes", _FLOATS),
        pa.field("seconds", pa.struct([(stage, pa.float32()) for stage in SECONDS])),
        pa.field("facewright", pa.string(), nullable=False),
        pa.field("face_model_sha256", pa.string(), nullable=False),
        pa.field("weights_sha256", pa.string(), nullable=False),
        pa.field("detector", pa.string(), nullable=False),
    ],
)
"""One row per face, and one per photo that failed; matrices and points row by row.

`code` and `detail` are those of the API's problems, and null where there is a face.  The metadata
of a table tells the slices of `coefficients` and the names of `blendshapes`.
"""


def face_rows(
    photo: Mapping[str, Any],
    faces: list[Reconstruction],
    solver: BlendshapeSolver | None,
) -> Iterator[dict[str, Any]]:
    """The rows of a photo's faces; `photo` has the columns that they share."""
    for index, face in enumerate(faces):
        layout = layout_of(face.coefficients)
        expression = face.coefficients[layout.expression]
        identity = face.coefficients[layout.identity]
        yield {
            **photo,
            "face": index,
            "box": face.face.box,
            "score": face.face.score,
            "crop_transform": face.crop_transform.ravel(),
            "intrinsics": face.intrinsics.ravel(),
            "rotation_matrix": face.rotation_matrix.ravel(),
            "translation_mm": face.translation_mm,
            "coefficients": face.coefficients,
            "confidences": face.confidences,
            "landmarks": face.landmarks_px.ravel(),
            "blendshapes": None if solver is None else solver.solve(expression, identity).weights,
        }


def failure_row(photo: Mapping[str, Any], error: FacewrightError) -> dict[str, Any]:
    """The row of a photo that failed."""
    return {**photo, "code": error.code, "detail": error.detail}


def faces_table(rows: list[dict[str, Any]], layout: CoefficientLayout) -> pa.Table:
    """Rows as a table of `FACES`; what a row does not name is null."""
    parts = ("identity", "expression", "albedo", "light", "rotation", "translation")
    slices = {name: getattr(layout, name) for name in parts}
    metadata = {
        "coefficients": json.dumps({name: [s.start, s.stop] for name, s in slices.items()}),
        "blendshapes": json.dumps(list(ARKIT_BLENDSHAPES)),
    }
    return pa.Table.from_pylist(rows, schema=FACES.with_metadata(metadata))


def observed_face(row: Mapping[str, Any], descriptor: Any = None) -> ObservedFace:
    """The face of a row of `FACES`; the points that it was detected by are not kept, and NaN."""
    return ObservedFace(
        face=DetectedFace(
            box=np.array(row["box"], np.float32),
            points=np.full((5, 2), np.nan, np.float32),
            score=row["score"],
        ),
        crop_transform=np.array(row["crop_transform"], np.float64).reshape(2, 3),
        coefficients=np.array(row["coefficients"], np.float32),
        confidences=np.array(row["confidences"], np.float32),
        descriptor=None if descriptor is None else np.array(descriptor, np.float32),
    )
