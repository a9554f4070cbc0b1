"""Which parts of a posed face a camera sees, and how safely."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.jit import kernel

# A depth step hides something behind it, as the nose does a cheek, the more the deeper it is: from
# the first on in part, from the second on for sure.  The lids' step is smaller, and the eyeballs
# between them are not cut back; the wings of a nose seen from the front are steep and hide little.
_STEP_MM, _DEEP_MM = 8.0, 24.0
# Beside the outline and behind such steps a model that is a little off would take the background
# or another part of the face: nothing is taken up to the first distance, everything from the
# second on; both are shorter behind steps that are not deep.
_CUT_MM, _FEATHERED_MM = 3.0, 10.0
# Pixel centers on an edge that two triangles share must not fall between them.
_SLACK = np.float32(1e-4)
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)


def depth_buffer(
    places: NDArray[np.float32],
    triangles: NDArray[np.int32],
    inside: NDArray[np.bool_],
    shape: tuple[int, int],
    near: float,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The depth of the triangles that face the camera.

    `rasterizer` also says which triangle and where in it, and takes twice as long.

    places: (V, 3) float32, x and y in pixels of the buffer, depth in mm; finite.
    triangles: (T, 3) int32, counter-clockwise seen from outside; indices are not checked.
    inside: (T,), asked for where it is seen.
    shape: (h, w) of the buffer.
    near: triangles with a nearer corner are left out, mm.
    Returns (h, w) depths in mm, +inf where there is none, and (h, w) `inside` of what is seen.
    """
    depth = np.full(shape, np.inf, np.float32)
    within = np.zeros(shape, np.bool_)
    _draw(places, triangles, inside, np.float32(near), depth, within)
    return depth, within


@kernel
def _draw(
    places: NDArray[np.float32],
    triangles: NDArray[np.int32],
    inside: NDArray[np.bool_],
    near: float,
    depth: NDArray[np.float32],
    within: NDArray[np.bool_],
) -> None:
    height, width = depth.shape
    last_column, last_row = np.float32(width - 1), np.float32(height - 1)
    for triangle in range(triangles.shape[0]):
        a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
        x0, y0 = places[a, 0], places[a, 1]
        x1, y1 = places[b, 0], places[b, 1]
        x2, y2 = places[c, 0], places[c, 1]
        # y points down, so that what faces the camera turns the other way.
        area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        if not area < _ZERO:
            continue
        # Clipped as floats: a triangle may reach out of what an integer holds.
        left = int(np.ceil(max(min(x0, x1, x2) - _HALF, _ZERO)))
        right = int(np.floor(min(max(x0, x1, x2) - _HALF, last_column)))
        if left > right:
            continue
        top = int(np.ceil(max(min(y0, y1, y2) - _HALF, _ZERO)))
        bottom = int(np.floor(min(max(y0, y1, y2) - _HALF, last_row)))
        if top > bottom:
            continue
        z0, z1, z2 = places[a, 2], places[b, 2], places[c, 2]
        if min(z0, z1, z2) < near:
            continue
        scale = _ONE / area
        nearness0, nearness1, nearness2 = _ONE / z0, _ONE / z1, _ONE / z2
        step0, step1 = (y1 - y2) * scale, (y2 - y0) * scale
        for row in range(top, bottom + 1):
            y = np.float32(row) + _HALF
            x = np.float32(left) + _HALF
            first = ((x1 - x) * (y2 - y) - (y1 - y) * (x2 - x)) * scale
            second = ((x2 - x) * (y0 - y) - (y2 - y) * (x0 - x)) * scale
            for column in range(left, right + 1):
                third = _ONE - first - second
                if first >= -_SLACK and second >= -_SLACK and third >= -_SLACK:
                    # Perspective: it is 1 / depth that is linear in the picture.
                    found = _ONE / (first * nearness0 + second * nearness1 + third * nearness2)
                    if found < depth[row, column]:
                        depth[row, column] = found
                        within[row, column] = inside[triangle]
                first += step0
                second += step1


def safety(
    depth: NDArray[np.float32], within: NDArray[np.bool_], mm_per_pixel: float
) -> NDArray[np.float32]:
    """How safely a model that is a little off still hits the right part of the face.

    depth: (h, w) mm, +inf beside the face.  within: (h, w), what no step cuts back.
    Returns (h, w): 0 at the outline and behind steps, rising to 1 away from them.
    """
    nearest_around = cv2.erode(depth, np.ones((3, 3), np.uint8))
    with np.errstate(invalid="ignore"):  # inf - inf beside the face
        step = depth - nearest_around
    shown = np.isfinite(depth)
    # A step cuts back what lies behind it, and not the surface in front.
    hidden = shown & (step > _STEP_MM) & ~within
    distance, labels = cv2.distanceTransformWithLabels(
        (~hidden).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    behind, deepness = np.zeros((2, int(labels.max()) + 1), np.float32)
    behind[labels[hidden]] = depth[hidden]
    deepness[labels[hidden]] = np.minimum((step[hidden] - _STEP_MM) / (_DEEP_MM - _STEP_MM), 1.0)
    distance /= np.maximum(deepness, 1e-3)[labels]
    distance[depth < behind[labels] - _STEP_MM / 2] = np.inf
    # The photo's border counts as an outline, too.
    face = cv2.copyMakeBorder(shown.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    outline = cv2.distanceTransform(face, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    distance = np.minimum(distance, outline) * np.float32(mm_per_pixel)
    share = np.clip((distance - _CUT_MM) / (_FEATHERED_MM - _CUT_MM), 0.0, 1.0)
    return np.ascontiguousarray(share * share * (3.0 - 2.0 * share), np.float32)
