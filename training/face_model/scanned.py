"""Scanned people on the project's own mesh: what the face model learns its identity space from.

`register_scans` brings the head cage onto the mean of the scans and carries their modes over. The
result is stored in ``scanned_heads.npz``, so that a build does not need the scans themselves. It
is a statistic of scans under the MIT license, whose notice lies beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from facewright.training.evaluation.similarity import fit_similarity
from facewright.training.face_model.cage import EYEBALL, POCKET, SKIN, Cage
from facewright.training.face_model.components import mirror_field
from facewright.training.face_model.lids import sphere
from facewright.training.face_model.people import Population
from facewright.training.face_model.registration import (
    INNER,
    Correspondence,
    Registration,
    Target,
    Template,
)
from facewright.training.face_model.rigid import align, face_metric, face_rows
from facewright.training.face_model.scans import LEFT_EYE, RIGHT_EYE, ScanStatistics
from facewright.training.face_model.subdivision import adjacency, subdivide
from facewright.training.face_model.topology import Topology

FILE = Path(__file__).with_name("scanned_heads.npz")
N_ADULTS = 600
SEED = 20200901
#: The eyeball on the scans' mean: radius, and how far its front lies behind the scans' sclera, mm.
#: The scans' balls are 3.5 mm too large for lids that have a thickness.
EYE_RADIUS, EYE_BEHIND = 12.3, 0.5
#: Smoothing of the corners of the mouth, where cage edges are 0.3 mm long and triangles turn over:
#: reach (mm), strength and rounds.
CORNERS = (60, 64)
CORNER_REACH, CORNER_STRENGTH, CORNER_ROUNDS = 2.5, 0.6, 6
#: Corners of the box, mm from the middle between the eyes, whose vertices are not matched: ears.
EAR_BOX = ((66.0, -62.0, -80.0), (130.0, 32.0, -8.0))


@dataclass(frozen=True, eq=False)
class ScannedHeads:
    """Mean and modes of scanned people as vertices of the head cage.

    Attributes:
        mean: (H, 3) float64 mm, symmetric, upright in the face model's frame.
        modes: (M, H, 3) float64 mm per sigma.
        scale: size of the scans' heads over that of the base mesh's.
        base_index: (H,) base-mesh vertex of every row: all but teeth and tongue, which the skin
            around the mouth carries.
    """

    mean: NDArray[np.float64]
    modes: NDArray[np.float64]
    scale: float
    base_index: NDArray[np.int64]

    def save(self, path: Path = FILE) -> None:
        """Write the file: modes as float16, within 0.01 mm."""
        np.savez_compressed(
            path,
            mean=self.mean.astype(np.float32),
            modes=self.modes.astype(np.float16),
            scale=np.float64(self.scale),
            base_index=self.base_index.astype(np.int32),
        )

    @classmethod
    def load(cls, path: Path = FILE) -> ScannedHeads:
        """Read the file that :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as data:
            return cls(
                data["mean"].astype(np.float64),
                data["modes"].astype(np.float64),
                float(data["scale"]),
                data["base_index"].astype(np.int64),
            )

    def on(self, cage: Cage) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean (C, 3) and modes (M, C, 3) on a cage; zero where nothing was registered."""
        row = np.full(int(max(self.base_index.max(), cage.base_index.max())) + 1, -1)
        row[self.base_index] = np.arange(len(self.base_index))
        rows = row[cage.base_index]
        known = (rows >= 0)[:, None]
        return np.where(known, self.mean[rows], 0), np.where(known, self.modes[:, rows], 0)


@dataclass(frozen=True, eq=False)
class ScanRegistration:
    """A finished registration, to be measured and looked at.

    Attributes:
        heads: the result. scans: in the face model's frame. registration: its machinery.
        match: where the registered skin lies on the scans' mean.
    """

    heads: ScannedHeads
    scans: ScanStatistics
    registration: Registration
    match: Correspondence


def adult_mean(topology: Topology, cage: Cage, population: Population) -> NDArray[np.float64]:
    """(H, 3) mm: the mean adult of the base mesh's own people, origin between the eyeballs."""
    people = population.sample(np.random.default_rng(SEED), N_ADULTS)
    people = people.take(np.flatnonzero(people.child == 0))
    heads = population.heads(people, cage.source).astype(np.float64)
    mean = align(heads, face_metric(topology, cage), cage.mirror).mean(axis=0)
    mean = (mean + mirror_field(mean, cage.mirror, flip=True)) / 2
    return mean - mean[np.unique(cage.quads[cage.parts == EYEBALL])].mean(axis=0)


def make_template(
    topology: Topology, cage: Cage, mean: NDArray[np.float64], landmarks: NDArray[np.int64]
) -> Template:
    """The head cage as a template whose skin is matched; landmarks (68,) of the dense face."""
    dense = subdivide(cage.quads, cage.n_vertices, cage.mirror, levels=2)
    parts = cage.parts[dense.parents]
    triangles = np.concatenate([dense.faces[:, [0, 1, 2]], dense.faces[:, [0, 2, 3]]])
    rows = face_rows(topology.cage, cage)
    to_head = sp.csr_matrix(
        (np.ones(len(rows)), (np.arange(len(rows)), rows)), (len(rows), cage.n_vertices)
    )
    landmark_rows = (topology.dense.matrix[landmarks] @ to_head).tocsr()
    points, skin = dense.matrix @ mean, np.unique(dense.faces[parts == SKIN])
    wanted = landmark_rows @ mean
    nearest = np.array([skin[np.linalg.norm(points[skin] - p, axis=1).argmin()] for p in wanted])
    return Template(
        cage=mean,
        matrix=dense.matrix,
        triangles=triangles,
        skin=np.concatenate([parts, parts]) == SKIN,
        landmark_rows=landmark_rows,
        landmarks=nearest,
        mirror=cage.mirror,
    )


def register_scans(
    scans: ScanStatistics,
    topology: Topology,
    cage: Cage,
    population: Population,
    landmarks: NDArray[np.int64],
    report: Callable[[str], None],
) -> ScanRegistration:
    """Register the head cage to the scans' mean, and carry their modes over.

    Args:
        scans: in their own frame.
        topology: of the face.
        cage: of the head.
        population: the base mesh's people, whose mean adult the registration starts from.
        landmarks: (68,) vertices of the dense face.
        report: is told how far it is.
    """
    start = adult_mean(topology, cage, population)
    template = make_template(topology, cage, start, landmarks)
    marks = (template.landmark_rows @ start)[INNER]
    pose = fit_similarity(marks, scans.mean[scans.landmarks][INNER])
    scale, rotation = float(pose.scale), pose.rotation
    # Both are symmetric, so that what is left of the rotation is pitch.
    scans = scans.moved(rotation.T, pose.translation)
    template = make_template(topology, cage, scale * start, landmarks)
    low, high = (np.array(corner) for corner in EAR_BOX)
    eyes = scans.mean[np.concatenate([scans.parts[LEFT_EYE], scans.parts[RIGHT_EYE]])].mean(axis=0)
    folded = (scans.mean - eyes) * np.where(scans.mean[:, :1] < 0, [-1.0, 1.0, 1.0], 1.0)
    ears = ((folded > low) & (folded < high)).all(axis=1)
    target = Target(scans.mean, scans.skin, scans.landmarks, ears)
    registration = Registration(template, target)
    report(f"scale {scale:.4f}, pitch {np.degrees(np.arcsin(rotation[2, 1])):.2f} degrees")
    mean = registration.run(report)
    modes = registration.carry(mean, scans.modes)
    smooth = corner_smoothing(cage, template, mean)
    mean, modes = smooth @ mean, np.stack([smooth @ mode for mode in modes])
    _carry_eyeballs(scans, cage, template, mean, modes)
    soft = np.unique(cage.quads[cage.parts <= EYEBALL])
    heads = ScannedHeads(mean[soft], modes[:, soft], scale, cage.base_index[soft])
    return ScanRegistration(heads, scans, registration, registration.match(mean, 1.0))


def corner_smoothing(cage: Cage, template: Template, mean: NDArray[np.float64]) -> sp.csr_matrix:
    """(H, H) operator on cage fields: towards the mean of the neighbors beside the mouth's corners.

    Args:
        cage: of the head.
        template: whose landmarks tell where the corners are.
        mean: (H, 3) mm, the registered cage.
    """
    quads = cage.quads[cage.parts <= POCKET]
    n = cage.n_vertices
    links = adjacency(quads, n)
    degree = np.maximum(np.asarray(links.sum(axis=1)).ravel(), 1)
    corners = (template.landmark_rows @ mean)[list(CORNERS)]
    distance = np.linalg.norm(mean[:, None] - corners, axis=2).min(axis=1)
    strength = CORNER_STRENGTH * np.exp(-((distance / CORNER_REACH) ** 2))
    strength[distance > 3 * CORNER_REACH] = 0
    step = sp.identity(n) - sp.diags(strength) @ (sp.identity(n) - sp.diags(1 / degree) @ links)
    result = step
    for _ in range(CORNER_ROUNDS - 1):
        result = step @ result
    return result.tocsr()


def _carry_eyeballs(
    scans: ScanStatistics,
    cage: Cage,
    template: Template,
    mean: NDArray[np.float64],
    modes: NDArray[np.float64],
) -> None:
    """Give the eyeballs, in place, the places and the growth of the scans' own.

    Each moves as a whole: it shifts and scales about its center, in the mean and in every mode.
    """
    eyeball = np.zeros(cage.n_vertices, bool)
    eyeball[np.unique(cage.quads[cage.parts == EYEBALL])] = True
    for side, name in ((1, LEFT_EYE), (-1, RIGHT_EYE)):
        rows = np.flatnonzero(eyeball & (side * template.cage[:, 0] > 0))
        own = template.cage[rows]
        # The surface lies inside its control points.
        surface = np.unique(template.matrix[:, rows].nonzero()[0])
        center, radius = sphere((template.matrix @ template.cage)[surface])
        ball, ball_radius = sphere(scans.mean[scans.parts[name]])
        ball[2] += ball_radius - EYE_RADIUS - EYE_BEHIND
        mean[rows] = ball + (own - center) * (EYE_RADIUS / radius)
        _follow(scans, scans.parts[name], rows, mean, modes)


def _follow(
    scans: ScanStatistics,
    vertices: NDArray[np.int64],
    rows: NDArray[np.int64],
    mean: NDArray[np.float64],
    modes: NDArray[np.float64],
) -> None:
    points = scans.mean[vertices]
    center = points.mean(axis=0)
    offset = points - center
    for mode, carried in zip(scans.modes[:, vertices].astype(np.float64), modes, strict=True):
        shift = mode.mean(axis=0)
        growth = ((mode - shift) * offset).sum() / (offset**2).sum()
        carried[rows] = shift + growth * (mean[rows] - center)
