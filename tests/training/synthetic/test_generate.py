from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from facewright.models.camera import CAMERA_DISTANCE, pose_points, project
from facewright.models.rasterizer import rasterize
from facewright.training.data.shards import IMAGE_SIZE, LABEL_SHAPES, MARGIN, Labels
from facewright.training.synthetic import generate, headwear
from facewright.training.synthetic.accessories import GlassesCase
from facewright.training.synthetic.generate import PortraitGenerator
from facewright.training.synthetic.hair import HairGrower, draw_style
from facewright.training.synthetic.looks import LookSampler
from facewright.training.synthetic.people import Person
from facewright.training.synthetic.props import box, prop
from facewright.training.synthetic.traits import TraitModel
from facewright.training.synthetic.verify import landmark_errors

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def portraits(generator):
    return list(generator.portraits(3, range(24)))


@pytest.fixture(scope="module")
def labels(portraits) -> Labels:
    return Labels(**{k: np.stack([p.labels[k] for p in portraits]) for k in LABEL_SHAPES})


def test_same_seed_same_bytes(head, portraits):
    again = list(PortraitGenerator(head).portraits(3, range(24)))
    for first, second in zip(portraits, again, strict=True):
        assert np.array_equal(first.image, second.image)
        assert np.array_equal(first.attention, second.attention)
        assert first.labels.keys() == second.labels.keys()
        for name, value in first.labels.items():
            assert np.array_equal(value, second.labels[name]), name


def test_labels_have_the_shards_form(portraits):
    for portrait in portraits:
        assert portrait.image.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
        assert portrait.image.dtype == np.uint8
        assert portrait.attention.shape == (IMAGE_SIZE, IMAGE_SIZE)
        assert portrait.attention.dtype == np.uint8
        assert {k: v.shape for k, v in portrait.labels.items()} == LABEL_SHAPES
        assert all(np.isfinite(v).all() for v in portrait.labels.values())


def test_labeled_pose_puts_landmarks_where_they_are_seen(toy_head, labels):
    errors = landmark_errors(labels, toy_head.model)
    assert errors.median < 1.0
    assert errors.percentile_95 < 4.0


def test_verification_notices_wrong_labels(toy_head, labels):
    wrong = labels.take(slice(None))
    wrong.rotation[:, 1] *= -1
    assert landmark_errors(wrong, toy_head.model).mean > 5
    assert "px" in str(landmark_errors(labels, toy_head.model))


def test_faces_are_in_the_crop(labels):
    inner = labels.landmarks[:, 17:]
    assert ((inner > 0) & (inner < 224)).mean() > 0.98
    assert 0.5 < labels.landmark_visible.mean() < 1.0


def test_albedo_labels_explain_the_colors(head):
    rng = np.random.default_rng(0)
    basis_colors = rng.standard_normal(80).astype(np.float32)
    n = len(head.mean)
    colors = np.zeros((n, 3), np.float32)
    # A face that lies in the model's own span gives back its coefficients.
    fit = head.albedo_fit.astype(np.float64)
    shown = np.linalg.pinv(fit) @ basis_colors
    colors[head.face_vertices] = (shown + head.albedo_mean).reshape(-1, 3)
    assert head.albedo_coefficients(colors) == pytest.approx(basis_colors, abs=1e-2)


def test_head_and_face_model_agree(toy_head, head):
    rng = np.random.default_rng(2)
    identity, expression = rng.standard_normal((3, 80)), rng.standard_normal((3, 64))
    vertices, landmarks = head.shapes(identity, expression, np.ones((3, 2), np.float32))
    face = toy_head.model.shape(identity, expression)
    shared = toy_head.data.face_model_vertices
    assert np.allclose(vertices[:, head.face_vertices], face[:, shared], atol=0.05)
    assert np.allclose(landmarks, face[:, toy_head.model.landmarks], atol=0.05)


@pytest.fixture
def bare_heads(monkeypatch):
    """Bald, shaved people with nothing on their heads and nothing in front of them."""
    look = LookSampler.of

    def shaved(self, rng, traits):
        return replace(look(self, rng, replace(traits, male=0.0)), brows=0 * self.regions.y)

    bald = replace(draw_style(np.random.default_rng(0), _anyone()), name="bald")
    monkeypatch.setattr(LookSampler, "of", shaved)
    monkeypatch.setattr(HairGrower, "_lashes", lambda *a: None)
    monkeypatch.setattr(GlassesCase, "take", lambda *a: None)
    monkeypatch.setattr(generate, "draw_style", lambda *a: bald)
    monkeypatch.setattr(generate, "draw_objects", lambda *a: [])
    monkeypatch.setattr(generate, "draw_border", lambda *a: None)
    monkeypatch.setattr(headwear, "_KINDS", {"none": 1.0, "headscarf": 0.0})


def _anyone():
    return SimpleNamespace(masculine=True, melanin=0.3, age=0.3)


def test_the_light_does_not_tell_the_tone(generator, bare_heads, monkeypatch):
    """The same pictures of people as pale and as dark as can be have the same light."""
    draw = TraitModel.draw
    lights, albedos = [], []
    for melanin in (0.0, 1.15):
        monkeypatch.setattr(TraitModel, "draw", lambda *a, m=melanin: replace(draw(*a), melanin=m))
        drawn = list(generator.portraits(31, range(20)))
        lights.append(np.array([p.labels["light"][0] for p in drawn]))
        albedos.append(np.array([p.image[p.attention > 128].mean() for p in drawn]))
    assert np.median(albedos[1] / albedos[0]) < 0.7
    # Shine adds to the light of dark skin, the shoulder of the tone curve takes from pale skin's.
    assert 0.75 < np.median(lights[1] / lights[0]) < 1.35


def frontal(portraits):
    return [p for p in portraits if np.abs(p.labels["rotation"]).max() < 0.6]


def test_attention_of_a_bare_head_is_the_face_models_skin(generator, toy_head, bare_heads):
    """The mask against the labeled face model, drawn by the exact rasterizer of `models`."""
    model = toy_head.model
    skin = (model.parts[model.triangles] == 0).all(1)
    shares = []
    for portrait in frontal(generator.portraits(11, range(14))):
        row = {k: v[None].astype(float) for k, v in portrait.labels.items()}
        posed = pose_points(
            model.shape(row["identity"], row["expression"]), row["rotation"], row["translation"]
        )
        seen = np.concatenate([project(posed) + MARGIN, -posed[..., 2:]], -1)
        seen[..., 2] += CAMERA_DISTANCE
        drawn = rasterize(seen.astype(np.float32), model.triangles, IMAGE_SIZE, IMAGE_SIZE)
        ids = drawn.triangle_ids[0]
        expected = (ids >= 0) & skin[ids]
        found = portrait.attention / 255
        overlap = np.minimum(expected, found).sum()
        shares.append(overlap / np.maximum(expected, found).sum())
    assert len(shares) > 5
    assert np.median(shares) > 0.93
    assert min(shares) > 0.8


def test_things_in_front_hide_landmarks_and_skin(generator, bare_heads, monkeypatch):
    free = list(generator.portraits(12, range(12)))

    def plate(rng, landmarks, skin, sleeve, held):
        across = prop(box([200, 40, 4]), np.full(3, 0.5))
        return [across.moved(np.eye(3), landmarks[48:68].mean(0) + [0, 0, 60])]

    monkeypatch.setattr(generate, "draw_objects", plate)
    hidden = list(generator.portraits(12, range(12)))
    for before, after in zip(free, hidden, strict=True):
        assert np.array_equal(before.labels["landmarks"], after.labels["landmarks"])
        assert not after.labels["landmark_visible"][48:68].any()
        mouth = np.round(after.labels["landmarks"][48:68] + MARGIN).astype(int)
        inside = mouth[(mouth > 0).all(1) & (mouth < IMAGE_SIZE).all(1)]
        assert after.attention[inside[:, 1], inside[:, 0]].max() == 0
        assert after.attention.sum(dtype=int) < 0.9 * before.attention.sum(dtype=int)
    assert np.mean([p.labels["landmark_visible"][48:68].mean() for p in free]) > 0.7


def test_hair_takes_attention_away(generator, head, bare_heads, monkeypatch):
    bald = list(generator.portraits(13, range(8)))
    fringe = replace(
        draw_style(np.random.default_rng(0), _anyone()),
        name="bob", length=120.0, volume=12.0, weight=0.02, fringe=1.0, density=1.0, crown=0.0,
    )  # fmt: skip
    monkeypatch.setattr(generate, "draw_style", lambda *a: fringe)
    haired = list(generator.portraits(13, range(8)))
    less = [h.attention.mean() / b.attention.mean() for h, b in zip(haired, bald, strict=True)]
    assert max(less) < 1.0


def test_portraits_of_a_person_share_the_person_only(generator):
    four = list(generator.portraits(21, range(8), per_person=4))
    assert [int(p.labels["person"]) for p in four] == [0] * 4 + [1] * 4
    for name in ("identity", "albedo"):
        assert all(np.array_equal(four[0].labels[name], p.labels[name]) for p in four[:4])
        assert not np.array_equal(four[0].labels[name], four[4].labels[name])
    for name in ("expression", "rotation", "light", "landmarks"):
        assert not np.array_equal(four[0].labels[name], four[1].labels[name])


def test_numbers_may_start_anywhere(generator):
    whole = list(generator.portraits(22, range(26), per_person=3))
    part = list(generator.portraits(22, range(17, 23), per_person=3))
    for first, second in zip(whole[17:23], part, strict=True):
        assert np.array_equal(first.image, second.image)
        assert np.array_equal(first.attention, second.attention)
    assert list(generator.portraits(22, range(0))) == []


def test_extreme_people_stay_finite(generator, monkeypatch):
    def extreme(rng, head):
        identity = 4.0 * rng.choice([-1, 1], 80).astype(np.float32)
        residual = 4.0 * rng.choice([-1, 1], 2).astype(np.float32)
        return Person(identity, residual, head.traits.draw(rng, identity))

    monkeypatch.setattr(generate, "draw_person", extreme)
    for portrait in generator.portraits(23, range(12)):
        assert all(np.isfinite(v).all() for v in portrait.labels.values())
        assert portrait.image.std() > 0
