"""One photograph as a source of texels: what of the face it shows, and how well."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facewright.models.camera import CAMERA_DISTANCE
from facewright.models.jit import kernel
from facewright.models.morphable_model import PART_CAVITY, MorphableModel
from facewright.models.normals import vertex_normals
from facewright.models.rasterizer import EMPTY, rasterize
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
_GRAZING, _FRANK = 0.18, 0.42
_BIAS_MM = 0.6


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


@dataclass(frozen=True, eq=False)
class PreparedView:
    """A view's part of the photo at a fitting resolution, with its depth and visibility."""

    pixels: NDArray[np.uint8]
    """(h, w, 3): the part of the photo around the face."""
    pixel_places: NDArray[np.float32]
    """(V, 2): the vertices in `pixels`."""
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


def prepare_view(model: MorphableModel, view: TextureView, size: int) -> PreparedView | None:
    """Make a view ready for a texture of `size` texels; None when it shows nothing of the face.

    Raises ValueError when the view's points are not those of the model's vertices.
    """
    points = np.ascontiguousarray(view.points, np.float32)
    if len(points) != model.n_vertices:
        raise ValueError(f"a view has {len(points)} points for {model.n_vertices} vertices")
    before = points[points[:, 2] >= _NEAR_MM, :2]
    if view.weight == 0.0 or not len(before):
        return None
    low, high = before.min(axis=0), before.max(axis=0)
    extent = float((high - low).max())
    height, width = view.photo.shape[:2]
    left, top = np.clip(np.floor(low) - 2, 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(high) + 2, 0, (width, height)).astype(int)
    if left >= right or top >= bottom or extent <= 0.0:
        return None

    window = view.photo[top:bottom, left:right]
    corner = np.array([left, top], np.float32)
    pixels_scale = min(max(extent, _COARSEST * size), _FINEST * size) / extent
    columns, rows, scale = _scaled(window, pixels_scale)
    shrinks = columns < window.shape[1] or rows < window.shape[0]
    pixels = cv2.resize(
        window, (columns, rows), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )
    pixel_places = (points[:, :2] - corner) * scale

    columns, rows, scale = _scaled(window, _DEPTH_PIXELS / extent)
    places = points.copy()
    places[:, :2] = (points[:, :2] - corner) * scale
    fragments = rasterize(places[None], model.triangles, rows, columns, near=_NEAR_MM)
    depth = fragments.depth[0]
    # What is seen between the lips lies behind them at any rate, and is wanted to their edge.
    cavity = (model.parts == PART_CAVITY)[model.triangles].any(axis=1)[fragments.triangle_ids[0]]
    # Sizes as spreads of the vertices, which hold for every orientation of the photo.
    mm_per_pixel = float(view.posed[:, :2].std() / max(places[:, :2].std(), 1e-6))
    return PreparedView(
        pixels.astype(np.uint8, copy=False),
        pixel_places,
        depth,
        _seen(depth, cavity, mm_per_pixel),
        places,
        _facing(model, view.posed),
        mm_per_pixel,
        extent,
    )


def _scaled(window: NDArray[np.uint8], scale: float) -> tuple[int, int, NDArray[np.float32]]:
    """Columns and rows of a scaled window in whole pixels, and the scales that this makes."""
    height, width = window.shape[:2]
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    return columns, rows, np.array([columns / width, rows / height], np.float32)


def _facing(model: MorphableModel, posed: NDArray[np.float32]) -> NDArray[np.float32]:
    normals = vertex_normals(posed[None], model.triangles)[0]
    to_camera = np.array([0, 0, CAMERA_DISTANCE], np.float32) - posed
    to_camera /= np.maximum(np.linalg.norm(to_camera, axis=1, keepdims=True), 1e-6)
    facing = (normals * to_camera).sum(axis=1, dtype=np.float32)
    # What of the mouth's inside is seen at all is taken: teeth that end midway look worse than
    # teeth that are drawn out.
    inside = (model.parts == PART_CAVITY) & (facing > 0.0)
    facing[inside] = np.maximum(facing[inside], np.float32(_FRANK))
    return facing


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


def add_view(
    atlas: Atlas,
    triangles: NDArray[np.int32],
    view: PreparedView,
    trust: NDArray[np.float32],
    correction: NDArray[np.float32],
    sharpness: int,
    colours: NDArray[np.float32],
    weights: NDArray[np.float32],
    coverage: NDArray[np.float32],
) -> None:
    """Add what a view shows to the sums of a texture, in place.

    trust: (g, g, 1) weight and correction: (g, g, 3) factor of the colours, over the whole
        texture at any resolution.
    sharpness: exponent of the viewing angle's cosine in the weight.
    colours: (N, N, 3) sums of weight times colour (0 to 255).  weights: (N, N) sums of weights.
    coverage: (N, N) in [0, 1], the largest share that a view gives.
    """
    _add_view(
        atlas.triangle_ids,
        atlas.barycentric,
        triangles,
        view.pixels,
        view.pixel_places,
        view.depth,
        view.seen,
        view.places,
        view.facing,
        np.float32(view.mm_per_pixel),
        trust,
        correction,
        sharpness,
        colours,
        weights,
        coverage,
    )


@kernel
def look_up(grid: NDArray[np.float32], row: float, column: float, channel: int) -> float:
    """A (g, g, C) grid at a continuous place in cells, interpolated linearly."""
    last = grid.shape[0] - 1
    y = min(max(row - np.float32(0.5), np.float32(0.0)), np.float32(last))
    x = min(max(column - np.float32(0.5), np.float32(0.0)), np.float32(last))
    i, j = int(y), int(x)
    below, right = min(i + 1, last), min(j + 1, last)
    fy, fx = y - np.float32(i), x - np.float32(j)
    upper = grid[i, j, channel] + fx * (grid[i, right, channel] - grid[i, j, channel])
    lower = grid[below, j, channel] + fx * (grid[below, right, channel] - grid[below, j, channel])
    return upper + fy * (lower - upper)


@kernel
def _add_view(
    ids: NDArray[np.int32],
    barycentric: NDArray[np.float32],
    triangles: NDArray[np.int32],
    pixels: NDArray[np.uint8],
    pixel_places: NDArray[np.float32],
    depth: NDArray[np.float32],
    seen: NDArray[np.float32],
    places: NDArray[np.float32],
    facing: NDArray[np.float32],
    mm_per_pixel: float,
    trust: NDArray[np.float32],
    correction: NDArray[np.float32],
    sharpness: int,
    colours: NDArray[np.float32],
    weights: NDArray[np.float32],
    coverage: NDArray[np.float32],
) -> None:
    size = ids.shape[0]
    to_cells = np.float32(trust.shape[0] / size)
    varies = trust.shape[0] > 1
    trusted = trust[0, 0, 0]
    factors = correction[0, 0].copy()
    rows, columns = depth.shape
    pixel_rows, pixel_columns = pixels.shape[0], pixels.shape[1]
    last_row, last_column = np.float32(pixel_rows - 1), np.float32(pixel_columns - 1)
    for row in range(size):
        for column in range(size):
            triangle = ids[row, column]
            if triangle == EMPTY:
                continue
            a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
            first, second = barycentric[row, column, 0], barycentric[row, column, 1]
            third = np.float32(1.0) - first - second
            cosine = first * facing[a] + second * facing[b] + third * facing[c]
            if cosine <= _GRAZING:
                continue
            x = first * places[a, 0] + second * places[b, 0] + third * places[c, 0]
            y = first * places[a, 1] + second * places[b, 1] + third * places[c, 1]
            if not (0.0 <= x < columns and 0.0 <= y < rows):
                continue
            share = seen[int(y), int(x)]
            if share <= 0.0:
                continue
            away = first * places[a, 2] + second * places[b, 2] + third * places[c, 2]
            # The buffer holds the depth of its pixel's centre: a slanted surface is off by its
            # slope times half a pixel or more.
            cosine = min(cosine, np.float32(1.0))
            slope = np.sqrt(np.float32(1.0) - cosine * cosine) / cosine
            if away > depth[int(y), int(x)] + _BIAS_MM + slope * mm_per_pixel:
                continue
            rise = min((cosine - _GRAZING) / (_FRANK - _GRAZING), 1.0)
            share *= rise * rise * (3.0 - 2.0 * rise)
            if varies:
                cell_row = (np.float32(row) + np.float32(0.5)) * to_cells
                cell_column = (np.float32(column) + np.float32(0.5)) * to_cells
                trusted = look_up(trust, cell_row, cell_column, 0)
                for channel in range(3):
                    factors[channel] = look_up(correction, cell_row, cell_column, channel)
            weight = share * cosine**sharpness * trusted
            if weight <= 0.0:
                continue

            px = (
                first * pixel_places[a, 0]
                + second * pixel_places[b, 0]
                + third * pixel_places[c, 0]
            )
            py = (
                first * pixel_places[a, 1]
                + second * pixel_places[b, 1]
                + third * pixel_places[c, 1]
            )
            px = min(max(px - np.float32(0.5), np.float32(0.0)), last_column)
            py = min(max(py - np.float32(0.5), np.float32(0.0)), last_row)
            i, j = int(py), int(px)
            below, right = min(i + 1, pixel_rows - 1), min(j + 1, pixel_columns - 1)
            fy, fx = py - np.float32(i), px - np.float32(j)
            for channel in range(3):
                upper_left = np.float32(pixels[i, j, channel])
                lower_left = np.float32(pixels[below, j, channel])
                upper = upper_left + fx * (np.float32(pixels[i, right, channel]) - upper_left)
                lower = lower_left + fx * (np.float32(pixels[below, right, channel]) - lower_left)
                colour = upper + fy * (lower - upper)
                colours[row, column, channel] += weight * factors[channel] * colour
            weights[row, column] += weight
            coverage[row, column] = max(coverage[row, column], share)
