"""Where the 68 landmarks of a photograph come from.

A source gives landmarks as the face model has them, because losses compare them with the
model's own: what a source marks elsewhere (see `photos.conventions`) is unknown.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from facewright.models.arrays import Array
from facewright.models.landmarks import (
    LANDMARK_COUNT,
    LEFT_EYE,
    LEFT_MOUTH_CORNER,
    NOSE_TIP,
    RIGHT_EYE,
    RIGHT_MOUTH_CORNER,
)
from facewright.training.photos.conventions import SHARP
from facewright.training.photos.crops import PIXEL_CENTER
from facewright.training.photos.facemesh import landmarks68
from facewright.training.photos.faces import Face


class Landmarks(NamedTuple):
    """Landmarks of one face.

    points: (68, 2) photo px, pixel centers at halves; finite everywhere.
    known: (68,) bool.
    """

    points: Array
    known: npt.NDArray[np.bool_]


class LandmarkSource(Protocol):
    """Gives landmarks of photos."""

    @property
    def description(self) -> str:
        """What the landmarks depend on: another description, other landmarks."""
        ...

    def find(self, name: str, photo_rgb_u8: npt.NDArray[np.uint8], face: Face) -> Landmarks | None:
        """Landmarks of a face on a photo (H, W, 3); None if the source has none.

        `name` is the photo's path relative to its collection. Called from several threads.
        """
        ...


LabelKind = Literal["facemesh", "labels68"]


class LabelFile:
    """Landmarks of a label file, see `photos.labels`.

    Args:
        path: `.npz` with `names` and `mesh468`, and `landmarks68` if asked for.
        kind: "facemesh" takes the model's landmarks from FaceMesh's points; "labels68" takes
            `landmarks68`, of which only 27 to 67 are the face model's.
        shift: px right and down by which `landmarks68` are off.

    Raises:
        KeyError: an array is missing. FileNotFoundError: no such file.
        ValueError: a shift is given for FaceMesh's points.
    """

    def __init__(
        self, path: Path, kind: LabelKind = "facemesh", shift: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        if kind == "facemesh" and any(shift):
            raise ValueError("the shift is one of landmarks68, FaceMesh's points have none")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.description = f"{kind} {digest} shift {shift[0]:g} {shift[1]:g}"
        with np.load(path) as file:
            names = [str(name) for name in file["names"]]
            if kind == "facemesh":
                points, known = landmarks68(file["mesh468"].astype(np.float64))
            else:
                points = file["landmarks68"].astype(np.float64) - np.array(shift)
                known = np.isfinite(points).all(2)
                known[:, : SHARP.start] = False
        self._points = np.where(known[..., None], points + PIXEL_CENTER, 0.0)
        self._known = known
        self._rows = {name: row for row, name in enumerate(names)}

    def find(self, name: str, photo_rgb_u8: npt.NDArray[np.uint8], face: Face) -> Landmarks | None:
        """See `LandmarkSource`."""
        row = self._rows.get(name)
        if row is None or not self._known[row].any():
            return None
        return Landmarks(self._points[row], self._known[row])


class InsightFace:
    """The 68-point 3D model (`1k3d68.onnx`) of an insightface model pack.

    The library is MIT-licensed and not among this project's dependencies; the packs are for
    non-commercial research only and the user's own. Its jaw and brows follow the collections of
    3D-aware landmarks rather than the face model, so only landmarks 27 to 67 are known.

    Args:
        path: of the `.onnx` file.

    Raises:
        ValueError: the library is not installed or cannot use the file.
        FileNotFoundError: no such file.
    """

    def __init__(self, path: Path) -> None:
        try:
            from insightface.app.common import Face as InsightFaceFace
            from insightface.model_zoo import get_model
        except ImportError as error:
            raise ValueError("insightface's landmarks need `pip install insightface`") from error
        self.description = f"insightface {hashlib.sha256(path.read_bytes()).hexdigest()}"
        try:
            self._model = get_model(str(path), providers=["CPUExecutionProvider"])
            self._model.prepare(ctx_id=-1)
        except Exception as error:  # the library checks its files with bare assertions
            raise ValueError(f"insightface cannot load {path}: {error}") from error
        self._face = InsightFaceFace

    def find(self, name: str, photo_rgb_u8: npt.NDArray[np.uint8], face: Face) -> Landmarks | None:
        """See `LandmarkSource`; None for faces on their side and without a box."""
        if not _upright(face.points) or not np.isfinite(face.box).all():
            return None
        bgr = np.ascontiguousarray(photo_rgb_u8[..., ::-1])
        found = np.asarray(self._model.get(bgr, self._face(bbox=face.box - PIXEL_CENTER)))
        if found.shape != (LANDMARK_COUNT, 3):
            raise ValueError(f"expected (68, 3) landmarks of insightface, got {found.shape}")
        known = np.zeros(LANDMARK_COUNT, np.bool_)
        known[SHARP] = True
        points = np.where(known[:, None], found[:, :2] + PIXEL_CENTER, 0.0)
        return Landmarks(points.astype(np.float64), known)


def _upright(points: Array) -> bool:
    """Whether a face (5, 2) points down by 45 degrees, from between its eyes to its mouth."""
    right, down = points[3:].mean(0) - points[:2].mean(0)
    return bool(down > abs(right))


# Mean distance over the spread of the points: a few in a thousand faces are above it, and those
# looked at were other faces of the same photo or wrong.
_LARGEST_DISAGREEMENT = 0.4


def same_face(landmarks: Array, points: Array) -> bool:
    """Whether landmarks (68, 2) and alignment points (5, 2) lie on one face.

    The landmarks from 27 on must be known.
    """
    eyes = [landmarks[part].mean(0) for part in (LEFT_EYE, RIGHT_EYE)]
    others = landmarks[[NOSE_TIP, LEFT_MOUTH_CORNER, RIGHT_MOUTH_CORNER]]
    of_landmarks = np.concatenate([eyes, others])
    spread = np.sqrt(((points - points.mean(0)) ** 2).sum(1).mean())
    apart = np.linalg.norm(of_landmarks - points, axis=1).mean()
    return bool(apart < _LARGEST_DISAGREEMENT * spread)
