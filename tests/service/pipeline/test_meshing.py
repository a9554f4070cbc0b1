"""Meshes for files: what is behind the lips, and what their texts say."""

from __future__ import annotations

import numpy as np

from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.morphable_model import PART_SKIN, PART_TEETH, MorphableModel
from facewright.service.options import Pose
from facewright.service.pipeline.meshing import AXES, colored_mesh


def test_teeth_are_as_dark_as_the_lips_leave_them() -> None:
    model = MorphableModel.load(asset_path(FACE_MODEL))
    albedo = model.albedo(np.zeros((1, model.n_albedo)))[0]
    identity = np.zeros((1, model.n_identity))
    teeth, skin = model.parts == PART_TEETH, model.parts == PART_SKIN
    shown = {}
    for name, expression in (
        ("closed", np.zeros(model.n_expression)),
        ("open", model.expression_unit_coefficients[model.expression_units.index("jawOpen")]),
    ):
        mesh = colored_mesh(model, model.shape(identity, expression[None])[0], albedo)
        np.testing.assert_array_equal(mesh.colors_u8[skin], np.rint(255 * albedo[skin]))
        shown[name] = mesh.colors_u8[teeth].mean()
    assert shown["closed"] < 0.35 * 255 * albedo[teeth].mean()
    assert shown["open"] > 0.9 * 255 * albedo[teeth].mean()
    assert shown["closed"] < 0.6 * 255 * albedo[skin].mean(), "no bright line between lips"


def test_axes_are_those_of_the_pose() -> None:
    assert set(AXES) == set(Pose.__args__)  # type: ignore[attr-defined]
    assert "subject's left" in AXES["canonical"]
    assert "towards the camera" in AXES["camera"]
