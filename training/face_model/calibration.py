"""Bring the mean face and its spread to the published norms.

The MakeHuman heads have a stubby nose, a short lower face, a wide skull and a flat mouth. The
weights of the local controls (smooth fields themselves) are solved so that the mean of the sampled
people has the published distances; then factors on their standard deviations are solved so that
the distances vary as published. The result is stored in ``calibration.json``, so that a build does
not depend on the solver.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from scipy.optimize import least_squares, lsq_linear

from facewright.training.face_model.anthropometry import (
    DEPTH_LAYOUT,
    NORMS,
    PUPIL_DISTANCE,
    Measure,
    pooled_norm,
    population_norm,
)
from facewright.training.face_model.people import POPULATION_SHARES, POPULATIONS, People, Population
from facewright.training.face_model.sources import FaceSources
from facewright.training.face_model.topology import Topology

FILE = Path(__file__).with_name("calibration.json")
SEED = 19940101
N_PEOPLE = 4000

#: Standard error allowed to a distance, mm, where it is not 1: vermilion borders are vague on the
#: model, and a zygion under soft tissue lies further out than under a calliper.
TOLERANCE = {("ls", "sto"): 2.5, ("sto", "li"): 2.0, ("zy", "zy"): 1.5}
PUPIL_TOLERANCE = 0.5
LAYOUT_TOLERANCE = 3.0
#: The mouth corners' depth is what the heads get most wrong.
CORNER_TOLERANCE = 1.4
#: Height of d1, d2, d3 above the straight line from n to prn, mm: an average bridge is nearly so.
BRIDGE = {"d1": -0.4, "d2": -0.5, "d3": -0.3}
BRIDGE_TOLERANCE = 0.6
PITCH_TOLERANCE = 0.1

#: Cost of a control's weight in its own sigmas; larger for controls that would make creases.
COST = 0.6
COSTS = {"eyebrows/": 2.4, "eye-corner": 2.4, "upperlip": 2.4, "mouth-scale-horiz": 2.4}
#: How much dearer it is for a population to differ from everybody.
POPULATION_COST = 2.0
LARGEST_WEIGHT = 0.9
LARGEST_SIGMAS = 3.5

#: Limits of the factors on standard deviations, and the weight that keeps them near one.
SPREAD_LIMITS = (0.4, 1.5)
#: Thin lips turn inside out when they vary more.
LARGEST_LIP_SPREAD = 0.6
#: Factor for the folds of the upper lid, for the same reason.
FOLD_SPREAD = 0.65
SPREAD_STIFFNESS = 0.1
#: Controls whose spread is solved for.
SPREAD_FOLDERS = ("head/", "eyes/", "nose/", "mouth/", "chin/", "warp/")


@dataclass(frozen=True)
class Calibration:
    """Weights added to people's controls, and factors on the controls' standard deviations.

    Attributes:
        offsets: population -> control -> weight.
        spread: control -> factor.
    """

    offsets: dict[str, dict[str, float]]
    spread: dict[str, float]

    def save(self, path: Path = FILE) -> None:
        """Write JSON."""
        data = {"offsets": self.offsets, "spread": self.spread}
        path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")

    @classmethod
    def load(cls, path: Path = FILE) -> Calibration:
        """Read JSON."""
        data = json.loads(path.read_text())
        return cls(data["offsets"], data["spread"])


def calibrate(sources: FaceSources, topology: Topology) -> Calibration:
    """Solve for offsets (everybody's, then what each population needs beyond), then spread."""
    measure = Measure.on(topology)
    operator = (measure.operator @ topology.dense.matrix @ topology.cage.source).tocsr()
    population = Population(sources, {}, {})
    solver = _OffsetSolver(population, measure, operator)
    people = population.sample(np.random.default_rng(SEED), N_PEOPLE)
    common = solver.solve(solver.mean_points(people), None, np.zeros(solver.n_free))
    offsets = {}
    for row, name in enumerate(POPULATIONS):
        pure = replace(people, populations=np.eye(len(POPULATIONS))[[row] * len(people)])
        pure = replace(pure, macro=population.macro_of(pure))
        offsets[name] = solver.named(solver.solve(solver.mean_points(pure), name, common))
    return Calibration(offsets, _solve_spread(sources, measure, operator, offsets))


class _OffsetSolver:
    """Least squares for the weights of the symmetric two-sided controls, left and right tied."""

    def __init__(self, population: Population, measure: Measure, operator: sp.csr_matrix) -> None:
        self._population, self._measure, self._operator = population, measure, operator
        names = [control.name for control in population.controls]
        self._tied = []
        for i, control in enumerate(population.controls):
            if control.minus is None or control.name.startswith("asym/") or "/r-" in control.name:
                continue
            pair = [names.index(control.name.replace("/l-", "/r-"))] if "/l-" in names[i] else []
            self._tied.append([i, *pair])
        _, plus, minus = (d.astype(np.float64) for d in population.displacements(operator))
        self._forward = np.stack([plus[tied].sum(axis=0) for tied in self._tied])
        self._backward = np.stack([minus[tied].sum(axis=0) for tied in self._tied])
        self._sigma = population.sigma[[tied[0] for tied in self._tied]]
        self._cost = np.full(len(self._tied), COST)
        for part, value in COSTS.items():
            self._cost[[part in names[tied[0]] for tied in self._tied]] = value

    @property
    def n_free(self) -> int:
        """Number of weights solved for."""
        return len(self._tied)

    def mean_points(self, people: People) -> np.ndarray:
        """(2P + 2, 3) mean measured points of people without calibration."""
        return self._population.heads(people, self._operator).mean(axis=0, dtype=np.float64)

    def named(self, weights: np.ndarray) -> dict[str, float]:
        """Weights by control name, rounded; zeros left out."""
        controls = self._population.controls
        return {
            controls[i].name: round(float(weight), 4)
            for tied, weight in zip(self._tied, weights, strict=True)
            for i in tied
            if round(float(weight), 4)
        }

    def solve(self, mean: np.ndarray, population: str | None, start: np.ndarray) -> np.ndarray:
        """(n_free,) weights that bring ``mean`` (2P + 2, 3) to the norms.

        Args:
            mean: measured points without calibration.
            population: whose norms; None for the pooled norms and the depth layout.
            start: weights that cost nothing.
        """
        limit = np.minimum(LARGEST_WEIGHT / self._sigma, LARGEST_SIGMAS)
        dearness = 1.0 if population is None else POPULATION_COST

        def residuals(parameters: np.ndarray) -> np.ndarray:
            sigmas, pitch = parameters[:-1], parameters[-1]
            points = self._moved(mean, sigmas * self._sigma)
            errors = self._distance_errors(points, population)
            profile = self._measure.profile(points, pitch)
            errors += _bridge_errors(profile)
            if population is None:
                errors += _layout_errors(profile)
            change = dearness * self._cost * (sigmas - start / self._sigma)
            return np.concatenate([errors, change, [pitch / PITCH_TOLERANCE]])

        bounds = np.append(limit, 0.3)
        first = np.append(np.clip(start / self._sigma, -0.99 * limit, 0.99 * limit), 0.0)
        solution = least_squares(residuals, first, bounds=(-bounds, bounds))
        return solution.x[:-1] * self._sigma

    def _moved(self, mean: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return (
            mean
            + np.tensordot(np.maximum(weights, 0), self._forward, 1)
            + np.tensordot(np.maximum(-weights, 0), self._backward, 1)
        )

    def _distance_errors(self, points: np.ndarray, population: str | None) -> list[float]:
        errors = []
        for pair in NORMS:
            if population is None:
                wanted: float | None = pooled_norm(pair).mean
            else:
                wanted = population_norm(pair, population)
            if wanted is not None:
                error = self._measure.distance(points, pair) - wanted
                errors.append(float(error) / TOLERANCE.get(pair, 1.0))
        pupils = float(self._measure.pupil_distance(points))
        return [*errors, (pupils - PUPIL_DISTANCE) / PUPIL_TOLERANCE]


def _layout_errors(profile: dict[str, np.ndarray]) -> list[float]:
    errors: list[float] = []
    for name, target in DEPTH_LAYOUT.items():
        tolerance = CORNER_TOLERANCE if name == "ch" else LAYOUT_TOLERANCE
        errors += list((profile[name] - target) / tolerance)
    return errors


def _bridge_errors(profile: dict[str, np.ndarray]) -> list[float]:
    along = profile["prn"] - profile["n"]
    outward = np.array([-along[1], along[0]]) / np.linalg.norm(along)
    outward *= np.sign(outward[1])
    return [
        float((profile[name] - profile["n"]) @ outward - height) / BRIDGE_TOLERANCE
        for name, height in BRIDGE.items()
    ]


def _solve_spread(
    sources: FaceSources,
    measure: Measure,
    operator: sp.csr_matrix,
    offsets: dict[str, dict[str, float]],
) -> dict[str, float]:
    """Factors on standard deviations that bring the distances' variances to the norms'.

    To first order a distance's variance is that due to population, sex, age and size plus the sum
    over controls of (slope x sigma)^2, which is linear in the squared factors.
    """
    population = Population(sources, offsets, {})
    people = population.sample(np.random.default_rng(SEED), N_PEOPLE)
    people.local[:] = 0
    average = population.heads(people, operator).astype(np.float64)
    _, plus, minus = (d.astype(np.float64) for d in population.displacements(operator))
    # Around a calibrated weight only one of a control's two targets acts.
    weight = (np.array(POPULATION_SHARES) @ population.offsets)[:, None, None]
    slope = np.where(weight > 0, plus, np.where(weight < 0, -minus, (plus - minus) / 2))

    pairs = list(NORMS)
    mean = average.mean(axis=0)
    groups = sorted({control.name.replace("/r-", "/l-") for control in population.controls})
    group_of = [groups.index(c.name.replace("/r-", "/l-")) for c in population.controls]
    joint = np.zeros((len(pairs), len(groups)))
    for field, sigma, group in zip(slope, population.sigma, group_of, strict=True):
        for row, pair in enumerate(pairs):
            ahead, behind = (measure.distance(mean + s * sigma * field, pair) for s in (0.5, -0.5))
            joint[row, group] += ahead - behind
    present = np.array([measure.distance(average, pair).var() for pair in pairs])
    wanted = np.array([pooled_norm(pair).deviation ** 2 for pair in pairs])
    solved = [i for i, name in enumerate(groups) if name.startswith(SPREAD_FOLDERS)]
    fixed = np.setdiff1d(np.arange(len(groups)), solved)
    present += (joint[:, fixed] ** 2).sum(axis=1)

    stiffness = SPREAD_STIFFNESS * np.eye(len(solved))
    system = np.vstack([joint[:, solved] ** 2 / wanted[:, None], stiffness])
    right = np.concatenate([(wanted - present) / wanted, stiffness.sum(axis=1)])
    low, high = SPREAD_LIMITS
    highest = [LARGEST_LIP_SPREAD if "lip" in groups[i] else high for i in solved]
    squared = lsq_linear(system, right, bounds=(low**2, np.square(highest))).x
    factors = dict(zip((groups[i] for i in solved), np.sqrt(squared), strict=True))
    factors |= {name: FOLD_SPREAD for name in groups if "fold" in name or "epicanthus" in name}
    return {
        control.name: round(float(factors[name]), 3)
        for control in population.controls
        if abs(factors.get(name := control.name.replace("/r-", "/l-"), 1.0) - 1) > 0.01
    }
