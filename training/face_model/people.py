"""Random people: weights over the MakeHuman targets that shape a head.

One sample is a mixture of the population, sex and age targets plus local targets (nose, mouth,
...). The weights act on any vertices of the base mesh, so the face model and whole heads drawn
from the same weights agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from facewright.training.face_model.cage import MM_PER_UNIT
from facewright.training.face_model.sources import FaceSources
from facewright.training.face_model.warps import WARPS

POPULATIONS = ("caucasian", "african", "asian")
#: Shares of the populations: Europe, the Middle East, South Asia and most of the Americas look most
#: like the first, so these are roughly the world's.
POPULATION_SHARES = (0.5, 0.2, 0.3)
#: Concentration of the Dirichlet distribution: many people are of mixed ancestry.
POPULATION_CONCENTRATION = 1.8
LOCAL_FOLDERS = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "cheek", "chin", "asym")
#: Opposite ends of one local control: (minus, plus).
_OPPOSITES = (
    ("-decr", "-incr"),
    ("-down", "-up"),
    ("-in", "-out"),
    ("-backward", "-forward"),
    ("-concave", "-convex"),
    ("-compress", "-uncompress"),
)
#: Controls left out: pose-like head motion, exaggerated age, ears and body parts.
_LEFT_OUT = (
    "trunk",
    "breast",
    "asym-ear",
    "asym-top",
    "head-trans",
    "head-back",
    "head-age",
    "head-angle",
)

#: Largest vertex displacement of one sigma of a local control, mm.
LOCAL_SIGMA_MM = 1.6
HEAD_SIGMA_MM = 2.3
ASYMMETRY_SIGMA_MM = 0.8
SIGMA_LIMITS = (0.04, 0.5)
#: Standard deviation of what a left control does on its own, in sigmas of the pair.
OWN_SIDE = 0.15
#: Standard deviation of the overall size, natural logarithm.
SIZE_SIGMA = 0.025


@dataclass(frozen=True)
class Control:
    """A local control: ``weight`` > 0 adds ``plus``, < 0 adds ``minus`` (None: one-sided).

    A warp is both: its negative weight subtracts it.
    """

    plus: str
    minus: str | None

    @property
    def name(self) -> str:
        """The control's name: its positive target's."""
        return self.plus


def find_controls(sources: FaceSources) -> list[Control]:
    """The local controls of the face, in the order of their target names."""
    names = [n for folder in LOCAL_FOLDERS for n in sources.target_names(folder)]
    known = set(names)
    controls = []
    paired: set[str] = set()
    for name in names:
        if name in paired or any(word in name for word in _LEFT_OUT):
            continue
        control = Control(name, None)
        opposites = _OPPOSITES + ((("-l", "-r"),) if name.startswith("asym/") else ())
        for minus, plus in opposites:
            for here, there, is_plus in ((plus, minus, True), (minus, plus, False)):
                if name.endswith(here) and name[: -len(here)] + there in known:
                    other = name[: -len(here)] + there
                    control = Control(name, other) if is_plus else Control(other, name)
                    paired.add(other)
        controls.append(control)
        paired.add(name)
    return controls + [Control(name, name) for name in WARPS]


def macro_names() -> list[str]:
    """Names of the targets that population, sex, age, weight and muscle mix."""
    names = []
    for sex in ("male", "female"):
        for age in ("child", "young", "old"):
            names += [f"macrodetails/{p}-{sex}-{age}" for p in POPULATIONS]
            names += [
                f"macrodetails/universal-{sex}-{age}-{muscle}muscle-{weight}weight"
                for muscle in ("min", "average", "max")
                for weight in ("min", "average", "max")
            ]
    return names


@dataclass(frozen=True, eq=False)
class People:
    """Sampled people.

    Attributes:
        macro: (N, M) weights of :func:`macro_names`.
        local: (N, L) signed weights of the controls, without the calibration.
        size: (N,) overall scale factors.
        populations: (N, 3) shares of POPULATIONS; male: (N,) share 0..1; old, child: (N,) shares.
        weight, muscle: (N,) -1 least to 1 most.
    """

    macro: np.ndarray
    local: np.ndarray
    size: np.ndarray
    populations: np.ndarray
    male: np.ndarray
    old: np.ndarray
    child: np.ndarray
    weight: np.ndarray
    muscle: np.ndarray

    def __len__(self) -> int:
        return len(self.size)


def macro_weights(
    populations: np.ndarray,
    male: float,
    ages: dict[str, float],
    muscle: float = 0.0,
    weight: float = 0.0,
) -> dict[str, float]:
    """Weights of the macro targets of one person.

    Args:
        populations: (3,) shares of POPULATIONS, summing to one.
        male: 0 female .. 1 male.
        ages: shares of "child", "young", "old", summing to one.
        muscle: -1 least .. 1 most muscular.
        weight: -1 lightest .. 1 heaviest.
    """

    def ends(value: float) -> dict[str, float]:
        return {"average": 1 - abs(value), "max" if value > 0 else "min": abs(value)}

    weights: dict[str, float] = {}
    for sex, sex_share in (("male", male), ("female", 1 - male)):
        for age, age_share in ages.items():
            for population, share in zip(POPULATIONS, populations, strict=True):
                weights[f"macrodetails/{population}-{sex}-{age}"] = sex_share * age_share * share
            for muscle_end, muscle_share in ends(muscle).items():
                for weight_end, weight_share in ends(weight).items():
                    name = f"macrodetails/universal-{sex}-{age}-{muscle_end}muscle-"
                    weights[f"{name}{weight_end}weight"] = (
                        sex_share * age_share * muscle_share * weight_share
                    )
    return weights


class Population:
    """Draws people and builds their vertices.

    Args:
        sources: the data.
        calibration: population -> control name -> signed weight added to its people; people of
            mixed ancestry get the mean by their shares.
        spread: control name -> factor on the control's standard deviation (1 where absent).

    Raises KeyError when a control does not exist.
    """

    def __init__(
        self,
        sources: FaceSources,
        calibration: Mapping[str, Mapping[str, float]],
        spread: Mapping[str, float],
    ) -> None:
        self._sources = sources
        self._reference = reference_head(sources)
        self._origin = eye_middle(sources, self._reference)
        self.controls = find_controls(sources)
        self.macros = macro_names()
        self._macro_index = {name: i for i, name in enumerate(self.macros)}
        names = [control.name for control in self.controls]
        unknown = set(spread).union(*calibration.values()) - set(names)
        if unknown:
            raise KeyError(f"no such controls: {sorted(unknown)}")
        self.offsets = np.array(
            [
                [calibration.get(population, {}).get(name, 0.0) for name in names]
                for population in POPULATIONS
            ]
        )
        self.sigma = np.array(
            [self._base_sigma(c) * spread.get(c.name, 1.0) for c in self.controls]
        )
        self._pairs = self._sided_pairs(names)

    def _base_sigma(self, control: Control) -> float:
        if control.name.startswith("asym/"):
            wanted = ASYMMETRY_SIGMA_MM
        elif control.name.startswith("head/"):
            wanted = HEAD_SIGMA_MM
        else:
            wanted = LOCAL_SIGMA_MM
        reach = max(
            np.linalg.norm(self._field(name), axis=1).max() * MM_PER_UNIT
            for name in (control.plus, control.minus)
            if name is not None
        )
        return float(np.clip(wanted / reach, *SIGMA_LIMITS))

    def _field(self, name: str) -> np.ndarray:
        """(S, 3) base-mesh displacement of a target or warp."""
        if name in WARPS:
            return WARPS[name].field(self._reference, self._origin)
        return self._sources.target(name)

    @staticmethod
    def _sided_pairs(names: list[str]) -> list[tuple[int, int]]:
        index = {name: i for i, name in enumerate(names)}
        return [
            (i, index[name.replace("/l-", "/r-")]) for name, i in index.items() if "/l-" in name
        ]

    def sample(self, rng: np.random.Generator, n: int) -> People:
        """Draw ``n`` people.

        Populations Dirichlet, sex Beta(0.5, 0.5), 8% juveniles, the others young to old.
        """
        share = POPULATION_CONCENTRATION * np.array(POPULATION_SHARES)
        populations = rng.dirichlet(share, n)
        male = rng.beta(0.5, 0.5, n)
        child = np.where(rng.random(n) < 0.08, rng.uniform(0.1, 0.5, n), 0.0)
        old = np.where(child > 0, 0.0, np.minimum(rng.beta(0.8, 4.0, n), 0.8))
        weight = np.clip(rng.normal(0, 0.32, n), -1, 1)
        muscle = np.clip(rng.normal(0, 0.30, n), -1, 1)

        local = rng.normal(size=(n, len(self.controls))) * self.sigma
        for left, right in self._pairs:
            own = OWN_SIDE * local[:, [left, right]]
            shared = rng.normal(size=n) * self.sigma[left]
            local[:, [left, right]] = shared[:, None] + own
        for i, control in enumerate(self.controls):
            if control.minus is None:
                local[:, i] = np.where(rng.random(n) < 0.5, 0.8 * np.abs(local[:, i]), 0.0)
        size = np.exp(rng.normal(0, SIZE_SIGMA, n))
        people = People(
            macro=np.zeros((n, len(self.macros))),
            local=np.clip(local, -1, 1),
            size=size,
            populations=populations,
            male=male,
            old=old,
            child=child,
            weight=weight,
            muscle=muscle,
        )
        return replace(people, macro=self.macro_of(people))

    def macro_of(self, people: People) -> np.ndarray:
        """(N, M) macro weights that follow from people's population, sex, age and build."""
        macro = np.zeros((len(people), len(self.macros)))
        for i in range(len(people)):
            child, old = float(people.child[i]), float(people.old[i])
            weights = macro_weights(
                people.populations[i],
                float(people.male[i]),
                {"young": 1 - old - child, "old": old, "child": child},
                float(people.muscle[i]),
                float(people.weight[i]),
            )
            for name, value in weights.items():
                macro[i, self._macro_index[name]] = value
        return macro

    def displacements(self, operator: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Targets seen through a sparse (n, S) operator on base vertices, mm, float32.

        Returns:
            macro (M, n, 3), plus (L, n, 3), minus (L, n, 3).
        """

        def seen(name: str) -> np.ndarray:
            return (operator @ self._field(name) * MM_PER_UNIT).astype(np.float32)

        def opposite(control: Control) -> np.ndarray:
            if control.minus is None:
                return np.zeros((operator.shape[0], 3), np.float32)
            return -seen(control.plus) if control.minus == control.plus else seen(control.minus)

        return (
            np.stack([seen(name) for name in self.macros]),
            np.stack([seen(control.plus) for control in self.controls]),
            np.stack([opposite(control) for control in self.controls]),
        )

    def heads(self, people: People, operator: sp.csr_matrix) -> np.ndarray:
        """Vertices of ``people`` through a sparse (n, S) operator: (N, n, 3) float32 mm.

        Base-mesh origin and axes, before any alignment.
        """
        macro, plus, minus = (d.reshape(len(d), -1) for d in self.displacements(operator))
        base = (operator @ self._sources.mesh.vertices * MM_PER_UNIT).ravel()
        local = people.local + people.populations @ self.offsets
        flat = (
            people.macro.astype(np.float32) @ macro
            + np.maximum(local, 0).astype(np.float32) @ plus
            + np.maximum(-local, 0).astype(np.float32) @ minus
        )
        vertices = (base + flat).reshape(len(people), -1, 3)
        return (vertices * people.size[:, None, None]).astype(np.float32)


def reference_head(sources: FaceSources) -> np.ndarray:
    """(S, 3) float64 base-mesh units: the plain average young adult, exactly symmetric.

    Topology (crop, landmarks) is decided on this head, so that it does not move with calibration.
    """
    weights = macro_weights(np.full(3, 1 / 3), 0.5, {"young": 1.0})
    vertices = sources.mesh.vertices.copy()
    for name, weight in weights.items():
        if weight:
            vertices += weight * sources.target(name)
    return (vertices + vertices[sources.mesh.mirror] * [-1, 1, 1]) / 2


def eye_middle(sources: FaceSources, vertices: np.ndarray) -> np.ndarray:
    """(3,) mm: the middle between the eyeballs of base-mesh ``vertices`` (S, 3)."""
    mesh = sources.mesh
    eyeballs = np.isin(mesh.groups, ["helper-l-eye", "helper-r-eye"])
    return vertices[np.unique(mesh.quads[eyeballs])].mean(axis=0) * MM_PER_UNIT
