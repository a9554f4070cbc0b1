"""The hybrid-level loss of the paper (section 4.1): all terms of one set of coefficients."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, NonNegativeFloat
from torch import Tensor, nn

from facewright.models.camera import CAMERA_DISTANCE, CROP_SIZE
from facewright.models.camera_torch import pose_points, project
from facewright.models.layout import CoefficientLayout, Coefficients
from facewright.models.light_torch import shade
from facewright.models.morphable_model import MorphableModel
from facewright.models.morphable_model_torch import TorchMorphableModel
from facewright.models.normals_torch import vertex_normals
from facewright.training.losses.affinity import affinity_loss
from facewright.training.losses.landmarks import landmark_loss, paper_landmark_weights
from facewright.training.losses.openings import opening_loss
from facewright.training.losses.perceptual import composite, perceptual_loss
from facewright.training.losses.photometric import photometric_loss
from facewright.training.losses.regularization import albedo_variance, coefficient_prior
from facewright.training.recognition.recognizer import Recognizer
from facewright.training.render import Renderer, Rendering
from facewright.training.render.interpolation import NEAR


class PhotoTargets(NamedTuple):
    """What is known about N photos; float tensors but for `landmark_known`."""

    photo: Tensor
    """(N, 3, S, S) RGB in [0, 1]: the 224 crop, at S px."""
    attention: Tensor
    """(N, S, S) skin attention in [0, 1]."""
    landmarks: Tensor
    """(N, 68, 2) px of the 224 crop, whatever S is; anything where not known."""
    landmark_known: Tensor
    """(N, 68) bool."""


class HybridWeights(BaseModel):
    """Weights of the terms, by default the paper's (section 4.1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    photometric: NonNegativeFloat = 1.9
    landmarks: NonNegativeFloat = 1.6e-3
    perceptual: NonNegativeFloat = 0.2
    coefficients: NonNegativeFloat = 3e-4
    albedo_flattening: NonNegativeFloat = 5.0
    affinity: NonNegativeFloat = 0.0
    """Not in the paper, see `losses.affinity`."""
    openings: NonNegativeFloat = 0.0
    """Not in the paper, see `losses.openings`."""
    identity: NonNegativeFloat = 1.0
    """Within the coefficients' term, w_alpha."""
    expression: NonNegativeFloat = 0.8
    """Likewise, w_beta."""
    albedo: NonNegativeFloat = 1.7e-3
    """Likewise, w_gamma."""


class _Face(NamedTuple):
    """N faces made of coefficients."""

    posed_mm: Tensor  # (N, V, 3)
    albedo: Tensor  # (N, V, 3)
    light: Tensor  # (N, channels, 9)


class HybridLoss(nn.Module):
    """Terms of the weakly-supervised loss, from coefficients to scalars.

    Terms, each a mean over the batch: `photometric` (equation 2), `landmarks` (3),
    `perceptual` (4), `coefficients` (5), `albedo_flattening` (6), `affinity` (`losses.affinity`,
    over the pairs of the batch) and `openings` (`losses.openings`).  A term of weight 0 is not
    computed, and without a recognizer there is no `perceptual` and no `affinity`.

    Nothing here is trained, and the face model stays out of checkpoints.  Computed in the
    precision of the face model whatever autocast is on: millimeters need more than eight bits.

    Args:
        model: the face model that the coefficients belong to.
        layout: of the coefficients.
        weights: of the terms.
        recognizer: frozen face-recognition network for the perceptual term and the affinity.
        renderer: for the device that the tensors are on.
        render_size: S, the side of the photos and renderings in px.

    Raises ValueError when every term has weight 0, or the albedo is to be even over no vertex.
    """

    landmark_weights: Tensor
    skin_vertices: Tensor

    def __init__(
        self,
        model: MorphableModel,
        layout: CoefficientLayout,
        weights: HybridWeights,
        recognizer: Recognizer | None,
        renderer: Renderer,
        render_size: int = CROP_SIZE,
    ) -> None:
        super().__init__()
        self.layout = layout
        self.render_size = render_size
        self.weights = {
            "photometric": weights.photometric,
            "landmarks": weights.landmarks,
            "perceptual": weights.perceptual if recognizer is not None else 0.0,
            "coefficients": weights.coefficients,
            "albedo_flattening": weights.albedo_flattening,
            "affinity": weights.affinity if recognizer is not None else 0.0,
            "openings": weights.openings,
        }
        if not any(self.weights.values()):
            raise ValueError("every term of the loss has weight 0")
        if weights.albedo_flattening and not model.skin_region.any():
            raise ValueError("the face model has no skin region to flatten the albedo of")
        self._prior_weights = {
            "identity_weight": weights.identity,
            "expression_weight": weights.expression,
            "albedo_weight": weights.albedo,
        }
        self._recognizer = recognizer
        self._renderer = renderer
        self._model = TorchMorphableModel(model)
        self.register_buffer("landmark_weights", paper_landmark_weights(), persistent=False)
        skin_vertices = torch.from_numpy(model.skin_region.nonzero()[0])
        self.register_buffer("skin_vertices", skin_vertices, persistent=False)

    def forward(self, coefficients: Tensor, targets: PhotoTargets) -> dict[str, Tensor]:
        """Unweighted terms by name.

        coefficients: (N, size) in the layout.  Raises ValueError for other shapes and for photos
        of another size than `render_size`.
        """
        size = self.render_size
        if targets.photo.shape[1:] != (3, size, size):
            raise ValueError(f"expected (N, 3, {size}, {size}), got {tuple(targets.photo.shape)}")
        with torch.autocast(coefficients.device.type, enabled=False):
            parts = self._split(coefficients)
            return self._terms(parts, self._face(parts), targets)

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Weighted sum of the terms."""
        return torch.stack([self.weights[name] * value for name, value in terms.items()]).sum()

    def render(self, coefficients: Tensor) -> Rendering:
        """Pictures (N, 3, S, S) of coefficients (N, size); colors are not clipped."""
        with torch.autocast(coefficients.device.type, enabled=False):
            return self._render(self._face(self._split(coefficients)))

    def _terms(self, parts: Coefficients, face: _Face, targets: PhotoTargets) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        landmarks = _project_safely(face.posed_mm[:, self._model.landmarks])
        rendering = None
        if self.weights["photometric"] or self.weights["perceptual"]:
            rendering = self._render(face)
        if rendering is not None and self.weights["photometric"]:
            terms["photometric"] = photometric_loss(
                targets.photo, rendering.image, rendering.mask, targets.attention
            )
        if self.weights["landmarks"]:
            terms["landmarks"] = landmark_loss(
                landmarks, targets.landmarks, targets.landmark_known, self.landmark_weights
            )
        if self.weights["perceptual"] or self.weights["affinity"]:
            points = self._points_on_photos(landmarks.detach(), targets)
            of_photos = self._describe_photos(targets, points)
        if rendering is not None and self.weights["perceptual"]:
            terms["perceptual"] = self._perceptual(rendering, of_photos, points, targets)
        if self.weights["coefficients"]:
            terms["coefficients"] = coefficient_prior(
                parts.identity, parts.expression, parts.albedo, **self._prior_weights
            )
        if self.weights["albedo_flattening"]:
            terms["albedo_flattening"] = albedo_variance(face.albedo[:, self.skin_vertices])
        if self.weights["affinity"]:
            terms["affinity"] = affinity_loss(parts.identity, of_photos)
        if self.weights["openings"]:
            terms["openings"] = opening_loss(landmarks, targets.landmarks, targets.landmark_known)
        return terms

    def _points_on_photos(self, landmarks: Tensor, targets: PhotoTargets) -> Tensor:
        """Landmarks (N, 68, 2) px of the photos as they are given, to align them by.

        Where the photo's are not known, the face's own stand in, without a gradient.
        """
        points = torch.where(targets.landmark_known[..., None], targets.landmarks, landmarks)
        return points * (self.render_size / CROP_SIZE)

    def _describe_photos(self, targets: PhotoTargets, points: Tensor) -> Tensor:
        assert self._recognizer is not None
        with torch.no_grad():
            return self._recognizer(targets.photo, points)

    def _perceptual(
        self, rendering: Rendering, of_photos: Tensor, points: Tensor, targets: PhotoTargets
    ) -> Tensor:
        """Equation 4; both pictures are aligned by the same points."""
        assert self._recognizer is not None
        pasted = composite(targets.photo, rendering.image, rendering.mask)
        return perceptual_loss(of_photos, self._recognizer(pasted, points))

    def _split(self, coefficients: Tensor) -> Coefficients:
        return self.layout.split(coefficients.to(self._model.mean_shape.dtype))

    def _face(self, parts: Coefficients) -> _Face:
        shape = self._model.shape(parts.identity, parts.expression)
        posed = pose_points(shape, parts.rotation, parts.translation)
        return _Face(posed, self._model.albedo(parts.albedo), parts.light)

    def _render(self, face: _Face) -> Rendering:
        triangles = self._model.triangles
        normals = vertex_normals(face.posed_mm, triangles)
        colors = shade(face.albedo, normals, face.light)
        return self._renderer(face.posed_mm, triangles, colors, self.render_size)


def _project_safely(posed_mm: Tensor) -> Tensor:
    """Crop pixels of posed points, as if what is nearer than `NEAR` were at that depth.

    A wild prediction may lie behind the camera, where nothing can be projected.
    """
    z = posed_mm[..., 2:].clamp(max=CAMERA_DISTANCE - NEAR)
    return project(torch.cat([posed_mm[..., :2], z], dim=-1))
