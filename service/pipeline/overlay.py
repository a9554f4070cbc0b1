"""Draw reconstructed faces onto their photo: shaded mesh, and landmarks on request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from facewright.models import rasterizer
from facewright.models.arrays import BoolArray, ByteArray, FloatArray
from facewright.models.camera import CAMERA_DISTANCE
from facewright.models.jit import kernel
from facewright.models.morphable_model import PART_CAVITY, PART_EYEBALL, PART_TEETH, PART_TONGUE
from facewright.models.normals import vertex_normals
from facewright.models.rasterizer import Fragments, interpolate, rasterize

if TYPE_CHECKING:
    from facewright.models.morphable_model import MorphableModel
    from facewright.service.pipeline.reconstruction import Reconstruction

DEFAULT_OPACITY = 0.75
"""Lets the photo's skin, brows and lips show through while the shading stays readable."""

# A face is drawn with about this many samples, twice the photo's resolution at most: the edges
# of small faces come out smooth, and a face that fills 50 megapixels costs no more than another.
_SAMPLES = 1_500_000
_FINEST = 2.0
_NEAR_MM = 1.0

# Clay under a key light from the viewer's upper left and a weak fill from the right, camera space.
_CLAY = np.array([0.84, 0.92, 1.0], np.float32)
_KEY = np.array([-0.45, 0.55, 0.70], np.float32) / np.float32(np.sqrt(0.995))
_FILL = np.array([0.80, 0.05, 0.60], np.float32) / np.float32(np.sqrt(1.0025))
_AMBIENT, _KEY_STRENGTH, _FILL_STRENGTH = 0.16, 0.82, 0.16
# The photo shows eyes and an open mouth better than clay does.
_PART_OPACITY = {PART_CAVITY: 0.3, PART_EYEBALL: 0.35, PART_TEETH: 0.35, PART_TONGUE: 0.3}

_DOT_RADIUS = 0.007
_SMALLEST_DOT_PX = 1.0
_DOT_COLOR, _DOT_RIM_COLOR = (255, 214, 64), (20, 24, 32)
# Fractional bits of OpenCV's drawing coordinates.
_SHIFT = 6
# How far behind the seen surface a landmark may lie and still count as seen.
_LANDMARK_SLACK_MM = 4.0


class _Window(NamedTuple):
    """The part of the photo that a face covers, in whole pixels; right and bottom excluded."""

    left: int
    top: int
    right: int
    bottom: int


def draw_overlay(
    rgb_u8: ByteArray,
    model: MorphableModel,
    reconstructions: Sequence[Reconstruction],
    *,
    opacity: float = DEFAULT_OPACITY,
    landmarks: bool = False,
) -> ByteArray:
    """A copy of the photo with every reconstructed face blended onto it, farthest first.

    rgb_u8: (H, W, 3) uint8, the photo that the reconstructions belong to.
    opacity: of the faces' skin, 0 (photo only) to 1; eyes and the inside of the mouth stay
        clearer.
    landmarks: also draw a dot at each of the 68 landmarks that the face does not hide.
    Returns (H, W, 3) uint8.  Raises ValueError for another array or opacity.
    """
    if rgb_u8.ndim != 3 or rgb_u8.shape[2] != 3 or rgb_u8.dtype != np.uint8:
        raise ValueError(f"expected (H, W, 3) uint8, got {rgb_u8.shape} {rgb_u8.dtype}")
    if not 0.0 <= opacity <= 1.0:
        raise ValueError(f"opacity must lie in [0, 1], got {opacity}")
    picture = np.array(rgb_u8, order="C")
    for reconstruction in sorted(reconstructions, key=_distance, reverse=True):
        _draw_face(picture, model, reconstruction, float(opacity), landmarks)
    return picture


def warm_up() -> None:
    """Compile, or load from the cache, every kernel that drawing needs."""
    rasterizer.warm_up()
    _blend(np.zeros((1, 1, 3), np.uint8), 0, 0, np.zeros((1, 1, 2), np.uint8), 1.0)


def _draw_face(
    picture: ByteArray,
    model: MorphableModel,
    reconstruction: Reconstruction,
    opacity: float,
    landmarks: bool,
) -> None:
    points = np.asarray(reconstruction.projected(), np.float32)
    window = _window(points, picture.shape[0], picture.shape[1])
    if window is None:
        return
    width, height = window.right - window.left, window.bottom - window.top
    fineness = min(_FINEST, np.sqrt(_SAMPLES / (width * height)))
    columns, rows = max(1, round(width * fineness)), max(1, round(height * fineness))
    scale = np.array([columns / width, rows / height, 1.0], np.float32)
    corner = np.array([window.left, window.top, 0.0], np.float32)
    fragments = rasterize(
        ((points - corner) * scale)[None], model.triangles, rows, columns, near=_NEAR_MM
    )

    # Color is kept multiplied by opacity, so that resampling does not mix in what is not there.
    normals = vertex_normals(reconstruction.posed_vertices()[None], model.triangles)[0]
    part_opacity = np.ones(len(points), np.float32)
    for part, value in _PART_OPACITY.items():
        part_opacity[model.parts == part] = value
    premultiplied = np.stack([_shading(normals) * part_opacity, part_opacity], -1)
    layer = interpolate(fragments, model.triangles, 255.0 * premultiplied[None])[0]
    layer = cv2.resize(
        np.rint(layer).astype(np.uint8),
        (width, height),
        interpolation=cv2.INTER_AREA if columns >= width else cv2.INTER_LINEAR,
    )
    _blend(picture, window.left, window.top, layer, opacity)
    if landmarks:
        depth = points[model.landmarks, 2]
        places = (np.asarray(reconstruction.landmarks_px, np.float32) - corner[:2]) * scale[:2]
        seen = _seen(fragments, places, depth)
        _draw_dots(picture, reconstruction.landmarks_px[seen], _face_size(points))


def _distance(reconstruction: Reconstruction) -> float:
    """A measure of the distance that is comparable between the faces of a photo.

    Each face has a depth of its own, under the focal length that its crop implies; under one
    focal length for the whole photo, depths are in the proportion of depth / focal length.
    """
    focal_length = np.sqrt(abs(np.linalg.det(reconstruction.intrinsics[:2, :2])))
    return float((CAMERA_DISTANCE - reconstruction.translation_mm[2]) / focal_length)


def _window(points: FloatArray, height: int, width: int) -> _Window | None:
    """Bounding box of the points before the camera, cut to the photo; None when nothing is left."""
    usable = points[np.isfinite(points).all(1) & (points[:, 2] >= _NEAR_MM)]
    if not len(usable):
        return None
    low = np.clip(np.floor(usable[:, :2].min(0)), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(usable[:, :2].max(0)), 0, (width, height)).astype(int)
    if (low >= high).any():
        return None
    return _Window(int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def _shading(normals: FloatArray) -> FloatArray:
    """Display-referred brightness (V,) of clay for unit normals (V, 3) in camera space."""
    key = np.maximum(normals @ _KEY, 0.0)
    fill = np.maximum(normals @ _FILL, 0.0)
    return np.minimum(_AMBIENT + _KEY_STRENGTH * key + _FILL_STRENGTH * fill, 1.0)


@kernel
def _blend(picture: ByteArray, left: int, top: int, layer: ByteArray, opacity: float) -> None:
    """Blend a layer (H, W, 2), brightness times opacity and opacity, onto the picture in place."""
    for row in range(layer.shape[0]):
        for column in range(layer.shape[1]):
            cover = layer[row, column, 1]
            if cover > 0:
                kept = 1.0 - opacity * cover / 255.0
                added = opacity * layer[row, column, 0]
                pixel = picture[top + row, left + column]
                for channel in range(3):
                    value = kept * pixel[channel] + added * _CLAY[channel]
                    pixel[channel] = np.uint8(min(value + 0.5, 255.0))


def _seen(fragments: Fragments, places: FloatArray, depth: FloatArray) -> BoolArray:
    """Which landmarks the surface does not hide.

    places: (L, 2) in the fragments' pixels; depth: (L,) mm.  A landmark at the outline may fall
    just beside the face, so its neighboring pixels count as well; what lies outside of the
    window is not drawn.
    """
    surface = fragments.depth[0]
    rows, columns = surface.shape
    around = cv2.dilate(surface, np.ones((3, 3), np.uint8))
    whole = np.floor(places)
    inside = ((whole >= -1) & (whole <= (columns, rows))).all(1)
    column = np.clip(whole[:, 0], 0, columns - 1).astype(int)
    row = np.clip(whole[:, 1], 0, rows - 1).astype(int)
    return inside & (depth <= around[row, column] + _LANDMARK_SLACK_MM)


def _face_size(points: FloatArray) -> float:
    """Size of a face in photo px that does not depend on the photo's borders."""
    spread = np.nanstd(points[:, :2], axis=0)
    return float(4.0 * spread.max())


def _draw_dots(picture: ByteArray, places: FloatArray, face_size: float) -> None:
    """Antialiased dots with a dark rim, which reads on light and dark skin alike."""
    radius = max(_SMALLEST_DOT_PX, _DOT_RADIUS * face_size)
    # OpenCV counts from the center of the first pixel.
    centers = np.rint((np.asarray(places) - 0.5) * (1 << _SHIFT)).astype(int).tolist()
    for color, reach in ((_DOT_RIM_COLOR, 1.45), (_DOT_COLOR, 1.0)):
        for x, y in centers:
            cv2.circle(
                picture,
                (x, y),
                round(reach * radius * (1 << _SHIFT)),
                color,
                cv2.FILLED,
                cv2.LINE_AA,
                _SHIFT,
            )
