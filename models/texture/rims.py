"""The rims of lids and lips, where a fit that is a little off would paint eyes and teeth on skin.

The skin of a rim is a millimeter or two wide and seldom faces the camera.  What a photo does not
show of it, or shows in the color of what lies behind it, continues the skin beside it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facewright.models.jit import kernel
from facewright.models.morphable_model import (
    PART_CAVITY,
    PART_EYEBALL,
    PART_SKIN,
    PART_TEETH,
    MorphableModel,
)

# Width of the rims of lids and lips.
_RIM_MM = np.float32(8.0)
# A rim whose opening is nearer than this to an eyeball is a lid's.
_EYE_MM = 8.0
# Behind each opening: the image-left eye, the other one, the teeth.
_OPENINGS = 3
# Of the brightest of what is seen behind an opening.
_BRIGHTEST = 0.4
_LEAST_SEEN = 12
_ZERO, _HALF = np.float32(0.0), np.float32(0.5)
# How many rings of an eyeball's vertices under the lids continue what is seen between them.
_UNDER_LIDS = 2
# Skin from here on is what the rest is compared with, and up to here it can be painted on: farther
# off the fit is so wrong that to mend a lid would only leave rags.
_SURE_MM, _WIDEST_MM = np.float32(5.5), np.float32(4.0)
# What looks as if it were painted on is so this near to the opening, or beside what is.
_NEAR_MM = np.float32(1.0)
_SUSPECT, _PAINTED = np.uint8(1), np.uint8(2)
# Share of the way from the skin's color to that behind the opening, and its least length in levels.
_LIKE, _CONTRAST = np.float32(0.5), np.float32(40.0)


class Rims(NamedTuple):
    """The n vertices of a face model's rims, from the outside in."""

    vertices: NDArray[np.int32]
    """(n,)."""
    outward: NDArray[np.int32]
    """(n,): the neighbor of each that is farther from the opening."""
    edges: NDArray[np.int32]
    """(m, 2): the edges between vertices that may be painted on."""
    distance: NDArray[np.float32]
    """(n,) mm to the opening, along the surface."""
    opening: NDArray[np.int8]
    """(n,): 0 and 1 the eyes, 2 the mouth."""
    behind: tuple[NDArray[np.int32], ...]
    """The vertices behind each opening: those of the eyeballs, and of the teeth."""
    eyeballs: NDArray[np.int32]
    """(m', 2): edges of the eyeballs."""


def find_rims(model: MorphableModel) -> Rims:
    """The rims of a face model: skin beside the borders to the insides of lids and mouth."""
    vertices, triangles = model.mean_vertices, model.triangles
    left = vertices[:, 0] < 0.0
    eyes = model.parts == PART_EYEBALL
    behind = tuple(
        np.flatnonzero(one).astype(np.int32)
        for one in (eyes & left, eyes & ~left, model.parts == PART_TEETH)
    )
    ends = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    # As one number each, which NumPy sorts ten times as quickly as pairs.
    coded = np.unique(ends.min(axis=1) * np.int64(model.n_vertices) + ends.max(axis=1))
    edges = np.stack(np.divmod(coded, model.n_vertices), axis=1).astype(np.int32)
    parts = model.parts[edges]
    border = edges[(parts.min(axis=1) == PART_SKIN) & (parts.max(axis=1) == PART_CAVITY)]
    start = np.unique(border)
    start = start[model.parts[start] == PART_SKIN]
    skin = edges[(parts == PART_SKIN).all(axis=1)]
    distance = np.full(model.n_vertices, np.inf, np.float32)
    opening = np.zeros(model.n_vertices, np.int8)
    distance[start] = 0.0
    opening[start] = [_opening(vertices, behind, vertices[one]) for one in start]
    lengths = np.linalg.norm(vertices[skin[:, 0]] - vertices[skin[:, 1]], axis=1)
    lengths = lengths.astype(np.float32)
    _measure(skin, lengths, _RIM_MM, distance, opening)
    near = np.flatnonzero(distance < _RIM_MM)
    rim = near[np.argsort(-distance[near], kind="stable")].astype(np.int32)
    outward = np.arange(model.n_vertices, dtype=np.int32)
    _link(skin, distance, outward)
    return Rims(
        rim,
        outward[rim],
        skin[(distance[skin] <= _WIDEST_MM).all(axis=1)],
        distance[rim],
        opening[rim],
        behind,
        edges[(parts == PART_EYEBALL).all(axis=1)],
    )


def _opening(
    vertices: NDArray[np.float32],
    behind: tuple[NDArray[np.int32], ...],
    place: NDArray[np.float32],
) -> int:
    for eye in range(_OPENINGS - 1):
        distances = np.linalg.norm(vertices[behind[eye]] - place, axis=1)
        if distances.min(initial=np.inf) < _EYE_MM:
            return eye
    return _OPENINGS - 1


@kernel
def _measure(
    edges: NDArray[np.int32],
    lengths: NDArray[np.float32],
    farthest: float,
    distance: NDArray[np.float32],
    opening: NDArray[np.int8],
) -> None:
    """Distances along edges from where they are 0, in place; the opening is the nearest one's."""
    changed = True
    while changed:
        changed = False
        for edge in range(len(edges)):
            for end in range(2):
                one, other = edges[edge, end], edges[edge, 1 - end]
                found = distance[one] + lengths[edge]
                if found < distance[other] and found < farthest:
                    distance[other] = found
                    opening[other] = opening[one]
                    changed = True


@kernel
def _link(
    edges: NDArray[np.int32], distance: NDArray[np.float32], outward: NDArray[np.int32]
) -> None:
    """The neighbor of each vertex that is farthest from the opening, itself if there is none."""
    for edge in range(len(edges)):
        for end in range(2):
            one, other = edges[edge, end], edges[edge, 1 - end]
            if distance[other] > distance[outward[one]]:
                outward[one] = other


def continue_rims(
    rims: Rims,
    pixels: NDArray[np.uint8],
    places: NDArray[np.float32],
    share: NDArray[np.float32],
    facing: NDArray[np.float32],
) -> None:
    """Have a view take the skin beside a rim for what it does not show of the rim, in place.

    Eyeballs go on a little under the lids, which are never exactly where the photo has them.

    The arrays are those of `views.PreparedView`.
    """
    colors = np.empty((len(share), 3), np.float32)
    for vertices in (rims.vertices, *rims.behind):
        _look(vertices, pixels, places, colors)
    seen_behind = np.full((len(rims.behind), 3), np.nan, np.float32)
    for opening, vertices in enumerate(rims.behind):
        seen = colors[vertices[share[vertices] > _HALF]]
        if len(seen) >= _LEAST_SEEN:
            brightness = seen.sum(axis=1)
            bright = seen[brightness >= np.quantile(brightness, 1.0 - _BRIGHTEST)]
            seen_behind[opening] = bright.mean(axis=0)
    for _ in range(_UNDER_LIDS):
        _continue_eyeballs(rims.eyeballs, share.copy(), places, share, facing)
    skin, painted = np.empty_like(colors), np.zeros(len(colors), np.uint8)
    _continue(
        rims.vertices,
        rims.outward,
        rims.edges,
        rims.distance,
        rims.opening,
        seen_behind,
        colors,
        skin,
        painted,
        places,
        share,
        facing,
    )


@kernel
def _look(
    vertices: NDArray[np.int32],
    pixels: NDArray[np.uint8],
    places: NDArray[np.float32],
    colors: NDArray[np.float32],
) -> None:
    """The nearest pixels' colors, of these vertices only: (V, 3), 0 to 255."""
    for vertex in vertices:
        row, column = int(places[vertex, 1] + _HALF), int(places[vertex, 0] + _HALF)
        for channel in range(3):
            colors[vertex, channel] = pixels[row, column, channel]


@kernel
def _continue(
    vertices: NDArray[np.int32],
    outward: NDArray[np.int32],
    edges: NDArray[np.int32],
    distance: NDArray[np.float32],
    opening: NDArray[np.int8],
    behind: NDArray[np.float32],
    colors: NDArray[np.float32],
    skin: NDArray[np.float32],
    painted: NDArray[np.uint8],
    places: NDArray[np.float32],
    share: NDArray[np.float32],
    facing: NDArray[np.float32],
) -> None:
    count = len(vertices)
    for at in range(count):
        vertex = vertices[at]
        if distance[at] > _SURE_MM:
            for channel in range(3):
                skin[vertex, channel] = colors[vertex, channel]
            continue
        length, along, brighter = _ZERO, _ZERO, _ZERO
        for channel in range(3):
            skin[vertex, channel] = skin[outward[at], channel]
            way = behind[opening[at], channel] - skin[vertex, channel]
            length += way * way
            brighter += way
            along += way * (colors[vertex, channel] - skin[vertex, channel])
        # When nothing is seen behind the opening, both are NaN.
        like = brighter > _ZERO and length > _CONTRAST * _CONTRAST and along > _LIKE * length
        if distance[at] <= _WIDEST_MM and (like or share[vertex] < _HALF):
            painted[vertex] = _PAINTED if distance[at] < _NEAR_MM else _SUSPECT
    spreads = True
    while spreads:
        spreads = False
        for edge in range(len(edges)):
            for end in range(2):
                one, other = edges[edge, end], edges[edge, 1 - end]
                if painted[one] == _PAINTED and painted[other] == _SUSPECT:
                    painted[other] = _PAINTED
                    spreads = True
    for at in range(count):
        vertex, source = vertices[at], outward[at]
        if source == vertex or share[vertex] < _ZERO:
            continue
        hidden = share[vertex] < _HALF and share[source] > share[vertex]
        if not hidden and painted[vertex] != _PAINTED:
            continue
        places[vertex, 0], places[vertex, 1] = places[source, 0], places[source, 1]
        share[vertex], facing[vertex] = share[source], facing[source]


@kernel
def _continue_eyeballs(
    edges: NDArray[np.int32],
    before: NDArray[np.float32],
    places: NDArray[np.float32],
    share: NDArray[np.float32],
    facing: NDArray[np.float32],
) -> None:
    for edge in range(len(edges)):
        for end in range(2):
            vertex, source = edges[edge, end], edges[edge, 1 - end]
            if abs(before[vertex]) < _HALF <= before[source] and share[vertex] < before[source]:
                places[vertex, 0], places[vertex, 1] = places[source, 0], places[source, 1]
                share[vertex], facing[vertex] = before[source], facing[source]
