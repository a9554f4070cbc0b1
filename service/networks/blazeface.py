"""BlazeFace's answers: places in an image that may be faces.

BlazeFace (Bazarevsky et al. 2019, arXiv 1907.05047) gives, for anchors on a grid, a score and
where the box and six points of a face lie from there.  This is its network for the full range,
which was made for images of 192 px and, without a layer for the whole image, takes any size; it
sees faces from some 11 px to most of such an image.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from facewright.service.networks.image_networks import Float32

MAX_OVERLAP = 0.3
"""Intersection over union from which on two places are one face."""


NAME = "blazeface"

STRIDE = 4
"""Pixels from anchor to anchor."""

SIZE_MULTIPLE = 32
"""Sides of images are multiples of this."""


class Places(NamedTuple):
    """K places in pixels of some image, continuous."""

    boxes: Float32
    """(K, 4): x0, y0, x1, y1; from the brows to the chin."""
    points: Float32
    """(K, 6, 2): image-left eye, image-right eye, nose tip, mouth, image-left ear, the other."""
    scores: Float32
    """(K,)."""

    @staticmethod
    def none() -> Places:
        """No place at all."""
        rows = [np.zeros((0, *shape), np.float32) for shape in ((4,), (6, 2), ())]
        return Places(*rows)

    def take(self, indices: Any) -> Places:
        """Some of them, as NumPy indexes rows."""
        chosen = indices
        return Places(self.boxes[chosen], self.points[chosen], self.scores[chosen])

    def moved(self, scale: Float32, shift: Float32) -> Places:
        """In an image where a place p is at `scale` p + `shift`, both (2,)."""
        boxes = self.boxes * np.tile(scale, 2) + np.tile(shift, 2)
        return Places(boxes, self.points * scale + shift, self.scores)


def join(places: list[Places]) -> Places:
    """Places of several looks, which are at least one."""
    return Places(*(np.concatenate(part) for part in zip(*places, strict=True)))


def decode(height: int, width: int, answer: tuple[Float32, ...], least: float) -> Places:
    """Read the answer for an image of this size: the places that score at least `least`.

    answer: (M, 16), offsets in pixels from the anchor to the box's center, then its width and
    height, then six points; and (M, 1), the scores as logits.  Places that overlap are averaged
    by their scores, as the paper does against jitter.
    """
    offsets, logits = answer[0], answer[1][:, 0]
    rows = np.flatnonzero(logits >= math.log(least / (1 - least)))
    anchors = _anchors(height, width)[rows]
    pairs = offsets[rows].reshape(-1, 8, 2)
    centers, halves = pairs[:, 0] + anchors, np.abs(pairs[:, 1]) / 2
    boxes = np.concatenate([centers - halves, centers + halves], axis=1)
    scores = (1 / (1 + np.exp(-logits[rows]))).astype(np.float32)
    return _blend(Places(boxes, pairs[:, 2:] + anchors[:, None], scores))


def distinct(places: Places) -> Places:
    """Of places that overlap the best, best first."""
    kept = []
    order = np.argsort(-places.scores, kind="stable")
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[overlaps(places.boxes[best], places.boxes[order]) <= MAX_OVERLAP]
    return places.take(kept)


def overlaps(box: Float32, boxes: Float32) -> Float32:
    """(K,): intersection over union of a box (4,) with boxes (K, 4)."""
    shared, area, areas = _areas(box, boxes)
    return shared / np.maximum(area + areas - shared, np.float32(1e-6))


def covers(box: Float32, boxes: Float32) -> Float32:
    """(K,): intersection of a box (4,) with boxes (K, 4), over the smaller one's area."""
    shared, area, areas = _areas(box, boxes)
    return shared / np.maximum(np.minimum(area, areas), np.float32(1e-6))


def _areas(box: Float32, boxes: Float32) -> tuple[Float32, Float32, Float32]:
    lower = np.maximum(box[:2], boxes[:, :2])
    upper = np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.clip(upper - lower, 0, None), axis=1)
    return shared, np.prod(box[2:] - box[:2]), np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


def _blend(places: Places) -> Places:
    blended = []
    order = np.argsort(-places.scores, kind="stable")
    while order.size:
        alike = overlaps(places.boxes[order[0]], places.boxes[order]) > MAX_OVERLAP
        alike[0] = True
        group = places.take(order[alike])
        weights = group.scores / group.scores.sum()
        blended.append(
            Places(
                (weights @ group.boxes)[None],
                np.einsum("k,kpc->pc", weights, group.points)[None],
                group.scores[:1],
            )
        )
        order = order[~alike]
    return join(blended) if blended else places


@lru_cache(maxsize=64)
def _anchors(height: int, width: int) -> Float32:
    """(M, 2): x and y in pixels of the places that answers start from, row by row."""
    x, y = np.meshgrid(np.arange(width // STRIDE) + 0.5, np.arange(height // STRIDE) + 0.5)
    anchors: Float32 = (STRIDE * np.stack([x, y], axis=-1).reshape(-1, 2)).astype(np.float32)
    anchors.setflags(write=False)
    return anchors
