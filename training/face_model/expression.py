"""The expression space: 51 ARKit units and 34 MPFB units, combined at random and reduced to 64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facewright.training.face_model.cage import MM_PER_UNIT
from facewright.training.face_model.components import Components, mirror_field, symmetric_components
from facewright.training.face_model.lids import close_lids
from facewright.training.face_model.mouth import JAW_MOVES, LOWER_TEETH, carry_by_jaw, jaw_motion
from facewright.training.face_model.people import POPULATIONS
from facewright.training.face_model.sources import FaceSources
from facewright.training.face_model.topology import Topology

N_EXPRESSION = 64
N_COMBINATIONS = 3000
SEED = 20190321
#: Lids move little but show much: their weight in the metric.
LID_WEIGHT = 6.0
#: Chance that the other side's unit joins in.
BOTH_SIDES = 0.75


@dataclass(frozen=True, eq=False)
class ExpressionSpace:
    """Expression basis and named units on the cage.

    Attributes:
        names: K unit names: ARKit's own ("jawOpen"), then "mpfb/...".
        units: (K, C, 3) mm, displacement of each unit at full strength.
        components: basis (64, C, 3) and coefficients (N, 64) of the random combinations.
        unit_coefficients: (K, 64) coefficients that reproduce each unit.
    """

    names: tuple[str, ...]
    units: np.ndarray
    components: Components
    unit_coefficients: np.ndarray


def unit_names(sources: FaceSources) -> tuple[str, ...]:
    """Names of the units, ARKit's first; without the tongue, which the face does not have."""
    arkit = [n.split("/")[1] for n in sources.target_names("arkit") if "tongue" not in n]
    folder = f"expression/units/{POPULATIONS[0]}"
    return tuple(arkit + [f"mpfb/{n.rpartition('/')[2]}" for n in sources.target_names(folder)])


def unit_displacement(sources: FaceSources, name: str) -> np.ndarray:
    """(S, 3) base-mesh displacement of a unit, mm; MPFB's are the mean over populations."""
    if not name.startswith("mpfb/"):
        return sources.target(f"arkit/{name}") * np.float32(MM_PER_UNIT)
    short = name.split("/")[1]
    variants = [sources.target(f"expression/units/{p}/{short}") for p in POPULATIONS]
    return np.mean(variants, axis=0) * np.float32(MM_PER_UNIT)


def other_side(names: tuple[str, ...]) -> np.ndarray:
    """(K,) index of the unit of the other side; a unit without sides maps to itself."""
    index = {name: i for i, name in enumerate(names)}
    swaps = (("Left", "Right"), ("Right", "Left"), ("-left-", "-right-"), ("-right-", "-left-"))
    pairs = np.arange(len(names))
    for name, i in index.items():
        for here, there in swaps:
            if here in name and name.replace(here, there) in index:
                pairs[i] = index[name.replace(here, there)]
    return pairs


def sample_activations(rng: np.random.Generator, names: tuple[str, ...], n: int) -> np.ndarray:
    """(n, K) random unit strengths in [0, 1]: one to five at a time, usually on both sides.

    ``mouthClose`` closes the lips of an open jaw, so it appears with ``jawOpen`` alone.
    """
    strengths = np.zeros((n, len(names)))
    pairs = other_side(names)
    limit = np.array([0.7 if name.startswith("mpfb/") else 1.0 for name in names])
    for row in strengths:
        for unit in rng.choice(len(names), rng.integers(1, 6), replace=False):
            row[unit] = rng.uniform(0, limit[unit])
            if pairs[unit] != unit and rng.random() < BOTH_SIDES:
                row[pairs[unit]] = np.clip(row[unit] + rng.normal(0, 0.1), 0, 1)
    closing = np.where(rng.random(n) < 0.1, rng.uniform(0.3, 1, n), 0)
    strengths[:, names.index("mouthClose")] = closing * strengths[:, names.index("jawOpen")]
    return strengths


def unit_on_cage(
    sources: FaceSources, topology: Topology, mean: np.ndarray, name: str, scale: float
) -> np.ndarray:
    """(C, 3) mm: a unit's displacement; the jaw alone moves teeth and tongue, and rigidly.

    Args:
        sources: the data.
        topology: cage and dense mesh.
        mean: (C, 3) mm, cage of the mean face.
        name: of the unit.
        scale: size of the face over that of the base mesh's.
    """
    cage, mesh = topology.cage, sources.mesh
    displacement = scale * unit_displacement(sources, name)
    unit = cage.source @ displacement
    # The skin around the mouth carries the inside of the mouth in people, not in expressions.
    unit[cage.inner] = displacement[cage.base_index[cage.inner]]
    unit[np.concatenate([cage.upper_teeth, cage.lower_teeth, cage.tongue])] = 0
    row = np.unique(mesh.quads[mesh.groups == LOWER_TEETH])
    if np.linalg.norm(displacement[row], axis=1).max() > JAW_MOVES:
        before = scale * topology.reference[row] * MM_PER_UNIT
        turn, shift = jaw_motion(before, displacement[row].astype(np.float64))
        jaw = np.concatenate([cage.lower_teeth, cage.tongue])
        unit[jaw] = carry_by_jaw(mean, cage.lower_teeth, jaw, turn, shift)
    return unit


def build_expression(
    sources: FaceSources,
    topology: Topology,
    mean: np.ndarray,
    metric: np.ndarray,
    scale: float,
) -> ExpressionSpace:
    """Combine the units at random and take 64 components, uncentered: zero is the neutral face.

    Args:
        sources: the data.
        topology: cage and dense mesh.
        mean: (C, 3) mm, cage of the mean face, on which lids close and the jaw turns.
        metric: (C,) weights.
        scale: size of the face over that of the base mesh's.
    """
    names = unit_names(sources)
    mirror = topology.cage.mirror
    units = np.stack([unit_on_cage(sources, topology, mean, name, scale) for name in names])
    pairs = other_side(names)
    units = (units + mirror_field(units[pairs], mirror, flip=True)) / 2
    units = close_lids(units, names, mean, topology)
    strengths = sample_activations(np.random.default_rng(SEED), names, N_COMBINATIONS)
    fields = np.tensordot(strengths, units, 1)

    lids = [i for i, name in enumerate(names) if name.startswith("eyeBlink")]
    on_lid = np.linalg.norm(units[lids], axis=2).max(axis=0) > 1.0
    weights = metric * np.where(on_lid, LID_WEIGHT, 1.0)
    weights = np.maximum(weights, 0.3 * np.median(weights))
    weights = (weights + weights[mirror]) / 2
    components = symmetric_components(fields, weights, mirror, N_EXPRESSION, flip=True)
    root = np.sqrt(weights)[None, :, None]
    unit_coefficients = np.linalg.lstsq(
        (components.basis * root).reshape(N_EXPRESSION, -1).T,
        (units * root).reshape(len(names), -1).T,
        rcond=None,
    )[0].T
    return ExpressionSpace(names, units, components, unit_coefficients)
