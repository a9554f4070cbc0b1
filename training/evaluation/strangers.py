"""How well strangers in albums are noticed by their identity coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from facewright.models.agreement import STRANGER_DISTANCE, album_distances
from facewright.training.evaluation.report import Figure
from facewright.training.photos.people import number_people

Array = npt.NDArray[Any]

SIZES = (2, 3, 5, 20)
ALBUMS = 1000
FALSE_ALARMS = 0.02


def stranger_figures(
    identity: Array,
    people: Sequence[str],
    seed: int,
    on: str,
    *,
    threshold: float = STRANGER_DISTANCE,
    sizes: Sequence[int] = SIZES,
    albums: int = ALBUMS,
) -> list[Figure]:
    """False alarms and detections in random albums, and the threshold for 2% of false alarms.

    For each size, ``albums`` albums of one random person, and as many in which one photo is
    replaced by somebody else's.  In an album of two the photos cannot be told apart: there a
    detection means that they are seen to disagree.

    Args:
        identity: (N, 80) of photos.
        people: of the N photos.
        seed: of the choice of albums.
        on: description of the data.
        threshold: distance beyond which a photo counts as a stranger's.
        sizes: of the albums; a size that nobody has photos for is left out.
        albums: how many of each size and kind.

    Returns:
        Per size: share of photos of one-person albums beyond the threshold, share of strangers
        beyond it.  Then the distance beyond which ``FALSE_ALARMS`` of the photos of one-person
        albums of all sizes lie.  Empty where no size can be measured.
    """
    rng = np.random.default_rng(seed)
    number = number_people(people)
    rows = [np.flatnonzero(number == k) for k in range(number.max(initial=-1) + 1)]
    figures: list[Figure] = []
    alone: list[Array] = []
    for size in sizes:
        complete = [r for r in rows if len(r) >= size]
        if not complete or len(rows) < 2:
            continue
        pure, strangers = [], []
        for _ in range(albums):
            own = rng.choice(complete[rng.integers(len(complete))], size, replace=False)
            pure.append(album_distances(identity[own]))
            others = np.flatnonzero(number != number[own[0]])
            mixed = np.append(own[1:], rng.choice(others))
            strangers.append(album_distances(identity[mixed])[-1])
        alone.append(np.concatenate(pure))
        rates = {
            "false alarms": (alone[-1] > threshold).mean(),
            "strangers noticed": (np.array(strangers) > threshold).mean(),
        }
        for name, rate in rates.items():
            measure = f"{name}, albums of {size}, beyond {threshold:g}"
            figures.append(Figure(on, measure, "%", float(100 * rate), None))
    if alone:
        # Each size counts alike, however many photos its albums have.
        distances = np.concatenate(alone)
        weights = np.concatenate([np.full(len(d), 1 / len(d)) for d in alone])
        order = np.argsort(distances)
        beyond = 1 - np.cumsum(weights[order]) / weights.sum()
        fitted = distances[order][np.argmax(beyond <= FALSE_ALARMS)]
        measure = f"distance beyond which {100 * FALSE_ALARMS:g}% of false alarms lie"
        figures.append(Figure(on, measure, "sigmas", float(fitted), None))
    return figures
