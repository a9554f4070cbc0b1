from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facewright.training.face_model.scanned import FILE, ScannedHeads
from facewright.training.face_model.scans import ScanStatistics


def write_scans(path: Path, **changes: np.ndarray) -> Path:
    rng = np.random.default_rng(0)
    arrays = {
        "mean": rng.normal(size=(12, 3)).astype(np.float32),
        "modes": rng.normal(size=(4, 12, 3)).astype(np.float16),
        "quads": np.array([[0, 1, 2, 3], [3, 2, 4, -1], [5, 6, 7, 8], [8, 9, 10, 11]], np.int32),
        "material": np.array([0, 1, 2, 3]),
        "material_names": np.array(["M_Face", "M_BackHead", "M_ScleraLeft", "M_ScleraRight"]),
        "landmarks68": np.zeros(68, np.int32),
    }
    np.savez(path, **{**arrays, **changes})
    return path


def test_scans_are_read_and_moved(tmp_path: Path) -> None:
    scans = ScanStatistics.load(write_scans(tmp_path / "scans.npz"))
    assert sorted(map(tuple, scans.skin)) == [(0, 1, 2), (0, 2, 3), (3, 2, 4)]
    np.testing.assert_array_equal(scans.parts["M_ScleraRight"], [8, 9, 10, 11])
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    moved = scans.moved(turn, np.array([1.0, 2, 3]))
    np.testing.assert_allclose(moved.mean, (scans.mean - [1, 2, 3]) @ turn.T)
    person = scans.people(np.random.default_rng(5), 2)
    again = moved.people(np.random.default_rng(5), 2)
    np.testing.assert_allclose(again, (person - [1, 2, 3]) @ turn.T, atol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"modes": np.zeros((4, 11, 3))}, {"landmarks68": np.zeros(51, np.int32)}]
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, changes: dict) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        ScanStatistics.load(write_scans(tmp_path / "scans.npz", **changes))


def test_another_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", mean=np.zeros(3))
    with pytest.raises(ValueError, match="does not hold"):
        ScanStatistics.load(tmp_path / "other.npz")


def test_scanned_heads_are_read_as_they_were_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    heads = ScannedHeads(
        rng.normal(size=(7, 3)) * 80, rng.normal(size=(3, 7, 3)), 1.02, np.arange(7) * 2
    )
    heads.save(tmp_path / "heads.npz")
    again = ScannedHeads.load(tmp_path / "heads.npz")
    np.testing.assert_allclose(again.mean, heads.mean, atol=1e-5)
    np.testing.assert_allclose(again.modes, heads.modes, atol=2e-3)
    assert again.scale == heads.scale


def test_the_shipped_statistics_are_symmetric_and_life_size() -> None:
    heads = ScannedHeads.load(FILE)
    assert len(heads.modes) == 100
    # Eyes lie on both sides of the origin, and the head is as wide as people's are.
    assert np.abs(heads.mean[:, 0].max() + heads.mean[:, 0].min()) < 1e-3
    assert 1.0 < heads.scale < 1.05
    rms = np.sqrt((heads.modes**2).sum(axis=(0, 2)).mean())
    assert 3 < rms < 12
