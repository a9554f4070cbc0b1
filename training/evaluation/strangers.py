"""How well strangers in albums are noticed, by their identity coefficients or descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from facewright.models.agreement import album_distances, album_similarities
from facewright.models.arrays import Array
from facewright.training.evaluation.report import Figure
from facewright.training.photos.people import number_people

SIZES = (2, 3, 5, 20)
ALBUMS = 1000
Measure = Literal["distance", "cosine"]
FALSE_ALARMS = 0.02


def stranger_figures(
    described: Array,
    people: Sequence[str],
    seed: int,
    on: str,
    *,
    threshold: float,
    by: Measure = "distance",
    sizes: Sequence[int] = SIZES,
    albums: int = ALBUMS,
) -> list[Figure]:
    """False alarms and detections in random albums, and the threshold for 2% of false alarms.

    For each size, `albums` albums of one random person, and as many in which one photo is
    replaced by somebody else's.  In an album of two the photos cannot be told apart: there a
    detection means that they are seen to disagree.

    Args:
        described: (N, 80) identities of photos, or their descriptors (N, D) of unit length.
        people: of the N photos.
        seed: of the choice of albums.
        on: description of the data.
        threshold: distance beyond which, or cosine below which, a photo counts as a stranger's.
        by: distance of identities, or cosine of descriptors.
        sizes: of the albums; a size that nobody has photos for is left out.
        albums: how many of each size and kind.

    Returns:
        Per size: share of photos of one-person albums beyond the threshold, share of strangers
        beyond it. Then the share of strangers beyond the threshold that `FALSE_ALARMS` of the
        photos of one-person albums of all sizes lie beyond, and that one. Empty where no size can
        be measured.
    """
    # What grows with doubt: distances, or cosines turned round.
    sign, side = (1, "beyond") if by == "distance" else (-1, "below")

    def doubts(rows: Array) -> Array:
        if by == "distance":
            return album_distances(described[rows])
        return -album_similarities(described[rows])

    rng = np.random.default_rng(seed)
    number = number_people(people)
    rows = [np.flatnonzero(number == k) for k in range(number.max(initial=-1) + 1)]
    figures: list[Figure] = []
    alone: list[Array] = []
    noticed: dict[int, Array] = {}
    for size in sizes:
        complete = [r for r in rows if len(r) >= size]
        if not complete or len(rows) < 2:
            continue
        pure, strangers = [], []
        for _ in range(albums):
            own = rng.choice(complete[rng.integers(len(complete))], size, replace=False)
            pure.append(doubts(own))
            others = np.flatnonzero(number != number[own[0]])
            mixed = np.append(own[1:], rng.choice(others))
            strangers.append(doubts(mixed)[-1])
        alone.append(np.concatenate(pure))
        noticed[size] = np.array(strangers)
        rates = {
            "false alarms": (alone[-1] > sign * threshold).mean(),
            "strangers noticed": (noticed[size] > sign * threshold).mean(),
        }
        for name, rate in rates.items():
            measure = f"{name}, albums of {size}, {side} {threshold:g}"
            figures.append(Figure(on, measure, "%", float(100 * rate), None))
    if alone:
        # Each size counts alike, however many photos its albums have.
        distances = np.concatenate(alone)
        weights = np.concatenate([np.full(len(d), 1 / len(d)) for d in alone])
        order = np.argsort(distances)
        beyond = 1 - np.cumsum(weights[order]) / weights.sum()
        fitted = distances[order][np.argmax(beyond <= FALSE_ALARMS)]
        alarms = f"{100 * FALSE_ALARMS:g}%"
        for size, of_strangers in noticed.items():
            share = float(100 * (of_strangers > fitted).mean())
            measure = f"strangers noticed, albums of {size}, at {alarms} of false alarms"
            figures.append(Figure(on, measure, "%", share, None))
        measure = f"{by} {side} which {alarms} of false alarms lie"
        unit = "sigmas" if by == "distance" else ""
        figures.append(Figure(on, measure, unit, float(sign * fitted), None))
    return figures
