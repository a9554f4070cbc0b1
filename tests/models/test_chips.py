from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facewright.models.chips_torch import cut_chips, dlib_chips, fit_similarity, invert_similarity
from tests.dlib_faces import apply, dlib_face, similarity


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.floats(0.1, 10),
    angle=st.floats(-3.1, 3.1),
    noise=st.sampled_from([0.0, 0.3]),
)
def test_fit_is_the_least_squares_similarity(
    seed: int, scale: float, angle: float, noise: float
) -> None:
    rng = np.random.default_rng(seed)
    source = rng.normal(0, 20, (2, 7, 2))
    truth = similarity(scale, angle, *rng.normal(0, 50, 2))
    target = np.stack([apply(truth, s) for s in source]) + scale * noise * rng.normal(
        0, 20, (2, 7, 2)
    )
    found = fit_similarity(torch.from_numpy(source), torch.from_numpy(target)).numpy()
    # An independent derivation: the normal equations for (a, b, x, y).
    for k in range(2):
        rows = [[(x, -y, 1, 0), (y, x, 0, 1)] for x, y in source[k]]
        a, b, x, y = np.linalg.lstsq(np.reshape(rows, (-1, 4)), target[k].ravel())[0]
        np.testing.assert_allclose(found[k], [[a, -b, x], [b, a, y]], atol=1e-8 * (1 + scale))
    if noise == 0:
        np.testing.assert_allclose(found[0], truth, atol=1e-8 * (1 + scale))


def test_inverse() -> None:
    transform = similarity(1.7, 0.6, 20, -7)
    inverse = invert_similarity(torch.from_numpy(transform)[None])[0].numpy()
    points = np.random.default_rng(0).normal(0, 30, (5, 2))
    np.testing.assert_allclose(apply(inverse, apply(transform, points)), points, atol=1e-12)


def _dots(points: np.ndarray, size: int, radius: float) -> torch.Tensor:
    """A picture (1, 1, size, size) with soft dots at points, continuous px."""
    y, x = np.mgrid[:size, :size] + 0.5
    away = [(x - px) ** 2 + (y - py) ** 2 for px, py in points]
    picture = np.exp(-np.array(away) / (2 * radius**2)).sum(0)
    return torch.from_numpy(picture.astype(np.float32))[None, None]


def _center_of_mass(chip: torch.Tensor) -> np.ndarray:
    size = chip.shape[-1]
    y, x = np.mgrid[:size, :size] + 0.5
    weight = chip[0, 0].numpy()
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


FIVE = {"left eye": slice(36, 42), "right eye": slice(42, 48), "nose": 30, "corner": 48}


@pytest.mark.parametrize("name", list(FIVE))
@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_dlib_chip_has_the_face_at_the_reference(name: str, angle: float) -> None:
    pose = similarity(90, angle, 70, 60)
    landmarks = apply(pose, dlib_face())
    chosen = FIVE[name]
    dot = landmarks[chosen] if isinstance(chosen, int) else landmarks[chosen].mean(0)
    chip = dlib_chips(_dots([dot], 224, 3.0), torch.from_numpy(landmarks[None]).float(), 150)
    assert chip.shape == (1, 1, 150, 150)
    # dlib: the box of the mean face and 25% on each side fill 150 px, so the box is 100 px.
    reference = dlib_face()[chosen] if isinstance(chosen, int) else dlib_face()[chosen].mean(0)
    np.testing.assert_allclose(_center_of_mass(chip), 25 + 100 * reference, atol=0.1)


def test_each_image_of_a_batch_has_its_own_chip() -> None:
    rng = np.random.default_rng(4)
    images = torch.from_numpy(rng.random((3, 3, 60, 80)).astype(np.float32))
    poses = [similarity(20 + 3 * k, 0.2 * k, 20 + k, 15) for k in range(3)]
    landmarks = torch.from_numpy(np.stack([apply(p, dlib_face()) for p in poses])).float()
    together = dlib_chips(images, landmarks, 30)
    for k in range(3):
        alone = dlib_chips(images[k : k + 1], landmarks[k : k + 1], 30)
        torch.testing.assert_close(together[k : k + 1], alone)


def test_identity_and_outside() -> None:
    image = torch.rand(1, 2, 8, 12, generator=torch.Generator().manual_seed(0))
    shift = torch.tensor([[[1.0, 0, 3], [0, 1, -2]]])
    chip = cut_chips(image, shift, 8)
    torch.testing.assert_close(chip[:, :, 2:], image[:, :, :6, 3:11], atol=1e-5, rtol=0)
    assert not chip[:, :, :2].any()


def test_gradient_reaches_the_image_only() -> None:
    rng = np.random.default_rng(5)
    landmarks = torch.from_numpy(apply(similarity(9, 0.3, 4, 2), dlib_face())[None])
    landmarks.requires_grad_()
    image = torch.from_numpy(rng.random((1, 1, 14, 13))).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: dlib_chips(x, landmarks, 9), image)
    dlib_chips(image, landmarks, 9).sum().backward()
    assert landmarks.grad is None
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
