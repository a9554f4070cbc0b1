from __future__ import annotations

from pathlib import Path

from facewright.training.face_model.calibration import SPREAD_LIMITS, Calibration
from facewright.training.face_model.people import POPULATIONS


def test_the_stored_calibration_is_complete_and_symmetric() -> None:
    stored = Calibration.load()
    assert set(stored.offsets) == set(POPULATIONS)
    for weights in (*stored.offsets.values(), stored.spread):
        for name, value in weights.items():
            if "/l-" in name:
                assert weights[name.replace("/l-", "/r-")] == value
        assert not any(name.startswith("asym/") for name in weights)
    assert max(abs(v) for w in stored.offsets.values() for v in w.values()) <= 1
    assert all(0 < v <= SPREAD_LIMITS[1] + 1e-3 for v in stored.spread.values())


def test_it_is_written_as_it_was_read(tmp_path: Path) -> None:
    stored = Calibration.load()
    stored.save(tmp_path / "copy.json")
    assert Calibration.load(tmp_path / "copy.json") == stored
