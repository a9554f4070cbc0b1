"""Closed meshes of simple things: capsules, ellipsoids, boxes, sheets, joined into props."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from facewright.models.arrays import FloatArray, IntArray, float32

PROP = 4
"""Part code of props, next to those of `training.appearance.surface`."""

Mesh = tuple[FloatArray, IntArray]
"""Vertices (V, 3) mm and triangles (T, 3), counter-clockwise seen from outside."""


@dataclass(frozen=True, eq=False)
class Prop:
    """A thing beside the head that is lit, casts shadows and hides like the head itself.

    Attributes:
        vertices: (V, 3) float32 mm; triangles: (T, 3) int32.
        colors: (V, 3) float32 linear reflectance.
        gloss: strength of the highlight, as of skin.
        hair: whether it is a part of the hair.
    """

    vertices: FloatArray
    triangles: IntArray
    colors: FloatArray
    gloss: float
    hair: bool = False

    def moved(self, rotation: npt.ArrayLike, offset: npt.ArrayLike) -> Prop:
        """Turned by (3, 3), then shifted by (3,) mm."""
        turn, shift = np.asarray(rotation, np.float32), np.asarray(offset, np.float32)
        return replace(self, vertices=self.vertices @ turn.T + shift)


def prop(mesh: Mesh, color: npt.ArrayLike, gloss: float = 0.0) -> Prop:
    """A prop of one color, or of one per vertex."""
    vertices, triangles = mesh
    colors = np.broadcast_to(np.asarray(color, np.float32), vertices.shape)
    return Prop(vertices, triangles, np.ascontiguousarray(colors), gloss)


def join(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one."""
    starts = np.cumsum([0, *(len(v) for v, _ in meshes)])
    triangles = [t + np.int32(s) for (_, t), s in zip(meshes, starts[:-1], strict=True)]
    return np.concatenate([v for v, _ in meshes]), np.concatenate(triangles).astype(np.int32)


def loft(rings: npt.ArrayLike, closed: bool = True) -> Mesh:
    """The surface through rings of points (K, S, 3), each ring closed.

    Args:
        rings: seen against the direction in which they follow each other, counter-clockwise.
        closed: cap both ends with a fan to the ring's middle.
    """
    points = np.asarray(rings, np.float32)
    count, sides = points.shape[:2]
    index = np.arange(count * sides).reshape(count, sides)
    a, b = index[:-1], np.roll(index, -1, 1)[:-1]
    c, d = index[1:], np.roll(index, -1, 1)[1:]
    triangles = [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)]
    vertices = points.reshape(-1, 3)
    if closed:
        ends = points[[0, -1]].mean(axis=1)
        first, last = len(vertices), len(vertices) + 1
        vertices = np.concatenate([vertices, ends])
        top, bottom = index[0], index[-1]
        fan = np.full(sides, first)
        triangles.append(np.stack([fan, np.roll(top, -1), top], -1))
        triangles.append(np.stack([fan + last - first, bottom, np.roll(bottom, -1)], -1))
    return np.ascontiguousarray(vertices), np.concatenate(triangles).astype(np.int32)


def _frame(axis: FloatArray) -> FloatArray:
    """(3, 3) rows x, y, z of a right-handed frame with z along `axis`."""
    z = axis / (np.linalg.norm(axis) + 1e-9)
    helper = float32([0, 1, 0]) if abs(z[1]) < 0.9 else float32([1, 0, 0])
    x = np.cross(helper, z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z]).astype(np.float32)


def capsule(
    start: npt.ArrayLike,
    end: npt.ArrayLike,
    first: float,
    last: float,
    sides: int = 8,
    flat: bool = False,
) -> Mesh:
    """A rod from `start` to `end` (3,) with its radii there, ends rounded or flat."""
    a, b = np.asarray(start, np.float32), np.asarray(end, np.float32)
    x, y, z = _frame(b - a)
    length = float(np.linalg.norm(b - a))
    if flat:
        heights, radii = [0.0, 0.0, length, length], [0.9 * first, first, last, 0.9 * last]
    else:
        bow = np.radians([75, 40, 0])
        heights = [*(-first * np.sin(bow)), *(length + last * np.sin(bow[::-1]))]
        radii = [*(first * np.cos(bow)), *(last * np.cos(bow[::-1]))]
    around = np.linspace(0, 2 * np.pi, sides, endpoint=False)[:, None]
    circle = np.cos(around) * x + np.sin(around) * y
    rings = [a + h * z + r * circle for h, r in zip(heights, radii, strict=True)]
    return loft(rings)


def ellipsoid(center: npt.ArrayLike, radii: npt.ArrayLike, sides: int = 12, rows: int = 8) -> Mesh:
    """An ellipsoid with axes along x, y, z."""
    polar = np.linspace(0.08, np.pi - 0.08, rows)[:, None]
    around = np.linspace(0, 2 * np.pi, sides, endpoint=False)[None]
    x, y = np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around)
    unit = np.stack([x, y, -np.cos(polar) + 0 * around], axis=-1)
    return loft(unit * np.asarray(radii) + np.asarray(center))


def box(half: npt.ArrayLike) -> Mesh:
    """A box about the origin with half edges `half` (3,), its corners a little rounded."""
    x, y, z = np.asarray(half, np.float64)
    corner = np.radians([8, 45, 82])
    quarter = np.stack([np.cos(corner), np.sin(corner)], 1)
    r = 0.18 * min(x, y)
    ring = []
    for sx, sy, turn in ((1, 1, 0), (-1, 1, 1), (-1, -1, 2), (1, -1, 3)):
        c, s = np.cos(turn * np.pi / 2), np.sin(turn * np.pi / 2)
        ring.append(quarter @ [[c, s], [-s, c]] * r + [sx * (x - r), sy * (y - r)])
    flat = np.concatenate(ring)
    rings = [np.column_stack([k * flat, np.full(len(flat), h)])
             for k, h in ((0.97, -z), (1.0, -0.8 * z), (1.0, 0.8 * z), (0.97, z))]  # fmt: skip
    return loft(np.stack(rings))


def sheet(grid: npt.ArrayLike, thickness: float) -> Mesh:
    """A two-sided sheet through a grid of points (K, S, 3).

    Args:
        grid: the front is where rows go up and columns to the right.
        thickness: mm between the two sides.
    """
    points = np.asarray(grid, np.float32)
    rows, columns = points.shape[:2]
    across = np.gradient(points, axis=1)
    up = np.gradient(points, axis=0)
    normal = np.cross(across, up)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-6
    front = (points + normal * np.float32(thickness / 2)).reshape(-1, 3)
    back = (points - normal * np.float32(thickness / 2)).reshape(-1, 3)
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate(
        [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)]
    )
    triangles = np.concatenate([faces, faces[:, ::-1] + rows * columns]).astype(np.int32)
    return np.concatenate([front, back]).astype(np.float32), triangles
