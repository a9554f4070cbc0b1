"""Whether the photos of an album show one person: by identity coefficients or by embeddings.

Identities are compared by the Euclidean distance of their coefficients.  These are in standard
deviations of the population, and R-Net keeps a coefficient near 0 that it sees little of, so
what it can tell from photos counts for most as it is: dividing by the spread within a person
measured no better.

Embeddings are of unit length and come from a network that was trained to tell people apart, where
there is one; they are compared by their cosine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facewright.models.arrays import Array

STRANGER_DISTANCE: Final = 2.7
"""Distance of `album_distances` beyond which a photo shows a stranger, by default.

Weights bring their own, as `stranger_distance` in their file's metadata; this is that of weights
which say nothing, the first ones'.  Fitted by `facewright-train evaluate strangers` (see
`training/evaluation/strangers.py`): the distance beyond which 2% of the photos lie in random
albums of 2, 3, 5 and 20 photos of one person.
"""

STRANGER_COSINE: Final = 0.934
"""Cosine of `album_similarities` of the weights' own descriptors below which a photo shows a
stranger, by default.

Weights with descriptors bring their own, as `stranger_cosine`; fitted as `STRANGER_DISTANCE` is, by
`facewright-train evaluate strangers --descriptors`.
"""

STRANGER_SIMILARITY: Final = 0.2
"""Cosine of `album_similarities` below which a photo shows a stranger.

It belongs to the recognition networks of insightface's model packs (ArcFace, arXiv 1801.07698):
below it, the library's demo of recognition (`web-demos/src_recognition` of its repository) calls
two photos those of different people; from 0.28 on, those of one.  Not measured by this project.
"""

_ROUNDS = 10


def album_distances(identity: Array) -> NDArray[np.float64]:
    """How far each photo of an album is from what most of the others agree on.

    The photo with the least median distance to the others and its nearest neighbors, more than
    half of the album in all, are the core; the consensus for a photo is the mean of the core
    without the photo itself.  So strangers do not move it while they are a minority.

    A mean of n photos is itself uncertain, which makes distances to it larger by a factor of
    sqrt(1 + 1 / n).  It is divided out: distances of albums of different sizes compare.

    identity: (J, K) coefficients in sigmas, J >= 2.  Returns (J,), in sigmas; both photos of an
    album of two have the same.  Raises ValueError for another shape.
    """
    if identity.ndim != 2 or len(identity) < 2:
        raise ValueError(f"expected (J >= 2, K) identities, got {identity.shape}")
    exact = identity.astype(np.float64)
    others, count = _core_of_others(exact)
    away = np.linalg.norm(exact - others @ exact / count, axis=1)
    distances: NDArray[np.float64] = away / np.sqrt(1.0 + 1.0 / count[:, 0])
    return distances


def album_similarities(embeddings: Array) -> NDArray[np.float64]:
    """How alike each photo of an album is to what most of the others agree on.

    The core is found as in `album_distances`.  A photo's similarity is the mean of its cosines to
    the photos of the core without itself, so its expected value does not depend on their number,
    and a limit for two photos is one for albums of any size.

    embeddings: (J, D) of unit length, J >= 2.  Returns (J,) in -1..1; both photos of an album of
    two have the same.  Raises ValueError for another shape.
    """
    if embeddings.ndim != 2 or len(embeddings) < 2:
        raise ValueError(f"expected (J >= 2, D) embeddings, got {embeddings.shape}")
    exact = embeddings.astype(np.float64)
    others, count = _core_of_others(exact)
    similarities: NDArray[np.float64] = (exact * (others @ exact / count)).sum(axis=1)
    return similarities


def minority(doubtful: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of an album's photos (J,) can be left out because they are `doubtful`.

    All of them if the others are the majority; else none, for nobody knows who is the stranger.
    """
    return doubtful & (2 * doubtful.sum() < len(doubtful))


def consistent_faces(candidates: Sequence[Array]) -> list[int]:
    """Choose one face in each photo such that all show the same person.

    The face that has near neighbors in most other photos is the start, the nearest to it is
    chosen in each photo, and choices are then improved against the median of the others until
    they stay.  Of faces that do equally well the first is chosen.

    candidates: per photo (F, K) identities in sigmas, or embeddings, of its F >= 1 faces.
    Returns an index per photo.
    """
    if len(candidates) < 2:
        return [0] * len(candidates)
    faces = [values.astype(np.float64) for values in candidates]
    everyone = np.concatenate(faces)
    photo_of = np.repeat(np.arange(len(faces)), [len(values) for values in faces])
    nearest = np.stack([_distances(everyone, values).min(axis=1) for values in faces], axis=1)
    nearest[np.arange(len(everyone)), photo_of] = np.inf
    start = everyone[_lower_median(nearest).argmin()]
    chosen = [int(_distances(values, start[None]).argmin()) for values in faces]
    for _ in range(_ROUNDS):
        before = list(chosen)
        for photo, values in enumerate(faces):
            others = [faces[k][chosen[k]] for k in range(len(faces)) if k != photo]
            chosen[photo] = int(_distances(values, np.median(others, axis=0)[None]).argmin())
        if chosen == before:
            break
    return chosen


def _core_of_others(points: Array) -> tuple[Array, Array]:
    """For each of J points (J, K) the members of the core but for itself.

    Returns (J, J), row j 1 for the members that photo j is compared with and 0 for the rest, and
    their number (J, 1), at least 1.
    """
    apart = _distances(points, points)
    center = _lower_median(apart + np.diag(np.full(len(points), np.inf))).argmin()
    core = np.argsort(apart[center], kind="stable")[: len(points) // 2 + 1]
    members = np.zeros(len(points))
    members[core] = 1.0
    others = members - np.diag(members)
    return others, others.sum(axis=1, keepdims=True)


def _distances(a: Array, b: Array) -> Array:
    """(A, B) Euclidean distances of the rows of a (A, K) and b (B, K)."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * (a @ b.T)
    return np.sqrt(np.maximum(squares, 0.0))


def _lower_median(distances: Array) -> Array:
    """(N,): of each row (N, J), one of which is infinite for the photo itself.

    The lower of two middle ones: a photo with one agreeing neighbor of two is no stranger.
    """
    return np.sort(distances, axis=1)[:, (distances.shape[1] - 2) // 2]
