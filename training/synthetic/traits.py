"""What a face's shape says about its person: sex, age, ancestry, build.

On photographs looks agree with shapes: beards grow on male faces, hair greys on old ones. The
face model's identity components come from sampled people of known sex, age and population, so
a linear regression tells these from identity coefficients, and looks are drawn to agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facewright.training.face_model.identity import N_PEOPLE, SEED
from facewright.training.face_model.people import People, Population, macro_names

FloatArray = NDArray[np.float32]

NAMES = ("male", "old", "child", "european", "african", "asian", "weight")
_RIDGE = 20.0


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


class _Census(Population):
    """The face model's population without local controls: sex, age, ancestry and build only."""

    def __init__(self) -> None:
        self.controls = []
        self.macros = macro_names()
        self._macro_index = {name: i for i, name in enumerate(self.macros)}
        self.sigma = np.zeros(0)
        self._pairs = []


def sampled_people(count: int) -> People | None:
    """The people behind a head model's ``identity_samples``, row by row.

    They are drawn again from the builder's seed (`training.face_model.identity`), which draws
    what is wanted here before anything that depends on the mesh. None when ``count`` is not the
    builder's: such a head's samples are of unknown people.
    """
    return _Census().sample(np.random.default_rng(SEED), N_PEOPLE) if count == N_PEOPLE else None


def trait_table(people: People) -> NDArray[np.float64]:
    """(N, 7) the columns :data:`NAMES` of people."""
    return np.column_stack(
        [people.male, people.old, people.child, people.populations, people.weight]
    )


class TraitModel:
    """Regression from identity coefficients to traits.

    Args:
        samples: (N, 80) identity coefficients.
        table: (N, 7) of :func:`trait_table`, or None when nothing is known: traits then are
            drawn as in the population, whatever the shape.

    Attributes:
        explained: (7,) share of each trait's variance that the shape tells; zeros without table.
    """

    def __init__(self, samples: FloatArray, table: NDArray[np.float64] | None) -> None:
        if table is None:
            people = _Census().sample(np.random.default_rng(SEED), len(samples))
            table, weights = trait_table(people), np.zeros((samples.shape[1], len(NAMES)))
        else:
            x = samples.astype(np.float64)
            gram = x.T @ x + _RIDGE * np.eye(x.shape[1])
            weights = np.linalg.solve(gram, x.T @ (table - table.mean(0)))
        self._mean = table.mean(0)
        self._spread = table.std(0)
        self._weights = weights
        predicted = samples.astype(np.float64) @ weights
        self._residual = (table - self._mean - predicted).std(0)
        self.explained = 1 - (self._residual / self._spread) ** 2

    def expected(self, identity: FloatArray) -> NDArray[np.float64]:
        """(7,) what the shape (80,) alone says."""
        return self._mean + identity.astype(np.float64) @ self._weights

    def draw(self, rng: np.random.Generator, identity: FloatArray) -> Traits:
        """Traits of the person with these coefficients (80,)."""
        noise = rng.standard_normal(len(NAMES)) * self._residual
        male, old, child, *shares, _ = self.expected(identity) + noise
        ancestry = np.clip(shares, 0.02, None) ** 1.5
        ancestry /= ancestry.sum()
        # European shares stand for the Middle East and South Asia too: a wide range of skin.
        typical = np.array([0.16, 0.85, 0.26])
        spread = float(ancestry @ [0.11, 0.16, 0.10])
        melanin = float(ancestry @ typical) + rng.normal(0, spread)
        if rng.random() < 0.15:
            melanin += rng.uniform(0, 0.4)
        return Traits(
            male=float(np.clip(male, 0, 1)),
            age=float(np.clip(0.12 + 1.35 * old + rng.normal(0, 0.16), 0, 1)) * (child < 0.2),
            child=float(np.clip(child, 0, 0.5)),
            melanin=float(np.clip(melanin, 0.02, 1.15)),
            dark_hair=bool(rng.random() < ancestry[1:].sum() or melanin > 0.42),
        )
