"""What a face's shape says about its person: sex, age, ancestry, build.

On photographs looks agree with shapes: beards grow on male faces, hair grays on old ones. The
face model's identity components come in part from people of known sex, age and population, so
a linear regression tells these from identity coefficients, and looks are drawn to agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from facewright.models.arrays import Array, FloatArray
from facewright.training.face_model.heads import TRAITS

_RIDGE = 20.0
# Skin tones that are typical of the ancestries, on the range of melanin; European shares stand for
# the Middle East and South Asia too.
_TYPICAL = np.array([0.3, 0.95, 0.4])
_DARKEST = 1.15
# Correlation of tone with ancestry, of ranks as normal scores.
_TONE_BY_ANCESTRY = 0.6


def _shares(ancestry: Array) -> NDArray[np.float64]:
    """Sharpened shares (..., 3) that sum to 1 of rough ones."""
    shares = np.clip(ancestry, 0.02, None) ** 1.5
    return shares / shares.sum(axis=-1, keepdims=True)


@dataclass(frozen=True)
class Traits:
    """A person in a few numbers, what the shape leaves open drawn at random.

    Attributes:
        male: 0 female .. 1 male; masculine above one half.
        age: 0 young adult .. 1 old; child: 0 adult .. 0.5 child.
        melanin: 0 lightest skin .. 1.15 darkest; dark_hair: whether hair is brown or black.
    """

    male: float
    age: float
    child: float
    melanin: float
    dark_hair: bool

    @property
    def masculine(self) -> bool:
        """Whether the person looks like a man, boys included."""
        return self.male > 0.5


class TraitModel:
    """Regression from identity coefficients to traits.

    Args:
        samples: (N, 80) identity coefficients of people.
        table: (N, 7) their TRAITS, see `training.face_model.heads`.
    """

    def __init__(self, samples: FloatArray, table: FloatArray) -> None:
        x = samples.astype(np.float64)
        mean = table.mean(0, dtype=np.float64)
        gram = x.T @ x + _RIDGE * np.eye(x.shape[1])
        weights = np.linalg.solve(gram, x.T @ (table - mean))
        self._mean = mean
        self._weights = weights
        predicted = samples.astype(np.float64) @ weights
        self._residual = (table - self._mean - predicted).std(0)
        self._tones = np.sort(_shares(table[:, 3:6]) @ _TYPICAL)

    def expected(self, identity: FloatArray) -> NDArray[np.float64]:
        """(7,) what the shape (80,) alone says."""
        return self._mean + identity.astype(np.float64) @ self._weights

    def draw(self, rng: np.random.Generator, identity: FloatArray) -> Traits:
        """Traits of the person with these coefficients (80,)."""
        noise = rng.standard_normal(len(TRAITS)) * self._residual
        male, old, child, *shares, _ = self.expected(identity) + noise
        ancestry = _shares(np.array(shares))
        melanin = self._tone(rng, float(ancestry @ _TYPICAL))
        return Traits(
            male=float(np.clip(male, 0, 1)),
            age=float(np.clip(0.12 + 1.35 * old + rng.normal(0, 0.16), 0, 1)) * (child < 0.2),
            child=float(np.clip(child, 0, 0.5)),
            melanin=melanin,
            dark_hair=bool(rng.random() < max(ancestry[1:].sum(), (melanin - 0.2) / 0.3)),
        )

    def _tone(self, rng: np.random.Generator, expected: float) -> float:
        """Skin tone, even over its range in the whole population, that leans to `expected`."""
        rank = (np.searchsorted(self._tones, expected) + 0.5) / (len(self._tones) + 1)
        score = _TONE_BY_ANCESTRY * ndtri(rank) + rng.normal(0, np.sqrt(1 - _TONE_BY_ANCESTRY**2))
        return float(_DARKEST * ndtr(score))
