"""Alignment of a photo to the crop that R-Net sees, from points of the face.

Scale, position and in-plane rotation come from a weak-perspective fit of the photo's points to
a 3D template.  The code released with the paper fits five points and leaves the rotation to the
network; here it is taken out, so that a photo that is turned shows the network the same crop.
Weights that were trained the other way bring an `Alignment` of their own along.
The five points are the image-left eye, image-right eye, nose tip, image-left mouth corner and
image-right mouth corner, their template `MorphableModel.five_points`; any other points of the
face do as well, such as the 68 landmarks with `MorphableModel.landmark_template`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facewright.models.camera import CROP_SIZE

CROP_SCALE = 1.02
"""Pixels of the crop per mm of the template (102 px per 100 mm)."""

# Points whose spread across their main direction is below this share of the spread along it
# lie on a line, and say nothing about scale.  No view of a face comes near it.
_FLATNESS_LIMIT = 1e-3


class WeakPerspective(NamedTuple):
    """The weak-perspective camera that maps a template to a photo."""

    scale: float
    """Photo px per mm."""
    roll: float
    """Angle in radians, -pi..pi, by which the face is turned clockwise in the photo."""
    origin: NDArray[np.float64]
    """(2,): photo px of the template's origin."""


def fit_weak_perspective(points: NDArray[Any], template: NDArray[Any]) -> WeakPerspective:
    """Fit the weak-perspective camera that maps a template to points of a photo.

    points: (n, 2) photo px, y down.  template: (n, 3) mm; n >= 4.  The eight unknowns of
    (u, v) = A X + t, A (2, 3), are the least-squares solution of 2 n equations.  The roll is
    the part of A's rotation about the line of sight: what is left without it turns about an
    axis in the image plane, by the smallest angle that it can.  So it is defined for every view
    but one from behind, and best where a Euler angle is not, at full profile.  The scale is the
    mean norm of the rows of A with the roll undone.  Turning the photo changes the roll alone.

    Raises ValueError for shapes or values that cannot be fitted: points that are not finite,
    coincide or lie on a line, or a template in a plane.
    """
    points = np.asarray(points, np.float64)
    template = np.asarray(template, np.float64)
    if len(points) < 4 or points.shape != (len(points), 2) or template.shape != (len(points), 3):
        raise ValueError(
            "expected (n, 2) points and an (n, 3) template of at least 4 points, "
            f"got {points.shape} and {template.shape}"
        )
    if not np.isfinite(points).all():
        raise ValueError("points and template must be finite")
    center = points.mean(axis=0)
    if _on_a_line(points - center):
        raise ValueError("the facial points coincide or lie on a line")
    affine = _affine(points, template)
    (a, b, c), (d, e, f) = affine.tolist()
    # The template's y axis points up and the photo's down: upright is [[1, 0], [0, -1]].
    roll = math.atan2(d + b, a - e)
    cosine, sine = math.cos(roll), math.sin(roll)
    across = math.hypot(cosine * a + sine * d, cosine * b + sine * e, cosine * c + sine * f)
    down = math.hypot(cosine * d - sine * a, cosine * e - sine * b, cosine * f - sine * c)
    origin = center - affine @ _fitted(template.tobytes()).center
    return WeakPerspective((across + down) / 2, roll, origin)


def crop_transform(points: NDArray[Any], template: NDArray[Any]) -> NDArray[np.float64]:
    """Similarity from photo px to px of the 224 crop.

    Arguments and errors as for `fit_weak_perspective`.  The face is turned upright, the
    template's origin goes to the crop's center, and one mm of the template spans 1.02 px.
    Returns (2, 3) float64: zoom [[cos, sin], [-sin, cos]] of the roll, and a translation.
    """
    scale, roll, origin = fit_weak_perspective(points, template)
    linear = CROP_SCALE / scale * _turn_back(roll)
    return np.column_stack([linear, CROP_SIZE / 2 - linear @ origin])


@dataclass(frozen=True, eq=False)
class FixedAlignment:
    """The alignment of the released checkpoints: five points, fitted once, and the roll is kept.

    Weights that were trained so carry it in their file's metadata, as `alignment`.
    """

    template: NDArray[np.float64]
    """(5, 3) mm, in the order of `MorphableModel.five_points`; its origin goes to the middle of
    the crop."""

    def crop_transform(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Similarity (2, 3) from photo px to px of the 224 crop, for five points (5, 2).

        The scale is the mean norm of the two rows of the fitted camera.  A face that is turned by
        more than 45 degrees is turned by quarter turns, as somebody would who looks at the photo;
        what is left of its roll is left to the network.  Errors as for `fit_weak_perspective`.
        """
        _, roll, origin = fit_weak_perspective(points, self.template)
        quarter = math.pi / 2
        turned = quarter * round(roll / quarter)
        # The norms of a camera's rows depend on how it is turned about the line of sight.
        scale = np.linalg.norm(_affine(points, self.template), axis=1).mean()
        linear = CROP_SCALE / scale * np.rint(_turn_back(turned))
        return np.column_stack([linear, CROP_SIZE / 2 - linear @ origin])

    def to_text(self) -> str:
        """As metadata of a file."""
        return json.dumps({"template_mm": self.template.tolist(), "roll": "kept"})

    @classmethod
    def from_text(cls, text: str) -> FixedAlignment:
        """Inverse of `to_text`.  Raises ValueError for any other text."""
        try:
            content = json.loads(text)
            template = np.array(content["template_mm"], np.float64)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"no alignment: {text!r}") from error
        if (
            template.shape != (5, 3)
            or not np.isfinite(template).all()
            or _flatness(template) < _FLATNESS_LIMIT
            or content.get("roll") != "kept"
        ):
            raise ValueError(f"no alignment: {text!r}")
        return cls(template)


def _affine(points: NDArray[Any], template: NDArray[Any]) -> NDArray[np.float64]:
    """A (2, 3) of the least-squares solution of points (n, 2) = template (n, 3) A' + t."""
    points, template = np.asarray(points, np.float64), np.asarray(template, np.float64)
    # The equations fall apart into n for u and n for v with the same matrix.
    # Centering both sides takes the translation out, which keeps far-off points exact.
    affine: NDArray[np.float64] = (points - points.mean(axis=0)).T @ _fitted(
        template.tobytes()
    ).inverse
    return affine


class _Fitted(NamedTuple):
    """What a fit asks of a template, which is always one of a few."""

    center: NDArray[np.float64]
    """(3,)."""
    inverse: NDArray[np.float64]
    """(n, 3): transposed pseudoinverse of the centered points."""


@lru_cache(maxsize=16)
def _fitted(octets: bytes) -> _Fitted:
    """Prepare a template (n, 3) float64; raises ValueError if nothing can be fitted to it."""
    template = np.frombuffer(octets).reshape(-1, 3)
    if not np.isfinite(template).all():
        raise ValueError("points and template must be finite")
    if _flatness(template) < _FLATNESS_LIMIT:
        raise ValueError("the template's points lie in a plane")
    center = template.mean(axis=0)
    return _Fitted(center, np.linalg.pinv(template - center).T)


def _on_a_line(centered: NDArray[np.float64]) -> bool:
    """Whether points (n, 2) about their mean have a `_flatness` below the limit."""
    (a, b), (_, c) = (centered.T @ centered).tolist()
    mean, half = (a + c) / 2, math.hypot((a - c) / 2, b)
    return mean - half <= _FLATNESS_LIMIT**2 * (mean + half)


def _turn_back(roll: float) -> NDArray[np.float64]:
    """(2, 2): turns photo px, y down, counter-clockwise by an angle in radians."""
    cosine, sine = math.cos(roll), math.sin(roll)
    return np.array([[cosine, sine], [-sine, cosine]])


def _flatness(points: NDArray[np.float64]) -> float:
    """Smallest over largest spread of points (n, d) about their mean; 0 when they coincide."""
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return float(spread[-1] / spread[0]) if spread[0] > 0.0 else 0.0
