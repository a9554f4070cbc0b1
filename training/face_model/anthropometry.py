"""Published face measurements, and the same measurements on the model.

Points follow Farkas: g glabella, n nasion, prn pronasale, sn subnasale, al alare, ls and li labiale
superius and inferius, sto stomion, ch cheilion, sl sublabiale, pg pogonion, gn gnathion, en and ex
inner and outer eye corner, zy zygion; d1 to d3 lie on the bridge of the nose.

Sources of the norms:

* caucasian: L. G. Farkas (ed.), "Anthropometry of the Head and Face", 2nd ed., Raven Press 1994,
  appendix A: North American whites of 19 to 25 years, as commonly quoted.
* african: S. S. Virdi, D. Wertheim, F. B. Naini, "Normative anthropometry and proportions of the
  Kenyan-African face and comparative anthropometry in relation to African Americans and North
  American Whites", Maxillofac. Plast. Reconstr. Surg. 41:9 (2019), table 9. Its n-gn of men
  (101.8 mm) contradicts its own parts; n-sn + sn-me is used, which is what it gives for women.
* asian: "Comparative study of anthropometric nasal analysis based on Han nationality young female
  adults in Central China", J. Craniofac. Surg. 2021 (430 women). Men are not in it: their means are
  the women's times the caucasian ratio of men to women. No standard deviations in its abstract.
* Depth layout: mean of MediaPipe FaceMesh's 3D points over 5,844 near-frontal photographs (within
  12 degrees of yaw and pitch), aligned to each other and scaled to a pupil distance of 63 mm. The
  depth of a network is no measurement and many of these people smile, so the layout only guides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from facewright.training.face_model.cage import EYEBALL, SKIN
from facewright.training.face_model.people import POPULATION_SHARES, POPULATIONS
from facewright.training.face_model.topology import Topology

#: Point -> (x, y, z) mm on the reference head, origin between the eyeballs; subject's right side.
POINTS: dict[str, tuple[float, float, float]] = {
    "g": (0.0, 21.0, 27.6),
    "n": (0.0, 5.2, 25.4),
    "d1": (0.0, -8.2, 26.5),
    "d2": (0.0, -15.4, 30.4),
    "d3": (0.0, -24.3, 36.4),
    "prn": (0.0, -38.9, 44.3),
    "sn": (0.0, -51.6, 33.5),
    "ls": (0.0, -61.9, 37.6),
    "sto": (0.0, -71.4, 29.5),
    "li": (0.0, -83.6, 32.0),
    "sl": (0.0, -91.4, 25.4),
    "pg": (0.0, -98.4, 25.4),
    "gn": (0.0, -112.5, 17.8),
    "al": (-18.6, -41.0, 23.3),
    "ch": (-24.9, -72.0, 22.6),
    "en": (-17.6, -4.0, 14.2),
    "ex": (-44.9, -1.3, 6.2),
    "zy": (-71.2, -12.0, -48.0),
}


class Sample(NamedTuple):
    """Mean and standard deviation of one sex, mm; nan where the source gives none."""

    mean: float
    deviation: float = float("nan")


#: Distance between two points (twice the same: both sides) -> population -> (men, women).
NORMS: dict[tuple[str, str], dict[str, tuple[Sample | None, Sample]]] = {
    ("n", "gn"): {
        "caucasian": (Sample(124.7, 5.7), Sample(111.4, 4.8)),
        "african": (Sample(127.4), Sample(117.1, 5.4)),
        "asian": (None, Sample(110.4)),
    },
    ("n", "sn"): {
        "caucasian": (Sample(54.8, 3.3), Sample(50.6, 3.1)),
        "african": (Sample(51.0, 1.9), Sample(47.6, 3.1)),
        "asian": (None, Sample(48.9)),
    },
    ("sn", "gn"): {
        "caucasian": (Sample(72.6, 4.5), Sample(64.3, 4.0)),
        "african": (Sample(76.4, 3.6), Sample(69.5, 4.8)),
    },
    ("sn", "prn"): {
        "caucasian": (Sample(19.5, 1.9), Sample(19.7, 1.6)),
        "asian": (None, Sample(21.1)),
    },
    ("sn", "sto"): {
        "caucasian": (Sample(22.3, 2.1), Sample(20.1, 2.0)),
        "african": (Sample(25.5, 1.3), Sample(24.0, 2.5)),
    },
    ("ls", "sto"): {
        "caucasian": (Sample(8.0, 1.4), Sample(8.7, 1.3)),
        "african": (Sample(13.7, 1.3), Sample(13.4, 0.9)),
    },
    ("sto", "li"): {
        "caucasian": (Sample(9.3, 1.6), Sample(9.4, 1.5)),
        "african": (Sample(13.8, 0.9), Sample(13.6, 1.0)),
    },
    ("al", "al"): {
        "caucasian": (Sample(34.9, 2.1), Sample(31.4, 2.0)),
        "african": (Sample(43.2, 3.8), Sample(40.7, 3.7)),
        "asian": (None, Sample(35.5)),
    },
    ("ch", "ch"): {
        "caucasian": (Sample(54.5, 3.0), Sample(50.2, 3.5)),
        "african": (Sample(55.9, 3.3), Sample(52.0, 4.0)),
    },
    ("en", "en"): {
        "caucasian": (Sample(33.3, 2.7), Sample(31.8, 2.3)),
        "african": (Sample(32.2, 1.9), Sample(32.1, 1.4)),
        "asian": (None, Sample(35.9)),
    },
    ("ex", "ex"): {
        "caucasian": (Sample(91.2, 3.0), Sample(87.8, 3.2)),
        "african": (Sample(98.2, 3.5), Sample(94.4, 4.9)),
    },
    ("en", "ex"): {
        "caucasian": (Sample(31.3, 1.2), Sample(30.7, 1.2)),
        "african": (Sample(34.0, 3.4), Sample(33.7, 1.5)),
    },
    ("zy", "zy"): {
        "caucasian": (Sample(139.1, 5.3), Sample(130.0, 4.6)),
        "african": (Sample(133.8, 4.6), Sample(130.1, 3.5)),
        "asian": (None, Sample(125.1)),
    },
}

#: Point -> (y, z) mm: height above and depth before the middle of the four eye corners.
DEPTH_LAYOUT: dict[str, tuple[float, float]] = {
    "g": (19.0, 19.0),
    "n": (6.9, 19.0),
    "prn": (-31.0, 45.0),
    "sn": (-43.0, 30.0),
    "ls": (-57.0, 29.4),
    "sto": (-65.5, 23.5),
    "li": (-76.0, 24.8),
    "sl": (-85.0, 19.5),
    "pg": (-97.0, 20.1),
    "gn": (-111.0, 11.0),
    "ch": (-66.0, 9.5),
}

#: Mean distance between the pupils of adults, mm: N. A. Dodgson, "Variation and extrema of human
#: interpupillary distance", Proc. SPIE 5291 (2004).
PUPIL_DISTANCE = 63.0


def population_norm(pair: tuple[str, str], population: str) -> float | None:
    """Mean of men and women of a population, mm; None when the sources have no such norm."""
    groups = NORMS[pair]
    if population not in groups:
        return None
    male, female = groups[population]
    if male is not None:
        return (male.mean + female.mean) / 2
    men, women = groups["caucasian"]
    assert men is not None
    return female.mean * (1 + men.mean / women.mean) / 2


@dataclass(frozen=True)
class PooledNorm:
    """A norm over sexes and populations: mean and standard deviation, mm."""

    mean: float
    deviation: float


def pooled_norm(pair: tuple[str, str]) -> PooledNorm:
    """Pool a norm: sexes equally, populations by their shares (renormalized where one lacks).

    The variance is that within the groups plus that between them.
    """
    groups = NORMS[pair]
    men, women = groups["caucasian"]
    assert men is not None
    ratio = men.mean / women.mean
    means, weights, variances, variance_weights = [], [], [], []
    for population, (male, female) in groups.items():
        share = POPULATION_SHARES[POPULATIONS.index(population)] / 2
        means += [female.mean * ratio if male is None else male.mean, female.mean]
        weights += [share, share]
        for sample in (male, female):
            if sample is not None and np.isfinite(sample.deviation):
                variances.append(sample.deviation**2)
                variance_weights.append(share)
    mean = float(np.average(means, weights=weights))
    between = np.average((np.array(means) - mean) ** 2, weights=weights)
    within = np.average(variances, weights=variance_weights)
    return PooledNorm(mean, float(np.sqrt(within + between)))


@dataclass(frozen=True, eq=False)
class Measure:
    """Finds the points on a face and measures distances between them.

    Attributes:
        names: the points, in the order of POINTS.
        operator: (2P + 2, V) sparse: the points, their mirror images, and the middles of the
            right and the left eyeball, from the dense face's vertices.
    """

    names: tuple[str, ...]
    operator: sp.csr_matrix

    @classmethod
    def on(cls, topology: Topology) -> Measure:
        """The measure of the dense face of ``topology``."""
        points, mirror = topology.reference_dense, topology.dense.mirror
        skin = topology.parts == SKIN
        midline = mirror == np.arange(len(mirror))
        found = []
        for anchor in POINTS.values():
            candidates = np.flatnonzero(skin & (midline if anchor[0] == 0 else points[:, 0] < 0))
            distance = np.linalg.norm(points[candidates] - anchor, axis=1)
            found.append(candidates[distance.argmin()])
        vertices = np.array(found)
        eyeball = topology.parts == EYEBALL
        picked = np.concatenate([vertices, mirror[vertices]])
        rows = [sp.identity(len(points), format="csr")[picked]]
        for side in (-1, 1):
            ball = eyeball & (side * points[:, 0] > 0)
            rows.append(sp.csr_matrix(ball[None].astype(np.float64) / ball.sum()))
        return cls(tuple(POINTS), sp.vstack(rows).tocsr())

    def distance(self, points: np.ndarray, pair: tuple[str, str]) -> np.ndarray:
        """(...) mm from measured points (..., 2P + 2, 3); a point with itself: to its mirror."""
        a, b = (self.names.index(name) for name in pair)
        other = points[..., b if a != b else len(self.names) + b, :]
        return np.linalg.norm(points[..., a, :] - other, axis=-1)

    def pupil_distance(self, points: np.ndarray) -> np.ndarray:
        """(...) mm between the middles of the eyeballs."""
        return np.linalg.norm(points[..., -1, :] - points[..., -2, :], axis=-1)

    def profile(self, points: np.ndarray, pitch: float) -> dict[str, np.ndarray]:
        """Point name -> (y, z) mm from the middle of the eye corners, the face turned by pitch."""
        n = len(self.names)
        symmetric = (points[:n, 1:] + points[n : 2 * n, 1:]) / 2
        corners = [symmetric[self.names.index(name)] for name in ("en", "ex")]
        cosine, sine = np.cos(pitch), np.sin(pitch)
        rotation = np.array([[cosine, sine], [-sine, cosine]])
        turned = (symmetric - np.mean(corners, axis=0)) @ rotation
        return dict(zip(self.names, turned, strict=True))
