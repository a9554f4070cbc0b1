from __future__ import annotations

import numpy as np
import pytest

from facewright.training.synthetic import headwear as module
from facewright.training.synthetic.hair import HairGrower
from facewright.training.synthetic.headwear import Milliner
from facewright.training.synthetic.traits import Traits

WOMAN = Traits(0.1, 0.3, 0.0, 0.3, True)


@pytest.fixture(scope="module")
def milliner(head) -> Milliner:
    grower = HairGrower(head.surface)
    return Milliner(head.surface, grower.regions, grower.height, grower.degrees)


@pytest.fixture
def only(monkeypatch):
    def choose(kind: str) -> None:
        shares = {name: float(name == kind) for name in module._KINDS}
        monkeypatch.setattr(module, "_KINDS", shares)

    return choose


@pytest.mark.parametrize("kind", list(module._KINDS))
def test_every_kind_is_sound(milliner, head, only, kind: str):
    only(kind)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        worn = milliner.draw(rng, WOMAN)
        assert worn.kind == kind
        for values in (worn.weight, worn.covers_hair):
            assert values.shape == (len(head.mean),)
            assert 0 <= values.min() <= values.max() <= 1
        assert worn.stand_off.min() >= 0
        for part in milliner.parts(rng, worn, head.mean, head.landmark_mean):
            assert np.isfinite(part.vertices).all()
            assert part.triangles.max() < len(part.vertices)


def test_a_mask_hides_nose_and_mouth_but_not_the_eyes(milliner, head, only):
    only("mask")
    marks = head.landmark_mean
    for seed in range(5):
        rng = np.random.default_rng(seed)
        (mask,) = milliner.parts(rng, milliner.draw(rng, WOMAN), head.mean, marks)
        front = mask.vertices[: len(mask.vertices) // 2]
        for point in (30, 48, 54, 62):
            near = np.argmin(np.linalg.norm(front[:, :2] - marks[point, :2], axis=1))
            assert front[near, 2] > marks[point, 2] - 1
        assert front[:, 1].max() < marks[36:48, 1].min()


def test_a_visor_juts_out_in_front(milliner, head, only):
    only("cap")
    rng = np.random.default_rng(0)
    worn = milliner.draw(rng, WOMAN)
    (visor,) = milliner.parts(rng, worn, head.mean, head.landmark_mean)
    forehead = head.mean[worn.weight > 0.5]
    assert visor.vertices[:, 2].max() > forehead[:, 2].max() + 20


def test_a_headscarf_leaves_the_face_and_covers_the_hair(milliner, head, only):
    only("headscarf")
    worn = milliner.draw(np.random.default_rng(0), WOMAN)
    relative = head.surface.relative
    middle = (np.hypot(relative[:, 0] / 40, (relative[:, 1] + 22) / 55) < 1) & (
        relative[:, 2] > -20
    )
    assert worn.weight[middle].max() == 0
    assert worn.covers_hair.min() == 1
