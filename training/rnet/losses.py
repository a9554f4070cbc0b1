"""The supervised loss of R-Net: distances in mm, px and shades rather than in coefficients."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from facewright.models.camera import CAMERA_DISTANCE, TRANSLATION_UNIT
from facewright.models.camera_torch import project, rotation_matrix
from facewright.models.landmarks import INNER_MOUTH, LANDMARK_COUNT, LEFT_EYE, RIGHT_EYE
from facewright.models.layout import LAYOUT_239
from facewright.models.morphable_model import MorphableModel
from facewright.models.morphable_model_torch import TorchMorphableModel
from facewright.training.losses.quadratic_forms import ROUNDING, face_forms, root_mean_form
from facewright.training.rnet.experiment import LossWeights

# Opening of eyes and mouth is a matter of few pixels.
OPENING_WEIGHT = 2.0


class Targets(NamedTuple):
    """What is known about the N faces of a batch; float32 tensors.

    The rotation is a matrix, so that no error depends on how angles wrap.
    """

    identity: Tensor  # (N, 80)
    expression: Tensor  # (N, 64)
    albedo: Tensor  # (N, 80)
    light: Tensor  # (N, 9)
    rotation: Tensor  # (N, 3, 3)
    translation: Tensor  # (N, 3), units of 100 mm
    landmarks: Tensor  # (N, 68, 2), px of the 224 px crop
    person: Tensor  # (N,), equal for views of one person; a mirrored one is somebody else


def rotation_distance(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean Frobenius norm of the difference of rotation matrices (N, 3, 3): about √2 · angle."""
    return ((predicted - true).square().sum((1, 2)) + 1e-8).sqrt().mean()


def landmark_distance(predicted: Tensor, true: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean absolute difference of landmarks (N, 68, 2) in px; weights (68,) mean 1."""
    return ((predicted - true).abs().mean(2) * weights).mean()


def depth_distance(predicted: Tensor, true: Tensor) -> Tensor:
    """Mean absolute difference of the logarithms of the origin's depth; translations (N, 3)."""

    def log_depth(translation: Tensor) -> Tensor:
        depth = CAMERA_DISTANCE - TRANSLATION_UNIT * translation[:, 2]
        return torch.log(depth.clamp(min=100.0))

    return (log_depth(predicted) - log_depth(true)).abs().mean()


def view_distance(identity: Tensor, person: Tensor, form: Tensor) -> Tensor:
    """Mean over pairs of views of one person of √(dᵀ G d): how far their identities disagree.

    Args:
        identity: (N, k) predicted.
        person: (N,) whose views they are.
        form: (k, k).
    """
    first, second = torch.triu_indices(len(person), len(person), 1, device=person.device)
    same = person[first] == person[second]
    if not bool(same.any()):
        return identity.sum() * 0
    return root_mean_form(identity[first[same]] - identity[second[same]], form)


class RNetLoss(nn.Module):
    """All terms of the loss of coefficients in the layout of 239.

    Terms, each a mean over the batch:

    * `identity` mm, `expression` mm: root mean square over the surface;
    * `identity_normal`, `shape_normal` mm: along normals after alignment, of the neutral face
      and of the face with its expression;
    * `identity_sigma`: root mean square of the identity's coefficients, in which small features
      count as much as the size of the head: they tell people apart;
    * `landmarks` px under the predicted pose, `landmarks_true_pose` px under the known one;
    * `rotation`: of matrices; `translation`: x and y, 100 mm; `depth`: logarithm;
    * `albedo` sRGB units, `light`: of the shading factor;
    * `views` mm: between the identities predicted from two views of one person.
    """

    identity_form: Tensor
    expression_form: Tensor
    shape_normal_form: Tensor
    albedo_form: Tensor
    light_form: Tensor
    landmark_mean: Tensor
    landmark_basis: Tensor
    landmark_weights: Tensor

    def __init__(self, model: MorphableModel, weights: LossWeights) -> None:
        super().__init__()
        self.weights = weights.model_dump()
        for name, form in face_forms(model).items():
            self.register_buffer(f"{name}_form", torch.tensor(form, dtype=torch.float32))
        torch_model = TorchMorphableModel(model)
        at = torch_model.landmarks
        self.register_buffer("landmark_mean", torch_model.mean_shape[at])
        basis = torch.cat([torch_model.identity_basis[:, at], torch_model.expression_basis[:, at]])
        self.register_buffer("landmark_basis", basis.flatten(1))
        emphasis = torch.ones(LANDMARK_COUNT)
        for group in (LEFT_EYE, RIGHT_EYE, INNER_MOUTH):
            emphasis[group] = OPENING_WEIGHT
        self.register_buffer("landmark_weights", emphasis / emphasis.mean())

    def landmarks(self, shape: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
        """Projected landmarks (N, 68, 2) px of shape coefficients (N, 144) and pose matrices."""
        points = self.landmark_mean + (shape @ self.landmark_basis).view(-1, LANDMARK_COUNT, 3)
        posed = points @ rotation.transpose(1, 2) + TRANSLATION_UNIT * translation[:, None]
        # A wild prediction may lie behind the camera, where nothing can be projected.
        farthest = torch.tensor(CAMERA_DISTANCE - 100.0)
        return project(torch.cat([posed[..., :2], posed[..., 2:].minimum(farthest)], -1))

    def forward(self, coefficients: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Unweighted terms by name for predicted `coefficients` (N, 239), float32."""
        predicted = LAYOUT_239.split(coefficients)
        identity = predicted.identity - targets.identity
        expression = predicted.expression - targets.expression
        shape = torch.cat([identity, expression], 1)
        shape_form = self.shape_normal_form
        n = identity.shape[1]
        rotation = rotation_matrix(predicted.rotation)
        predicted_shape = torch.cat([predicted.identity, predicted.expression], 1)
        true_shape = torch.cat([targets.identity, targets.expression], 1)
        seen = self.landmarks(predicted_shape, rotation, predicted.translation)
        placed = self.landmarks(predicted_shape, targets.rotation, targets.translation)
        true = self.landmarks(true_shape, targets.rotation, targets.translation)
        light = predicted.light[:, 0] - targets.light
        return {
            "identity": root_mean_form(identity, self.identity_form),
            "expression": root_mean_form(expression, self.expression_form),
            "identity_normal": root_mean_form(identity, shape_form[:n, :n]),
            "shape_normal": root_mean_form(shape, shape_form),
            "identity_sigma": (identity.square().mean(1) + ROUNDING).sqrt().mean(),
            "landmarks": landmark_distance(seen, targets.landmarks, self.landmark_weights),
            "landmarks_true_pose": landmark_distance(placed, true, self.landmark_weights),
            "rotation": rotation_distance(rotation, targets.rotation),
            "translation": (predicted.translation - targets.translation)[:, :2].abs().mean(),
            "depth": depth_distance(predicted.translation, targets.translation),
            "albedo": root_mean_form(
                predicted.albedo - targets.albedo, self.albedo_form, rounding=1e-5
            ),
            "light": root_mean_form(light, self.light_form, rounding=1e-4),
            "views": view_distance(predicted.identity, targets.person, self.identity_form),
        }

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Weighted sum of the terms."""
        return torch.stack([self.weights[name] * value for name, value in terms.items()]).sum()
