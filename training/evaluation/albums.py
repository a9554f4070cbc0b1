"""Albums: whether confidences make a better identity of several photos than a plain mean does.

Portraits are measured in millimeters against their known shape, photographs by how well the
identity of one half of a person's photos finds that of the other half. Every album is evaluated
as it is and with two in five of its photos degraded (`data.degradation`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from facewright.models.aggregation import Strategy, aggregate
from facewright.models.arrays import Array
from facewright.models.morphable_model import MorphableModel
from facewright.training.data.degradation import KINDS, degrade, degrade_badly
from facewright.training.data.shards import ShardSet
from facewright.training.evaluation.bootstrap import (
    Interval,
    resampled_people,
    weighted_auc,
    weighted_means,
)
from facewright.training.evaluation.measures import NeutralErrors
from facewright.training.evaluation.network import Network

Track = Callable[[Iterable[int]], Iterable[int]]

SIZES = (1, 2, 3, 5, 10, 20)
CONDITIONS = ("clean", "degraded")
DEGRADED_SHARE = 0.4
BATCH = 16
PLAIN = "plain mean"
# Names of the strategies of `models.aggregation` in tables and charts.
AGGREGATED: dict[Strategy, str] = {
    "best": "best photo by confidence",
    "mean": PLAIN,
    "scalar": "scalar confidence",
    "confidence": "element-wise confidence",
}
MEAN_FACE, SINGLE, ORACLE = "mean face", "single photo", "best photo (oracle)"
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
YAW_EDGES = (0, 10, 20, 30, 45, 60, 90)  # degrees
# Seeds of what is drawn.
DEGRADING, ALBUMS, PROBES = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Photos:
    """What a network makes of N pictures.

    Attributes:
        person: (N,).
        identity, confidence: (N, 2, 80): of the picture as it is, and of a degraded copy.
        yaw: (N,) degrees, 0 or more, as predicted for the picture as it is.
        true: (N, 80), NaN for photographs.
    """

    person: Array
    identity: Array
    confidence: Array
    yaw: Array
    true: Array


@dataclass(frozen=True)
class AlbumRow:
    """One line of the table.

    Attributes:
        condition: "clean" or "degraded".
        photos: of an album (of each of the two compared, where photographs are measured).
        strategy: how their identities were made one.
        people: that have so many photos.
        error: mean point-to-plane error in mm, or the area under the curve, with its interval.
        over_plain: the same less that of the plain mean, of the same people and albums.
    """

    condition: str
    photos: int
    strategy: str
    people: int
    error: Interval
    over_plain: Interval


@dataclass(frozen=True)
class ProbeRow:
    """Mean confidence of pictures that are bad by a known amount, or turned by some yaw."""

    probe: str
    strength: float
    pictures: int
    confidence: Interval


def predict_albums(
    network: Network,
    model: MorphableModel,
    shards: ShardSet,
    *,
    people: int,
    per_person: int,
    seed: int,
    track: Track = lambda rows: rows,
) -> Photos:
    """Identities and confidences of the photos of people with at least two.

    Args:
        network: to evaluate.
        model: its face model.
        shards: the pictures.
        people: at most, drawn at random.
        per_person: photos at most of each.
        seed: of this choice and of the degradation.
        track: wraps the loop over batches to show progress.

    Raises:
        ValueError: nobody has two photos, the network has no C-Net, or network and pictures are of
            other face models.
    """
    confide = _confiding(network)
    network.check(model)
    shards.check(model.sha256)
    rows = _choose(shards.labels.person, people, per_person, seed)
    identity = np.empty((len(rows), 2, 80), np.float32)
    confidence, yaw = np.empty_like(identity), np.empty(len(rows))
    for k in track(range(0, len(rows), BATCH)):
        part = rows[k : k + BATCH]
        crops = shards.crops(part)
        for copy in range(2):
            if copy:
                rngs = (np.random.default_rng([seed, DEGRADING, row]) for row in part)
                crops = np.stack([degrade_badly(c, r) for c, r in zip(crops, rngs, strict=True)])
            coefficients, confidence[k : k + BATCH, copy] = confide(crops)
            parts = network.layout.split(coefficients)
            identity[k : k + BATCH, copy] = parts.identity
            if not copy:
                yaw[k : k + BATCH] = np.abs(np.degrees(parts.rotation[:, 1]))
    labels = shards.labels.take(rows)
    return Photos(labels.person, identity, confidence, yaw, labels.identity)


def photo_errors(photos: Photos, errors: NeutralErrors) -> Array:
    """Point-to-plane errors (N, 2) in mm of both copies of every portrait."""
    mm = np.empty(photos.identity.shape[:2])
    for person in np.unique(photos.person):
        own = np.flatnonzero(photos.person == person)
        flat = photos.identity[own].reshape(-1, photos.identity.shape[-1])
        mm[own] = errors(flat, photos.true[own[0]]).reshape(-1, 2)
    return mm


def evaluate_albums(
    photos: Photos,
    model: MorphableModel,
    *,
    sizes: Sequence[int] = SIZES,
    draws: int = 3,
    seed: int = 0,
    track: Track = lambda rows: rows,
) -> list[AlbumRow]:
    """Every strategy on albums of every size.

    The error of portraits is the mean point-to-plane distance of the neutral face after
    similarity alignment within 95 mm of the nose tip, mean over `draws` albums of each person;
    of photographs it is the area under the curve of the cosine of the identities of two albums
    without a common photo. "single photo" is the mean over the album's photos, and the oracle
    knows which is nearest; photographs have only the album's first.
    """
    by_person = [np.flatnonzero(photos.person == p) for p in np.unique(photos.person)]
    known = bool(np.isfinite(photos.true).all())
    rows: list[AlbumRow] = []
    errors = NeutralErrors(model) if known else None
    single_mm = None if errors is None else photo_errors(photos, errors)
    for size in sizes:
        enough = [own for own in by_person if len(own) >= (size if known else 2 * size)]
        if len(enough) < 2:
            continue
        weights = resampled_people(len(enough), seed)
        for condition in CONDITIONS:
            if errors is not None:
                assert single_mm is not None
                values = [
                    _shape_errors(
                        photos, errors, single_mm, enough[k], size, condition, draws, seed
                    )
                    for k in track(range(len(enough)))
                ]
                resampled = {
                    name: weighted_means(np.array([v[name] for v in values]), weights)
                    for name in values[0]
                }
            else:
                halves = [_halves(photos, own, size, condition, seed) for own in enough]
                resampled = {
                    name: weighted_auc(_cosines(halves, name), weights) for name in halves[0]
                }
            for name, value in resampled.items():
                over = value - resampled[PLAIN]
                rows.append(
                    AlbumRow(
                        condition,
                        size,
                        name,
                        len(enough),
                        Interval.of(value[0], value[1:]),
                        Interval.of(over[0], over[1:]),
                    )
                )
    return rows


def probe_confidences(
    network: Network,
    shards: ShardSet,
    photos: Photos,
    *,
    pictures: int,
    seed: int = 0,
    track: Track = lambda rows: rows,
) -> list[ProbeRow]:
    """Mean confidence against what is wrong with a picture, and against yaw.

    Args:
        network: to evaluate.
        shards: of the pictures to degrade.
        photos: as predicted, for the yaw.
        pictures: number of pictures to degrade, one of each person as long as there are people.
        seed: of their choice and degradation.
        track: wraps the loop over batches to show progress.
    """
    confide = _confiding(network)
    rng = np.random.default_rng([seed, PROBES])
    person = shards.labels.person
    order = rng.permutation(len(person))
    _, first = np.unique(person[order], return_index=True)
    chosen = np.concatenate([order[np.sort(first)], np.delete(order, first)])[:pictures]
    crops = shards.crops(chosen)
    everyone = resampled_people(len(chosen), seed)
    rows = []
    jobs = [(kind, strength) for kind in KINDS for strength in STRENGTHS]
    for number in track(range(len(jobs))):
        kind, strength = jobs[number]
        rngs = [np.random.default_rng([seed, PROBES, row]) for row in chosen]
        bad = np.stack([degrade(c, kind, strength, r) for c, r in zip(crops, rngs, strict=True)])
        batches = [bad[k : k + BATCH] for k in range(0, len(bad), BATCH)]
        confidence = np.concatenate([confide(batch)[1] for batch in batches]).mean(1)
        means = weighted_means(confidence, everyone)
        rows.append(ProbeRow(kind, strength, len(bad), Interval.of(means[0], means[1:])))
    bins = np.digitize(photos.yaw, YAW_EDGES[1:-1])
    for k, (low, high) in enumerate(zip(YAW_EDGES, YAW_EDGES[1:], strict=False)):
        inside = photos.confidence[bins == k, 0].mean(1)
        if len(inside) > 1:
            means = weighted_means(inside, resampled_people(len(inside), seed))
            interval = Interval.of(means[0], means[1:])
            rows.append(ProbeRow("yaw", (low + high) / 2, len(inside), interval))
    return rows


def confidence_ranks(photos: Photos, model: MorphableModel) -> dict[str, float]:
    """Spearman's rank correlation of confidence and accuracy (the negative error) of portraits.

    Returns:
        `"photo, clean"`, `"photo, degraded"`, `"photo, both"`: of the mean confidence and
        the point-to-plane error over all photos; `"coefficient"`: of a coefficient's confidence
        and its absolute error over both copies of all photos, mean over the coefficients.
    """
    mm = photo_errors(photos, NeutralErrors(model))
    mean = photos.confidence.mean(-1)
    off = np.abs(photos.identity - photos.true[:, None])
    single = [
        _rank_correlation(photos.confidence[..., k].ravel(), -off[..., k].ravel())
        for k in range(off.shape[-1])
    ]
    return {
        "photo, clean": _rank_correlation(mean[:, 0], -mm[:, 0]),
        "photo, degraded": _rank_correlation(mean[:, 1], -mm[:, 1]),
        "photo, both": _rank_correlation(mean.ravel(), -mm.ravel()),
        "coefficient": float(np.mean(single)),
    }


def as_plain(row: AlbumRow | ProbeRow) -> dict[str, Any]:
    """A row's fields with intervals taken apart, numbers to four decimals."""
    plain: dict[str, Any] = {}
    for name, value in asdict(row).items():
        if isinstance(value, tuple):
            for part, number in zip(("", "_low", "_high"), value, strict=True):
                plain[name + part] = round(number, 4) if np.isfinite(number) else None
        else:
            plain[name] = value
    return plain


def _confiding(network: Network) -> Callable[[Array], Sequence[Array]]:
    if network.confide is None:
        raise ValueError("the network has no C-Net")
    return network.confide


def _rank_correlation(a: Array, b: Array) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(spearmanr(a, b).statistic)


def _choose(person: Array, people: int, per_person: int, seed: int) -> Array:
    """Rows of up to so many people with at least two photos, and photos of each."""
    rng = np.random.default_rng([seed, ALBUMS])
    numbers, counts = np.unique(person, return_counts=True)
    chosen = rng.permutation(numbers[counts > 1])[:people]
    if not len(chosen):
        raise ValueError("nobody has two photos")
    rows = [rng.permutation(np.flatnonzero(person == p))[:per_person] for p in np.sort(chosen)]
    return np.concatenate(rows)


def _copies(count: int, condition: str, rng: np.random.Generator) -> Array:
    """Which copy (K,) of each photo of an album to take: 1 for those that are degraded."""
    copies = np.zeros(count, int)
    if condition == "degraded":
        bad = max(1, round(DEGRADED_SHARE * count))
        copies[rng.choice(count, bad, replace=False)] = 1
    return copies


def _shape_errors(
    photos: Photos,
    errors: NeutralErrors,
    single_mm: Array,
    own: Array,
    size: int,
    condition: str,
    draws: int,
    seed: int,
) -> dict[str, float]:
    """Errors of one person by strategy, mean over albums."""
    true = photos.true[own[0]]
    rng = np.random.default_rng([seed, ALBUMS, int(photos.person[own[0]]), size])
    found: list[Array] = [np.zeros(80)]
    singles = []
    for _ in range(draws):
        rows = rng.permutation(own)[:size]
        copies = _copies(len(rows), condition, rng)
        album = photos.identity[rows, copies], photos.confidence[rows, copies]
        found += [aggregate(*album, strategy) for strategy in AGGREGATED]
        singles.append(single_mm[rows, copies])
    mm = errors(np.stack(found), true)
    means = mm[1:].reshape(draws, -1).mean(0)
    return {
        MEAN_FACE: float(mm[0]),
        SINGLE: float(np.mean(singles)),
        ORACLE: float(np.min(singles, axis=1).mean()),
        **dict(zip(AGGREGATED.values(), means.tolist(), strict=True)),
    }


def _halves(
    photos: Photos, own: Array, size: int, condition: str, seed: int
) -> dict[str, tuple[Array, Array]]:
    """Identities of two albums of one person without a common photo, by strategy."""
    rng = np.random.default_rng([seed, ALBUMS, int(photos.person[own[0]]), size])
    rows = rng.permutation(own)[: 2 * size]
    albums = []
    for half in (rows[:size], rows[size:]):
        copies = _copies(size, condition, rng)
        albums.append((photos.identity[half, copies], photos.confidence[half, copies]))
    first, second = [identity[0] for identity, _ in albums]
    result = {SINGLE: (first, second)}
    for strategy, name in AGGREGATED.items():
        one, other = (aggregate(*album, strategy) for album in albums)
        result[name] = (one, other)
    return result


def _cosines(halves: Sequence[dict[str, tuple[Array, Array]]], name: str) -> Array:
    """Cosines (P, P) of everyone's first with everyone's second identity."""
    one, other = (np.stack([h[name][k] for h in halves]).astype(np.float64) for k in range(2))
    for identities in (one, other):
        identities /= np.maximum(np.linalg.norm(identities, axis=1, keepdims=True), 1e-12)
    cosines: Array = one @ other.T
    return cosines
