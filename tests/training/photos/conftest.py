"""The face model of the trainer's tests serves here too."""

import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location(
    "rnet_fixtures", Path(__file__).parents[1] / "rnet" / "conftest.py"
)
assert _spec is not None
assert _spec.loader is not None
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)

face_model_file = _fixtures.face_model_file
face_model = _fixtures.face_model


@pytest.fixture(scope="session")
def shipped_model():
    from models.assets import FACE_MODEL, asset_path
    from models.morphable_model import MorphableModel

    return MorphableModel.load(asset_path(FACE_MODEL))
