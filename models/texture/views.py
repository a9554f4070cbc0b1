"""One photograph as a source of texels: what of the face it shows, and how well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.camera import CAMERA_DISTANCE
from facewright.models.jit import kernel
from facewright.models.morphable_model import PART_CAVITY, PART_TEETH, PART_TONGUE, MorphableModel
from facewright.models.normals import vertex_normals
from facewright.models.rasterizer import rasterize
from facewright.models.texture.atlas import Atlas

_NEAR_MM = 1.0
# Longer side of the face in the depth buffer: 0.4 mm a pixel, whatever the photo's size.
_DEPTH_PIXELS = 512
# The photo is brought to this many pixels per texel along the face's longer side: less would
# alias in large photos, and show squares in small ones.
_FINEST, _COARSEST = 1.25, 0.5
# A depth step beyond this hides something behind it, as the nose does a cheek; the lids' step
# is smaller, and the eyeballs between them are not cut back.
_STEP_MM = 8.0
# Beside the outline and behind such steps a model that is a little off would take the background
# or another part of the face: nothing is taken up to the first distance, everything from the
# second on.
_CUT_MM, _FEATHERED_MM = 3.0, 10.0
# Cosine of the viewing angle from which on a texel is taken, and from which on entirely.
_GRAZING, _FRANK = np.float32(0.18), np.float32(0.42)
_BIAS_MM = np.float32(0.6)
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_TWO, _THREE, _WHITE = np.float32(2.0), np.float32(3.0), np.float32(255.0)


@dataclass(frozen=True, eq=False)
class TextureView:
    """A photograph and the face in it.  Raises ValueError for shapes or values out of range."""

    photo: NDArray[np.uint8]
    """(H, W, 3) RGB, of any size."""
    posed: NDArray[np.float32]
    """(V, 3) mm: vertices in camera-aligned space, the camera at (0, 0, 1000)."""
    points: NDArray[np.float32]
    """(V, 3): the same in the photo, x and y in px (continuous), depth in mm."""
    weight: float = 1.0
    """How far the view is trusted beside others, >= 0; 0 leaves it out."""

    def __post_init__(self) -> None:
        photo = self.photo
        if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8 or not photo.size:
            raise ValueError(f"expected a (H, W, 3) uint8 photo, got {photo.shape} {photo.dtype}")
        if (
            self.posed.ndim != 2
            or self.posed.shape[1] != 3
            or self.points.shape != self.posed.shape
        ):
            raise ValueError(
                f"expected two times (V, 3) points, got {self.posed.shape} and {self.points.shape}"
            )
        if not (np.isfinite(self.posed).all() and np.isfinite(self.points).all()):
            raise ValueError("a view's points must be finite")
        if not (np.isfinite(self.weight) and self.weight >= 0.0):
            raise ValueError(f"a view's weight must be >= 0, got {self.weight}")


class Surface:
    """What of a face model decides which of its points a photo shows."""

    def __init__(self, model: MorphableModel) -> None:
        self.n_vertices = model.n_vertices
        # Kernels take arrays in one form only, and the model's own are frozen.
        self.triangles = np.array(model.triangles)
        within = np.isin(model.parts, (PART_CAVITY, PART_TEETH, PART_TONGUE))
        self.mouth: NDArray[np.bool_] = np.any(within[self.triangles], axis=1)
        """(T,): triangles within the mouth."""
        self.cavity: NDArray[np.bool_] = model.parts == PART_CAVITY
        """(V,): vertices that a photo colors however flat they are seen."""
        self.kept: NDArray[np.bool_] = np.isin(model.parts, (PART_TEETH, PART_TONGUE))
        """(V,): vertices that are never where the photo has them: they keep their own colors."""


@dataclass(frozen=True, eq=False)
class PreparedView:
    """A view's part of the photo at a fitting resolution, with its depth and visibility."""

    pixels: NDArray[np.uint8]
    """(h, w, 3): the part of the photo around the face."""
    to_pixels: NDArray[np.float32]
    """(2,): factors that take x and y of `places` to `pixels`."""
    depth: NDArray[np.float32]
    """(h', w') mm: the depth buffer, +inf beside the face."""
    seen: NDArray[np.float32]
    """(h', w') in [0, 1]: 0 at the outline and behind steps, rising to 1 away from them."""
    places: NDArray[np.float32]
    """(V, 3): the vertices in the depth buffer, and their depth."""
    facing: NDArray[np.float32]
    """(V,): cosine between the normal and the direction to the camera."""
    mm_per_pixel: float
    """Of the depth buffer, at the face."""
    extent: float
    """Longer side of the face in px of the photo."""


def prepare_view(surface: Surface, view: TextureView, size: int) -> PreparedView | None:
    """Make a view ready for a texture of `size` texels; None when it shows nothing of the face.

    Raises ValueError when the view's points are not those of the model's vertices.
    """
    if len(view.points) != surface.n_vertices:
        raise ValueError(f"a view has {len(view.points)} points for {surface.n_vertices} vertices")
    # Axis by axis: NumPy is slow along the short side of an array.
    xs, ys, depths = np.ascontiguousarray(view.points.T, np.float32)
    before = depths >= _NEAR_MM
    if view.weight == 0.0 or not before.any():
        return None
    low = np.array([xs[before].min(), ys[before].min()])
    high = np.array([xs[before].max(), ys[before].max()])
    extent = float((high - low).max())
    height, width = view.photo.shape[:2]
    left, top = np.clip(np.floor(low) - 2, 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(high) + 2, 0, (width, height)).astype(int)
    if left >= right or top >= bottom or extent <= 0.0:
        return None

    window = view.photo[top:bottom, left:right]
    pixels_scale = min(max(extent, _COARSEST * size), _FINEST * size) / extent
    columns, rows, to_pixels = _scaled(window, pixels_scale)
    shrinks = columns < window.shape[1] or rows < window.shape[0]
    pixels = cv2.resize(
        window, (columns, rows), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )

    columns, rows, scale = _scaled(window, _DEPTH_PIXELS / extent)
    xs, ys = (xs - np.float32(left)) * scale[0], (ys - np.float32(top)) * scale[1]
    places = np.stack([xs, ys, depths], axis=1)
    fragments = rasterize(places[None], surface.triangles, rows, columns, near=_NEAR_MM)
    depth = fragments.depth[0]
    # Sizes as spreads of the vertices, which hold for every orientation of the photo.
    spread = np.hypot(xs.std(), ys.std())
    posed_xs, posed_ys, _ = np.ascontiguousarray(view.posed.T, np.float32)
    mm_per_pixel = float(np.hypot(posed_xs.std(), posed_ys.std()) / max(spread, 1e-6))
    return PreparedView(
        pixels.astype(np.uint8, copy=False),
        to_pixels / scale,
        depth,
        # What is seen between the lips lies behind them at any rate, and is wanted to their edge.
        _seen(depth, surface.mouth[fragments.triangle_ids[0]], mm_per_pixel),
        places,
        _facing(surface, view.posed),
        mm_per_pixel,
        extent,
    )


def _scaled(window: NDArray[np.uint8], scale: float) -> tuple[int, int, NDArray[np.float32]]:
    """Columns and rows of a scaled window in whole pixels, and the scales that this makes."""
    height, width = window.shape[:2]
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    return columns, rows, np.array([columns / width, rows / height], np.float32)


def _facing(surface: Surface, posed: NDArray[np.float32]) -> NDArray[np.float32]:
    posed = np.ascontiguousarray(posed, np.float32)
    normals = vertex_normals(posed[None], surface.triangles)[0]
    facing = np.empty(len(posed), np.float32)
    _face_camera(posed, normals, surface.cavity, surface.kept, facing)
    return facing


@kernel
def _face_camera(
    posed: NDArray[np.float32],
    normals: NDArray[np.float32],
    cavity: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    facing: NDArray[np.float32],
) -> None:
    for vertex in range(len(posed)):
        x, y, z = -posed[vertex, 0], -posed[vertex, 1], CAMERA_DISTANCE - posed[vertex, 2]
        along = normals[vertex, 0] * x + normals[vertex, 1] * y + normals[vertex, 2] * z
        cosine = np.float32(along / max(np.sqrt(x * x + y * y + z * z), 1e-6))
        if kept[vertex]:
            cosine = -_ONE
        # What of the mouth's inside is seen at all is taken: teeth that end midway look worse
        # than teeth that are drawn out.
        elif cavity[vertex] and cosine > 0.0:
            cosine = max(cosine, _FRANK)
        facing[vertex] = cosine


def _seen(
    depth: NDArray[np.float32], cavity: NDArray[np.bool_], mm_per_pixel: float
) -> NDArray[np.float32]:
    """How safely a model that is a little off still hits the right part of the face."""
    nearest_around = cv2.erode(depth, np.ones((3, 3), np.uint8))
    with np.errstate(invalid="ignore"):  # inf - inf beside the face
        behind_step = depth - nearest_around > _STEP_MM
    # A step cuts back what lies behind it, and not the surface in front.
    hidden = np.isfinite(depth) & behind_step & ~cavity
    distance, labels = cv2.distanceTransformWithLabels(
        (~hidden).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    step_depth = np.zeros(int(labels.max()) + 1, np.float32)
    step_depth[labels[hidden]] = depth[hidden]
    distance[depth < step_depth[labels] - _STEP_MM / 2] = np.inf
    # The photo's border counts as an outline, too.
    face = cv2.copyMakeBorder(
        np.isfinite(depth).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0
    )
    outline = cv2.distanceTransform(face, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    distance = np.minimum(distance, outline) * np.float32(mm_per_pixel)
    share = np.clip((distance - _CUT_MM) / (_FEATHERED_MM - _CUT_MM), 0.0, 1.0)
    return np.ascontiguousarray(share * share * (3.0 - 2.0 * share), np.float32)


def add_views(
    atlas: Atlas,
    triangles: NDArray[np.int32],
    views: Sequence[PreparedView],
    trust: NDArray[np.float32],
    correction: NDArray[np.float32],
    sharpness: int,
    colors: NDArray[np.uint8],
    coverage: NDArray[np.float32],
    weights: NDArray[np.float32],
) -> None:
    """Color the texels that K views show, one at least, by the views' weighted mean, in place.

    trust: (K, g, g, 1) weight and correction: (K, g, g, 3) factor of the views' colors, over
        the whole texture at any resolution.
    sharpness: exponent of the viewing angle's cosine in the weight.
    colors: (N, N, 3).  coverage: (N, N) in [0, 1], the largest share that a view gives.
    weights: (N, N) sums of the weights; (0, 0) where nobody asks for them.
    Texels that no view shows are left as they are.
    """
    _add_views(
        atlas.owners,
        atlas.starts,
        atlas.places,
        atlas.barycentric,
        triangles,
        _one_after_the_other([view.pixels for view in views]),
        np.array([view.pixels.shape[:2] for view in views]),
        np.stack([view.to_pixels for view in views]),
        _one_after_the_other([view.depth for view in views]),
        _one_after_the_other([view.seen for view in views]),
        np.array([view.depth.shape for view in views]),
        np.stack([view.places for view in views]),
        np.stack([view.facing for view in views]),
        np.array([view.mm_per_pixel for view in views], np.float32),
        trust,
        correction,
        sharpness,
        colors,
        coverage,
        weights,
    )


def _one_after_the_other(images: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return images[0].ravel() if len(images) == 1 else np.concatenate([i.ravel() for i in images])


@kernel
def _look_up(
    grids: NDArray[np.float32], view: int, row: float, column: float, channel: int
) -> float:
    """A view's grid of (K, g, g, C) at a continuous place in cells, interpolated linearly."""
    last = grids.shape[1] - 1
    y = min(max(row - _HALF, _ZERO), np.float32(last))
    x = min(max(column - _HALF, _ZERO), np.float32(last))
    i, j = int(y), int(x)
    below, right = min(i + 1, last), min(j + 1, last)
    fy, fx = y - np.float32(i), x - np.float32(j)
    upper, lower = grids[view, i, j, channel], grids[view, below, j, channel]
    upper += fx * (grids[view, i, right, channel] - upper)
    lower += fx * (grids[view, below, right, channel] - lower)
    return upper + fy * (lower - upper)


@kernel
def _add_views(
    owners: NDArray[np.int32],
    starts: NDArray[np.int32],
    texels: NDArray[np.uint16],
    barycentric: NDArray[np.float32],
    triangles: NDArray[np.int32],
    pixels: NDArray[np.uint8],
    pixel_shapes: NDArray[np.int64],
    to_pixels: NDArray[np.float32],
    depth: NDArray[np.float32],
    seen: NDArray[np.float32],
    depth_shapes: NDArray[np.int64],
    places: NDArray[np.float32],
    facing: NDArray[np.float32],
    mm_per_pixel: NDArray[np.float32],
    trust: NDArray[np.float32],
    correction: NDArray[np.float32],
    sharpness: int,
    colors: NDArray[np.uint8],
    coverage: NDArray[np.float32],
    weights: NDArray[np.float32],
) -> None:
    size = coverage.shape[0]
    to_cells = np.float32(trust.shape[1] / size)
    varies = trust.shape[1] > 1
    longest = 0
    for run in range(len(owners)):
        longest = max(longest, starts[run + 1] - starts[run])
    means = np.empty((longest, 3), np.float32)
    totals, covered = np.empty(longest, np.float32), np.empty(longest, np.float32)
    for run in range(len(owners)):
        a, b, c = (
            triangles[owners[run], 0],
            triangles[owners[run], 1],
            triangles[owners[run], 2],
        )
        begin, count = starts[run], starts[run + 1] - starts[run]
        for k in range(count):
            totals[k], covered[k] = _ZERO, _ZERO
            means[k, 0], means[k, 1], means[k, 2] = _ZERO, _ZERO, _ZERO
        pixel_start, depth_start = 0, 0
        for view in range(facing.shape[0]):
            pixel_origin, depth_origin = pixel_start, depth_start
            pixel_rows, pixel_columns = pixel_shapes[view, 0], pixel_shapes[view, 1]
            rows, columns = depth_shapes[view, 0], depth_shapes[view, 1]
            pixel_start += 3 * pixel_rows * pixel_columns
            depth_start += rows * columns
            facing0, facing1, facing2 = facing[view, a], facing[view, b], facing[view, c]
            if max(facing0, facing1, facing2) <= _GRAZING:
                continue
            x0, y0, z0 = places[view, a, 0], places[view, a, 1], places[view, a, 2]
            x1, y1, z1 = places[view, b, 0], places[view, b, 1], places[view, b, 2]
            x2, y2, z2 = places[view, c, 0], places[view, c, 1], places[view, c, 2]
            width, height = np.float32(columns), np.float32(rows)
            last_column, last_row = np.float32(pixel_columns - 1), np.float32(pixel_rows - 1)
            scale_x, scale_y = to_pixels[view, 0], to_pixels[view, 1]
            step = mm_per_pixel[view]
            own_trust = trust[view, 0, 0, 0]
            red, green, blue = (
                correction[view, 0, 0, 0],
                correction[view, 0, 0, 1],
                correction[view, 0, 0, 2],
            )
            for k in range(count):
                at = begin + k
                first, second = barycentric[at, 0], barycentric[at, 1]
                third = _ONE - first - second
                cosine = first * facing0 + second * facing1 + third * facing2
                if cosine <= _GRAZING:
                    continue
                x = first * x0 + second * x1 + third * x2
                y = first * y0 + second * y1 + third * y2
                if not (x >= _ZERO and x < width and y >= _ZERO and y < height):
                    continue
                place = depth_origin + int(y) * columns + int(x)
                share = seen[place]
                if share <= _ZERO:
                    continue
                cosine = min(cosine, _ONE)
                behind = first * z0 + second * z1 + third * z2 - depth[place] - _BIAS_MM
                # The buffer holds the depth of its pixel's center: a slanted surface is off by
                # its slope times half a pixel or more.
                if behind > _ZERO and behind * cosine > step * np.sqrt(_ONE - cosine * cosine):
                    continue
                if cosine < _FRANK:
                    rise = (cosine - _GRAZING) / (_FRANK - _GRAZING)
                    share *= rise * rise * (_THREE - _TWO * rise)
                if varies:
                    cell_row = (np.float32(texels[at, 0]) + _HALF) * to_cells
                    cell_column = (np.float32(texels[at, 1]) + _HALF) * to_cells
                    own_trust = _look_up(trust, view, cell_row, cell_column, 0)
                    red = _look_up(correction, view, cell_row, cell_column, 0)
                    green = _look_up(correction, view, cell_row, cell_column, 1)
                    blue = _look_up(correction, view, cell_row, cell_column, 2)
                weight = share * own_trust
                for _ in range(sharpness):
                    weight *= cosine
                if weight <= _ZERO:
                    continue

                px = min(max(x * scale_x - _HALF, _ZERO), last_column)
                py = min(max(y * scale_y - _HALF, _ZERO), last_row)
                i, j = int(py), int(px)
                fy, fx = py - np.float32(i), px - np.float32(j)
                corner = pixel_origin + 3 * (i * pixel_columns + j)
                right = 3 if j + 1 < pixel_columns else 0
                below = 3 * pixel_columns if i + 1 < pixel_rows else 0
                means[k, 0] += weight * red * _between(pixels, corner, right, below, fx, fy)
                means[k, 1] += weight * green * _between(pixels, corner + 1, right, below, fx, fy)
                means[k, 2] += weight * blue * _between(pixels, corner + 2, right, below, fx, fy)
                totals[k] += weight
                covered[k] = max(covered[k], share)
        for k in range(count):
            if totals[k] > _ZERO:
                row, column = int(texels[begin + k, 0]), int(texels[begin + k, 1])
                scale = _ONE / totals[k]
                for channel in range(3):
                    color = means[k, channel] * scale + _HALF
                    colors[row, column, channel] = np.uint8(min(color, _WHITE))
                coverage[row, column] = covered[k]
                if weights.size:
                    weights[row, column] = totals[k]


@kernel
def _between(
    pixels: NDArray[np.uint8], corner: int, right: int, below: int, fx: float, fy: float
) -> float:
    """A channel between four pixels, of which `corner` is the upper left."""
    upper, lower = np.float32(pixels[corner]), np.float32(pixels[corner + below])
    upper += fx * (np.float32(pixels[corner + right]) - upper)
    lower += fx * (np.float32(pixels[corner + below + right]) - lower)
    return upper + fy * (lower - upper)
