"""Statistics of real heads: principal components of light-stage scans, registered to one template.

The file is made of ICT-FaceKit (USC Institute for Creative Technologies, MIT license, commit
da5f95a): its neutral mean head and identity modes. It is read once, by the registration; the
project keeps what was computed from it on its own mesh (`training.face_model.scanned`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOURCE = "ICT-FaceKit, USC Institute for Creative Technologies, MIT licence, commit da5f95a (2020)"
SKIN = ("M_Face", "M_BackHead")
LEFT_EYE, RIGHT_EYE = "M_ScleraLeft", "M_ScleraRight"


@dataclass(frozen=True, eq=False)
class ScanStatistics:
    """A linear model of scanned heads.

    Attributes:
        mean: (V, 3) float64 mm, +y up, +z out of the face.
        modes: (M, V, 3) float32 mm per unit of a coefficient that is N(0, 1).
        skin: (T, 3) int64 triangles of face, head and neck.
        landmarks: (68,) vertices of the iBUG landmarks.
        parts: vertices of the eyeballs by material name.
    """

    mean: NDArray[np.float64]
    modes: NDArray[np.float32]
    skin: NDArray[np.int64]
    landmarks: NDArray[np.int64]
    parts: dict[str, NDArray[np.int64]]

    @classmethod
    def load(cls, path: Path) -> ScanStatistics:
        """Read the file of arrays ``mean``, ``modes``, ``quads``, ``material`` and landmarks.

        Raises:
            ValueError: an array is missing or has another shape than the others ask for.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                arrays = {name: data[name] for name in data.files}
            mean = arrays["mean"].astype(np.float64)
            modes = arrays["modes"].astype(np.float32)
            quads = arrays["quads"].astype(np.int64)
            material = arrays["material"]
            names = [str(name) for name in arrays["material_names"]]
            landmarks = arrays["landmarks68"].astype(np.int64)
        except (KeyError, OSError) as error:
            raise ValueError(f"{path} does not hold statistics of scans: {error}") from error
        if modes.shape[1:] != mean.shape or landmarks.shape != (68,):
            raise ValueError(f"{path}: modes {modes.shape} do not fit the mean {mean.shape}")

        def of(*materials: str) -> NDArray[Any]:
            return quads[np.isin(material, [names.index(name) for name in materials])]

        skin = of(*SKIN)
        split = skin[skin[:, 3] >= 0]
        parts = {}
        for name in (LEFT_EYE, RIGHT_EYE):
            vertices = np.unique(of(name))
            parts[name] = vertices[vertices >= 0]
        triangles = np.concatenate([skin[:, :3], split[:, [0, 2, 3]]])
        return cls(mean, modes, triangles, landmarks, parts)

    def moved(self, rotation: NDArray[np.float64], origin: NDArray[np.float64]) -> ScanStatistics:
        """The same heads in another frame: p -> rotation (p - origin)."""
        turned = np.einsum("ij,kvj->kvi", rotation.astype(np.float32), self.modes)
        return ScanStatistics(
            (self.mean - origin) @ rotation.T, turned, self.skin, self.landmarks, self.parts
        )

    def people(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """(count, V, 3) random people, coefficients from N(0, 1)."""
        weights = rng.standard_normal((count, len(self.modes)))
        return self.mean + np.tensordot(weights, self.modes.astype(np.float64), 1)
