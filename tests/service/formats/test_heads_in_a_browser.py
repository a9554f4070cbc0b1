"""A head in three.js, in a real browser: blendshapes move what they are named after."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from facewright.models.assets import FACE_MODEL, HEAD_RIG, asset_path
from facewright.models.blendshape_names import ARKIT_BLENDSHAPES, VISEMES
from facewright.models.head_rig import HeadRig
from facewright.models.morphable_model import MorphableModel
from facewright.service.formats.head_glb import write_head_glb
from facewright.service.pipeline.heads import Heads, HeadShape
from tests.service.api.browser import Page
from tests.service.formats.three import three_page

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    root = tmp_path_factory.mktemp("three")
    model = MorphableModel.load(asset_path(FACE_MODEL))
    heads = Heads(model, HeadRig.load(asset_path(HEAD_RIG), model))
    nobody = np.zeros(80, np.float32), np.zeros(64, np.float32)
    shape = HeadShape(heads.rig.cage(model.mean_shape, *nobody), {"jawOpen": 0.5}, None)
    head = heads.mesh(shape, model.mean_albedo, "medium", "all")
    for name, quantized in (("quantized", True), ("plain", False)):
        (root / f"{name}.glb").write_bytes(write_head_glb(head, {}, quantized=quantized))

    with three_page(root, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.parametrize("form", ["quantized", "plain"])
def test_three_moves_the_head_by_its_names(page: Page, form: str) -> None:
    page.run(f"load('/{form}.glb')")
    assert page.run("names()")["Skin"] == [*ARKIT_BLENDSHAPES, *VISEMES]
    page.run("show({})")
    page.run("keep()")
    assert page.run("changed()")["count"] == 0

    # As the file has it, the mouth is half open.
    page.run(f"load('/{form}.glb')")
    page.run("show(null)")
    assert page.run("changed()")["count"] > 1500

    def change(script: str) -> dict[str, float]:
        page.run(script)
        seen: dict[str, float] = page.run("changed()")
        return seen

    jaw = change("show({jawOpen: 1})")
    blink = change("show({eyeBlinkLeft: 1})")
    smile = change("show({mouthSmileLeft: 1})")
    round_mouth = change("show({viseme_O: 1})")
    # The subject's left is on the right of the picture, whose middle column is 320.
    assert jaw["count"] > 5000
    assert abs(jaw["x"] - 320) < 10
    assert blink["count"] > 500
    assert blink["x"] > 360
    assert blink["y"] < jaw["y"] - 100
    assert smile["count"] > 1000
    assert smile["x"] > 335
    assert round_mouth["count"] > 1500
    assert abs(round_mouth["x"] - 320) < 10
    # Joints turn the head, and an eye in it.
    page.run("turn('Head', 0, 0.5)")
    assert change("show({})")["count"] > 20_000
    page.run("turn('Head', 0, 0)")
    page.run("turn('LeftEye', 0, 0.4)")
    eye = change("show({})")
    assert 50 < eye["count"] < 2500
    assert eye["x"] > 360
