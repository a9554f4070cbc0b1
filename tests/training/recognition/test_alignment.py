from __future__ import annotations

import cv2
import numpy as np
import torch
from skimage.transform import SimilarityTransform

from facewright.training.recognition.alignment import arcface_chips
from tests.dlib_faces import apply, dlib_face, similarity


def test_arcface_chip_equals_opencv_and_skimage() -> None:
    rng = np.random.default_rng(3)
    picture = cv2.GaussianBlur(rng.random((224, 224, 3)).astype(np.float32), (0, 0), 4)
    landmarks = apply(similarity(100, -0.3, 60, 90), dlib_face() + rng.normal(0, 0.02, (68, 2)))
    chip = arcface_chips(
        torch.from_numpy(picture).permute(2, 0, 1)[None],
        torch.from_numpy(landmarks[None]).float(),
        112,
    )
    points = [landmarks[36:42].mean(0), landmarks[42:48].mean(0), *landmarks[[30, 48, 54]]]
    template = [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366]]
    template += [[41.5493, 92.3655], [70.7299, 92.2041]]
    # Both count from pixel centers.
    fit = SimilarityTransform.from_estimate(np.array(points) - 0.5, np.array(template))
    expected = cv2.warpAffine(picture, fit.params[:2], (112, 112), flags=cv2.INTER_LINEAR)
    np.testing.assert_allclose(chip[0].permute(1, 2, 0), expected, atol=3e-3)


def test_gradient_reaches_the_image_only() -> None:
    rng = np.random.default_rng(5)
    landmarks = torch.from_numpy(apply(similarity(9, 0.3, 4, 2), dlib_face())[None])
    landmarks.requires_grad_()
    image = torch.from_numpy(rng.random((1, 1, 14, 13))).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: arcface_chips(x, landmarks, 9), image)
    arcface_chips(image, landmarks, 9).sum().backward()
    assert landmarks.grad is None
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
