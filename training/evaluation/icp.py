"""Registration of a mesh to the points of a scan: trimmed ICP on the point-to-surface distance.

Every scan point pulls at its nearest point of the mesh (Besl & McKay 1992), and of N points only
the nearest share counts (Chetverikov et al. 2005, trimmed ICP), since a scan shows hair and neck
that a face model does not have.  The step is not the closed-form one of corresponding points,
which creeps along the surface, but Levenberg-Marquardt on the distances along their own
directions (Fitzgibbon 2003): a point in front of a surface does not hold it sideways.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from facewright.models.arrays import DoubleArray
from facewright.training.evaluation.errors import ScanError
from facewright.training.evaluation.nearest import Nearest, Surface
from facewright.training.evaluation.similarity import Similarity

# A first registration with this many points of the scan comes near enough for few steps with all.
COARSE_POINTS = 3000
MOST_STEPS = 60
# A step that moves the mesh's farthest parts by less than this share of the scan's radius is the
# last: below a thousandth of a millimeter on a face.
_SMALL_STEP = 1e-5
# Where a point lies on the surface (share of the scan's radius), its direction is the normal.
_ON_SURFACE = 1e-12
_LEAST_DAMPING, _DAMPING, _MOST_DAMPING = 1e-6, 1e-4, 1e6
_UNDETERMINED = 1e-6
# Of scale, as a factor to either side of the start, which comes from landmarks.
_SCALE_RANGE = 1.6


@dataclass(frozen=True, eq=False)
class Registration:
    """Where a mesh has come to lie.

    Attributes:
        pose: maps the mesh to the scan.
        nearest: of every scan point on the surface, in the mesh's own space.
        distances: (N,) of every scan point to the surface, in the scan's unit.
    """

    pose: Similarity
    nearest: Nearest
    distances: DoubleArray


def register(
    surface: Surface,
    scan: DoubleArray,
    start: Similarity,
    *,
    scaled: bool,
    trim: float,
) -> Registration:
    """Bring a mesh onto a scan.

    Args:
        surface: the mesh.
        scan: (N, 3) points, finite.
        start: maps the mesh near the scan.
        scaled: fit an isotropic scale too; else that of `start` stays.
        trim: share of the scan points, the farthest ones, that do not count; in [0, 1).

    Raises:
        ScanError: the scale has run away from its start.
    """
    pose = start
    if len(scan) > 2 * COARSE_POINTS:
        some = scan[np.random.default_rng(0).choice(len(scan), COARSE_POINTS, replace=False)]
        pose = _descend(surface, some, start, scaled, trim).pose
    result = _descend(surface, scan, pose, scaled, trim)
    change = float(result.pose.scale / start.scale)
    if not 1 / _SCALE_RANGE < change < _SCALE_RANGE:
        raise ScanError(
            f"the alignment changed the scale of the landmarks' fit by a factor of {change:.3g}:"
            " scan and landmarks do not belong together, or the scan is no face"
        )
    return result


def _descend(
    surface: Surface, scan: DoubleArray, start: Similarity, scaled: bool, trim: float
) -> Registration:
    center = scan.mean(0)
    radius = float(np.linalg.norm(scan - center, axis=1).max())
    kept = max(int(np.ceil((1 - trim) * len(scan))), 1)
    current = _measure(surface, scan, start, None)
    energy, counting = _energy(current, kept)
    damping = _DAMPING
    for _ in range(MOST_STEPS):
        slopes, rest = _linearise(surface, scan, current, counting, center, radius, scaled)
        normal_matrix, target = slopes.T @ slopes, slopes.T @ rest
        while damping < _MOST_DAMPING:
            # What the distances do not determine (a sphere's turn) must stay, hence the floor.
            diagonal = np.diag(normal_matrix)
            floor = _UNDETERMINED * max(float(diagonal.max()), np.finfo(float).tiny)
            damped = normal_matrix + damping * np.diag(np.maximum(diagonal, floor))
            step = np.linalg.solve(damped, target)
            trial = _measure(
                surface, scan, _moved(current.pose, step, center, radius), current.nearest.triangles
            )
            trial_energy, trial_counting = _energy(trial, kept)
            if trial_energy < energy:
                break
            if np.abs(step).max() < _SMALL_STEP:
                return current
            damping *= 10
        else:
            return current
        current, energy, counting = trial, trial_energy, trial_counting
        damping = max(damping / 10, _LEAST_DAMPING)
        if np.abs(step).max() < _SMALL_STEP:
            return current
    return current


def _measure(
    surface: Surface, scan: DoubleArray, pose: Similarity, guess: NDArray[np.int64] | None
) -> Registration:
    # The scan goes to the mesh and not the other way: the search tree stays as it is.
    nearest = surface.nearest(pose.undo(scan), guess)
    return Registration(pose, nearest, float(pose.scale) * nearest.distances)


def _energy(state: Registration, kept: int) -> tuple[float, NDArray[Any]]:
    """Sum of the `kept` smallest squared distances, and which they are."""
    if kept == len(state.distances):
        return float((state.distances**2).sum()), np.arange(kept)
    smallest = np.argpartition(state.distances, kept - 1)[:kept]
    return float((state.distances[smallest] ** 2).sum()), smallest


def _linearise(
    surface: Surface,
    scan: DoubleArray,
    state: Registration,
    counting: NDArray[Any],
    center: DoubleArray,
    radius: float,
    scaled: bool,
) -> tuple[DoubleArray, DoubleArray]:
    """Derivatives (K, 6 or 7) of the surface's advance towards each scan point, and distances (K,).

    Columns: turn about the scan's center (radians), shift (radii), logarithm of scale.
    """
    feet = state.pose.apply(state.nearest.points[counting])
    offsets = scan[counting] - feet
    distances = state.distances[counting]
    clear = distances > _ON_SURFACE * radius
    normals = surface.normals[state.nearest.triangles[counting]] @ state.pose.rotation.T
    directions = np.where(clear[:, None], offsets / np.where(clear, distances, 1)[:, None], normals)
    arms = (feet - center) / radius
    columns = [np.cross(arms, directions), directions]
    if scaled:
        columns.append((arms * directions).sum(1, keepdims=True))
    return np.concatenate(columns, 1), np.where(clear, distances, 0) / radius


def _moved(pose: Similarity, step: DoubleArray, center: DoubleArray, radius: float) -> Similarity:
    turn = Rotation.from_rotvec(step[:3]).as_matrix()
    growth = np.exp(step[6]) if len(step) == 7 else 1.0
    return Similarity(
        np.asarray(growth * pose.scale),
        turn @ pose.rotation,
        center + growth * turn @ (pose.translation - center) + radius * step[3:6],
    )
