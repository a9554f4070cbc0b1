"""How well a photo of somebody else shows in an album."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from training.evaluation.albums import Photos

Array = npt.NDArray[Any]


def leave_one_out_distances(identity: Array, scale: Array | float = 1.0) -> Array:
    """Distance of every photo's identity from the element-wise median of the others'.

    The median lets no single other photo move the rest's centre far, so a stranger does not make
    its neighbours look strange.

    Args:
        identity: (..., K, 80), K at least 3.
        scale: (80,) or a number: what the coefficients' differences are divided by.

    Returns:
        (..., K): root mean square over the coefficients.

    Raises:
        ValueError: there are less than three photos.
    """
    count = identity.shape[-2]
    if count < 3:
        raise ValueError(f"{count} photos cannot tell which of them is the stranger")
    away = [
        (identity[..., j, :] - np.median(np.delete(identity, j, axis=-2), axis=-2)) / scale
        for j in range(count)
    ]
    distances: Array = np.sqrt(np.mean(np.square(np.stack(away, -2)), axis=-1))
    return distances


class StrangerCurve(NamedTuple):
    """Rates by threshold, from the highest threshold to the lowest.

    Attributes:
        threshold: (T,) on the album's largest distance.
        false_alarms: (T,) share of albums of one person that reach it.
        detections: (T,) share of albums with a stranger in which the stranger's photo has the
            largest distance and reaches it.
    """

    threshold: Array
    false_alarms: Array
    detections: Array

    def detections_at(self, false_alarms: float) -> float:
        """Share detected at the lowest threshold with at most so many false alarms."""
        allowed = np.flatnonzero(self.false_alarms <= false_alarms)
        return float(self.detections[allowed[-1]]) if len(allowed) else 0.0


def stranger_curve(
    photos: Photos, size: int, *, draws: int = 5, scale: Array | float = 1.0, seed: int = 0
) -> StrangerCurve:
    """Albums of ``size`` photos of one person, and the same with one photo of another.

    Args:
        photos: as predicted; those of people with fewer photos serve as strangers only.
        size: photos of an album, at least 3.
        draws: albums of each person.
        scale: see :func:`leave_one_out_distances`.
        seed: of everything random.

    Raises:
        ValueError: nobody has so many photos, or everybody is one person.
    """
    rng = np.random.default_rng(seed)
    rows = {p: np.flatnonzero(photos.person == p) for p in np.unique(photos.person)}
    enough = [p for p, own in rows.items() if len(own) >= size]
    if not enough or len(rows) < 2:
        raise ValueError(f"needs a person with {size} photos and another one")
    albums, strangers = [], []
    for p in enough:
        others = np.flatnonzero(photos.person != p)
        for _ in range(draws):
            own = rng.permutation(rows[p])[:size]
            albums.append(own)
            strangers.append(np.append(own[:-1], rng.choice(others)))
    identity = photos.identity[:, 0]
    alone = leave_one_out_distances(identity[np.stack(albums)], scale).max(-1)
    mixed = leave_one_out_distances(identity[np.stack(strangers)], scale)
    found = np.where(mixed.argmax(-1) == size - 1, mixed[:, -1], -np.inf)
    threshold = np.sort(np.concatenate([alone, mixed.max(-1)]))[::-1]
    return StrangerCurve(
        threshold,
        np.array([(alone >= t).mean() for t in threshold]),
        np.array([(found >= t).mean() for t in threshold]),
    )
