from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from facewright.models.camera_torch import pose_points, project
from facewright.models.layout import LAYOUT_239, LAYOUT_257, CoefficientLayout, Coefficients
from facewright.models.light_torch import shade
from facewright.models.morphable_model import MorphableModel
from facewright.models.morphable_model_torch import TorchMorphableModel
from facewright.models.normals_torch import vertex_normals
from facewright.training.losses.affinity import affinity_loss
from facewright.training.losses.hybrid import HybridLoss, HybridWeights, PhotoTargets
from facewright.training.losses.landmarks import landmark_loss, paper_landmark_weights
from facewright.training.losses.perceptual import composite, perceptual_loss
from facewright.training.losses.photometric import photometric_loss
from facewright.training.render import make_renderer

SIZE = 56
LAYOUTS = (LAYOUT_239, LAYOUT_257)
TERMS = ["photometric", "landmarks", "perceptual", "coefficients", "albedo_flattening"]
renderer = make_renderer(torch.device("cpu"))


def faces(layout: CoefficientLayout, count: int = 2, seed: int = 0) -> Tensor:
    """(count, size) coefficients of faces in good light."""
    rng = np.random.default_rng(seed)
    light = rng.normal(0, 0.08, (count, layout.light_channels, 9))
    light[..., 0] += 0.7
    light[..., 2] += 0.3
    parts = Coefficients(
        identity=rng.normal(0, 0.7, (count, 80)),
        expression=rng.normal(0, 0.7, (count, 64)),
        albedo=rng.normal(0, 0.7, (count, 80)),
        light=light,
        rotation=rng.normal(0, 0.15, (count, 3)),
        translation=rng.normal(0, 0.05, (count, 3)),
    )
    return torch.from_numpy(layout.join(parts)).float()


def make_loss(
    model: MorphableModel,
    layout: CoefficientLayout,
    recognizer: Any = None,
    size: int = SIZE,
    **weights: float,
) -> HybridLoss:
    return HybridLoss(model, layout, HybridWeights(**weights), recognizer, renderer, size)


def photos_of(loss: HybridLoss, coefficients: Tensor) -> PhotoTargets:
    """Photos on which the faces are seen as they are."""
    with torch.no_grad():
        image, mask = loss.render(coefficients)
        photo = torch.where(mask[:, None], image, 0.4).clamp(0, 1)
        parts = loss.layout.split(coefficients)
        shape = loss._model.shape(parts.identity, parts.expression)[:, loss._model.landmarks]
        landmarks = project(pose_points(shape, parts.rotation, parts.translation))
    known = torch.ones(landmarks.shape[:2], dtype=torch.bool)
    return PhotoTargets(photo, torch.ones(photo[:, 0].shape), landmarks, known)


def test_default_weights_are_the_papers() -> None:
    assert HybridWeights().model_dump() == {
        "photometric": 1.9,
        "landmarks": 1.6e-3,
        "perceptual": 0.2,
        "coefficients": 3e-4,
        "albedo_flattening": 5.0,
        "affinity": 0.0,
        "openings": 0.0,
        "identity": 1.0,
        "expression": 0.8,
        "albedo": 1.7e-3,
    }
    with pytest.raises(ValidationError):
        HybridWeights(photometric=-1)
    with pytest.raises(ValidationError):
        HybridWeights(photometrics=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_terms_are_the_sum_of_their_parts(
    face_model: MorphableModel, recognizer: Any, layout: CoefficientLayout
) -> None:
    loss = make_loss(face_model, layout, recognizer)
    coefficients, targets = faces(layout), photos_of(loss, faces(layout, seed=1))
    attention = torch.rand(2, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    known = torch.arange(68).expand(2, -1) % 3 > 0
    landmarks = torch.where(known[..., None], targets.landmarks, torch.nan)
    targets = targets._replace(attention=attention, landmark_known=known, landmarks=landmarks)
    terms = loss(coefficients, targets)
    assert list(terms) == TERMS

    parts = layout.split(coefficients)
    twin = TorchMorphableModel(face_model)
    posed = pose_points(
        twin.shape(parts.identity, parts.expression), parts.rotation, parts.translation
    )
    albedo = twin.albedo(parts.albedo)
    colors = shade(albedo, vertex_normals(posed, twin.triangles), parts.light)
    image, mask = renderer(posed, twin.triangles, colors, SIZE)
    points = project(posed[:, twin.landmarks])
    filled = torch.where(known[..., None], landmarks, points) * SIZE / 224
    pasted = composite(targets.photo, image, mask)
    skin = albedo[:, torch.tensor(face_model.skin_region)]
    expected = {
        "photometric": photometric_loss(targets.photo, image, mask, attention),
        "landmarks": landmark_loss(points, landmarks, known, paper_landmark_weights()),
        "perceptual": perceptual_loss(
            recognizer(targets.photo, filled), recognizer(pasted, filled)
        ),
        "coefficients": (
            parts.identity.square().sum()
            + 0.8 * parts.expression.square().sum()
            + 1.7e-3 * parts.albedo.square().sum()
        )
        / 2,
        "albedo_flattening": (skin - skin.mean(1, keepdim=True)).square().mean(1).sum() / 2,
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, rtol=1e-4, atol=1e-6)
    total = 0.0
    for weight, name in zip((1.9, 1.6e-3, 0.2, 3e-4, 5.0), TERMS, strict=True):
        total += weight * float(expected[name])
    assert float(loss.total(terms)) == pytest.approx(total, rel=1e-4)


def test_the_face_itself_fits(face_model: MorphableModel, recognizer: Any) -> None:
    loss = make_loss(face_model, LAYOUT_239, recognizer)
    coefficients = faces(LAYOUT_239)
    terms = loss(coefficients, photos_of(loss, coefficients))
    for name in ("photometric", "landmarks", "perceptual"):
        assert float(terms[name]) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("term", [*TERMS, "total"])
def test_a_few_steps_lower_every_loss(
    face_model: MorphableModel, recognizer: Any, layout: CoefficientLayout, term: str
) -> None:
    """From another face to the one on the photo, by plain gradient descent with a line search."""
    only = {name: 0.0 for name in TERMS if term not in (name, "total")}
    loss = make_loss(face_model, layout, recognizer, **only)
    targets = photos_of(loss, faces(layout, seed=1))
    coefficients = faces(layout)

    def value(coefficients: Tensor) -> Tensor:
        return loss.total(loss(coefficients, targets))

    start = now = float(value(coefficients))
    for _ in range(6):
        coefficients = coefficients.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(value(coefficients), coefficients)
        assert gradient.isfinite().all()
        rate = 0.3 / float(gradient.abs().max())
        with torch.no_grad():
            for _ in range(8):
                lower = float(value(coefficients - rate * gradient))
                if lower < now:
                    coefficients, now = coefficients - rate * gradient, lower
                    break
                rate /= 3
    assert now < 0.8 * start


@pytest.mark.parametrize("term", TERMS)
def test_gradients_by_finite_differences(
    face_model: MorphableModel, recognizer: Any, term: str
) -> None:
    """Along a direction in every part; so small a step changes no pixel's visibility."""
    only = {name: 0.0 for name in TERMS if name != term}
    loss = make_loss(face_model, LAYOUT_239, recognizer, **only).double()
    coefficients = faces(LAYOUT_239).double()
    targets = photos_of(loss, faces(LAYOUT_239, seed=1).double())

    def value(coefficients: Tensor) -> Tensor:
        return loss(coefficients, targets)[term]

    argument = coefficients.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(argument), argument)
    generator = torch.Generator().manual_seed(0)
    step = 1e-6
    for name in Coefficients._fields:
        direction = torch.zeros_like(coefficients)
        part = direction[:, getattr(LAYOUT_239, name)]
        part += torch.randn(part.shape, generator=generator)
        with torch.no_grad():
            difference = value(coefficients + step * direction)
            difference -= value(coefficients - step * direction)
        found = (gradient * direction).sum()
        torch.testing.assert_close(found, difference / (2 * step), rtol=1e-4, atol=1e-8, msg=name)


def test_terms_of_weight_zero_are_not_computed(face_model: MorphableModel, recognizer: Any) -> None:
    def no_renderer(*arguments: object) -> Any:
        raise AssertionError("nothing has to be rendered")

    weights = HybridWeights(photometric=0, perceptual=0, albedo_flattening=0)
    loss = HybridLoss(face_model, LAYOUT_239, weights, recognizer, no_renderer, SIZE)
    coefficients = faces(LAYOUT_239)
    targets = photos_of(make_loss(face_model, LAYOUT_239), coefficients)
    assert list(loss(coefficients, targets)) == ["landmarks", "coefficients"]
    assert not recognizer.calls
    without = make_loss(face_model, LAYOUT_239)
    assert "perceptual" not in without(coefficients, targets)
    make_loss(face_model, LAYOUT_239, recognizer, perceptual=0)(coefficients, targets)
    assert not recognizer.calls


def test_affinity_compares_identities_with_the_photos(
    face_model: MorphableModel, recognizer: Any
) -> None:
    loss = make_loss(face_model, LAYOUT_239, recognizer, affinity=2.0)
    coefficients = faces(LAYOUT_239, 4)
    targets = photos_of(loss, coefficients)
    terms = loss(coefficients, targets)
    of_photos = recognizer(targets.photo, targets.landmarks * SIZE / 224)
    expected = affinity_loss(LAYOUT_239.split(coefficients).identity, of_photos)
    assert list(terms) == [*TERMS, "affinity"]
    torch.testing.assert_close(terms["affinity"], expected)
    others = loss.total({name: terms[name] for name in TERMS})
    torch.testing.assert_close(loss.total(terms), others + 2.0 * expected)
    assert "affinity" not in make_loss(face_model, LAYOUT_239, affinity=2.0)(coefficients, targets)


def test_losses_without_a_meaning_are_refused(
    face_model: MorphableModel, unskinned_model: MorphableModel
) -> None:
    nothing = {name: 0.0 for name in TERMS if name != "perceptual"}
    with pytest.raises(ValueError, match="weight 0"):
        make_loss(face_model, LAYOUT_239, **nothing)
    with pytest.raises(ValueError, match="skin region"):
        make_loss(unskinned_model, LAYOUT_239)
    make_loss(unskinned_model, LAYOUT_239, albedo_flattening=0)
    loss = make_loss(face_model, LAYOUT_239)
    targets = photos_of(loss, faces(LAYOUT_239))
    with pytest.raises(ValueError, match="expected"):
        loss(faces(LAYOUT_239), targets._replace(photo=torch.zeros(2, 3, 224, 224)))
    with pytest.raises(ValueError, match="expected"):
        loss(faces(LAYOUT_257), targets)


def test_faces_out_of_sight_give_finite_terms_and_gradients(
    face_model: MorphableModel, recognizer: Any
) -> None:
    loss = make_loss(face_model, LAYOUT_239, recognizer)
    coefficients = faces(LAYOUT_239, 4)
    targets = photos_of(loss, coefficients)
    # Beside the picture, behind the camera, around it, turned away.
    shifts = torch.tensor([[30.0, 0, 0], [0, 0, 15], [0, 0, 9.8], [0, 0, 0]])
    coefficients[:, LAYOUT_239.translation] = shifts
    coefficients[3, LAYOUT_239.rotation] = torch.tensor([0, torch.pi, 0])
    coefficients.requires_grad_()
    terms = loss(coefficients, targets)
    loss.total(terms).backward()
    assert all(value.isfinite() for value in terms.values())
    assert coefficients.grad is not None
    assert coefficients.grad.isfinite().all()


def test_steps_on_the_shipped_face_model(shipped_model: MorphableModel) -> None:
    loss = make_loss(shipped_model, LAYOUT_239)
    targets = photos_of(loss, faces(LAYOUT_239, seed=1))
    coefficients = faces(LAYOUT_239).requires_grad_()
    optimizer = torch.optim.Adam([coefficients], lr=0.03)
    history = []
    for _ in range(8):
        terms = loss(coefficients, targets)
        optimizer.zero_grad()
        loss.total(terms).backward()
        optimizer.step()
        history.append({name: float(value.detach()) for name, value in terms.items()})
    for name in ("photometric", "landmarks"):
        assert history[-1][name] < 0.8 * history[0][name]


def test_autocast_does_not_coarsen_the_loss(face_model: MorphableModel) -> None:
    loss = make_loss(face_model, LAYOUT_239)
    coefficients = faces(LAYOUT_239)
    targets = photos_of(loss, faces(LAYOUT_239, seed=1))
    expected = loss(coefficients, targets)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(coefficients, targets)
        assert torch.equal(loss.render(coefficients).image, loss.render(coefficients).image)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    coarse = loss(coefficients.bfloat16(), targets)
    assert all(value.dtype == torch.float32 for value in coarse.values())


def test_nothing_is_trained_or_saved(face_model: MorphableModel) -> None:
    loss = make_loss(face_model, LAYOUT_239)
    assert not list(loss.parameters())
    assert not loss.state_dict()
