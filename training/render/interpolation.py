"""From the triangle that each pixel sees to the pixel's value, differentiably.

Which triangle a pixel sees has no gradient, and needs none here: within the triangle the value
moves with the vertices and their attributes.  So any rasterizer may find the triangles, and this
module does the rest in torch.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

from facewright.models.camera import CROP_SIZE, FOCAL_LENGTH
from facewright.models.camera_torch import depth

NEAR: Final = 100.0
"""Depth in mm up to which a mesh is cut away: no face is that near, but a wild guess may be."""

# Of a triangle whose image has less area than this (px²), coordinates are ill-conditioned:
# rasterizers round corners to 1/256 px.
_SMALLEST_AREA = 1.0 / 256.0


class Rendering(NamedTuple):
    """Pictures of N meshes."""

    image: Tensor
    """(N, C, H, W) interpolated attributes; 0 outside the mask."""
    mask: Tensor
    """(N, H, W) bool: pixels that see the front of the mesh."""


class Visibility(NamedTuple):
    """What a rasterizer finds at each pixel of N square pictures."""

    triangle_ids: Tensor
    """(N, S, S) integer; negative where nothing is seen."""
    barycentric: Tensor
    """(N, S, S, 3) the rasterizer's own perspective-correct coordinates."""


def interpolate(
    posed_mm: Tensor, triangles: Tensor, attributes: Tensor, visibility: Visibility
) -> Rendering:
    """Interpolate vertex attributes at the pixels that see the mesh.

    Gradients reach `attributes`, and `posed_mm` through perspective-correct barycentric
    coordinates.  A triangle that is seen from behind hides what lies behind it, but is not part
    of the picture: behind the rim of a face model there is no face.  Triangles seen edge-on are
    drawn with the rasterizer's coordinates, without a gradient to the positions.

    Args:
        posed_mm: (N, V, 3) camera-aligned positions, mm; float32 or float64.
        triangles: (T, 3) int64, counter-clockwise seen from outside.
        attributes: (N, V, C), of the dtype of `posed_mm`.
        visibility: of these meshes.
    """
    n, size, _ = visibility.triangle_ids.shape
    ids = visibility.triangle_ids.reshape(-1)
    pixels = (ids >= 0).nonzero().squeeze(1)
    # Corners come first all along: operations on one of them then run over contiguous memory.
    corners = triangles.t()[:, ids[pixels].long()]
    corners = corners + pixels // size**2 * posed_mm.shape[1]
    rasterized = visibility.barycentric.reshape(-1, 3)[pixels].t()
    weights, front = _barycentric(_rows(posed_mm, corners), pixels, size, rasterized)
    # Indices of the front's pixels keep the gather of attributes, and its gradient, to them.
    kept = front.nonzero().squeeze(1)
    pixels = pixels[kept]
    at_corners = _rows(attributes, corners[:, kept])
    values = (weights[:, kept, None] * at_corners).sum(0)
    channels = attributes.shape[2]
    image = values.new_zeros(n * size**2, channels).index_copy(0, pixels, values)
    mask = torch.zeros(n * size**2, dtype=torch.bool, device=ids.device)
    mask[pixels] = True
    return Rendering(
        image.view(n, size, size, channels).permute(0, 3, 1, 2).contiguous(),
        mask.view(n, size, size),
    )


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows of (N, V, C) tables seen as one (N V, C): (3, P, C) for indices (3, P)."""
    rows = table.reshape(-1, table.shape[2]).index_select(0, index.reshape(-1))
    return rows.view(*index.shape, table.shape[2])


def _barycentric(
    points: Tensor, pixels: Tensor, size: int, rasterized: Tensor
) -> tuple[Tensor, Tensor]:
    """Coordinates (3, P) of the points that pixels' centers see, and which are on a front (P,).

    points: (3, P, 3) corners in mm.  pixels: (P,) indices into N pictures of size x size.
    rasterized: (3, P) coordinates for triangles seen edge-on.

    With u_i the offset of corner i from the pixel's ray, measured across the view at the corner's
    own depth, the point sum_i w_i p_i / sum_i w_i lies on the ray if sum_i w_i u_i = 0, which
    holds for w = (u_b x u_c, u_c x u_a, u_a x u_b).  Their sum is positive for a front.  Nothing
    is divided by a depth, so a triangle may reach behind the camera; and since the offsets are
    as small as the triangle, float32 is enough.
    """
    scale = CROP_SIZE / size
    right = _slope(pixels % size, scale, points.dtype)
    down = _slope(pixels // size % size, scale, points.dtype)
    depths = depth(points)
    x = points[..., 0] - right * depths
    y = points[..., 1] + down * depths
    # Row i of a roll by -1 is the next corner, by -2 the one after.
    doubled = x.roll(-1, 0) * y.roll(-2, 0) - y.roll(-1, 0) * x.roll(-2, 0)
    total = doubled.sum(0)

    with torch.no_grad():
        pixel_side = scale / FOCAL_LENGTH * depths.mean(0).clamp(min=NEAR)
        smallest = 2.0 * _SMALLEST_AREA * pixel_side.square()
        solid = total.abs() > smallest
        front = total >= -smallest
    # A center that a rasterizer counts as inside may lie a hundredth of a pixel outside.
    inside = (doubled / torch.where(solid, total, 1.0)).clamp(min=0.0)
    inside = torch.where(solid, inside, rasterized.to(inside.dtype))
    return inside / inside.sum(0), front


def _slope(index: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    """Sideways mm per mm of depth of the rays through pixels of a column or row index (P,)."""
    return ((index.to(dtype) + 0.5) * scale - CROP_SIZE / 2) / FOCAL_LENGTH
