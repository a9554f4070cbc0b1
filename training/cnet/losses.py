"""What an aggregated identity is judged by: known shapes, or photos re-rendered with it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from facewright.models.aggregation_torch import aggregate
from facewright.models.layout import CoefficientLayout
from facewright.models.morphable_model import MorphableModel
from facewright.training.cnet.experiment import ShapeWeights
from facewright.training.losses.hybrid import HybridLoss, PhotoTargets
from facewright.training.losses.quadratic_forms import face_forms, root_mean_form


class ShapeLoss(nn.Module):
    """Terms of sets whose true identity is known, each a mean over the sets.

    * `normal`: root mean square distance of the aggregated from the true neutral face along
      normals after alignment, mm;
    * `sigma`: root mean square of the difference of their coefficients;
    * `likelihood`: negative log-likelihood of the single photos' coefficients, as if each erred
      by a normal distribution whose precision is its confidence times a constant of the
      coefficient, which is learned along. Inverse variances are the best weights of a mean of
      independent estimates, and every photo says something about its own, not only its set.

    Attributes:
        log_precision: (80,), logarithms of those constants.
    """

    form: Tensor

    def __init__(self, model: MorphableModel, weights: ShapeWeights) -> None:
        super().__init__()
        self.weights = {name: w for name, w in weights.model_dump().items() if w}
        count = len(model.identity_basis)
        form = face_forms(model)["shape_normal"][:count, :count]
        self.register_buffer("form", torch.tensor(form, dtype=torch.float32), persistent=False)
        # A confidence of 0.5 is a standard deviation of 1 to begin with.
        self.log_precision = nn.Parameter(torch.full((count,), float(np.log(2.0))))

    def forward(
        self, identity: Tensor, confidence: Tensor, present: Tensor, true: Tensor
    ) -> dict[str, Tensor]:
        """Unweighted terms by name.

        Args:
            identity: (B, K, 80), of the photos.
            confidence: (B, K, 80).
            present: (B, K) bool, which photos there are.
            true: (B, 80).
        """
        difference = aggregate(identity, confidence, present.float()) - true
        terms = {
            "normal": root_mean_form(difference, self.form),
            "sigma": (difference.square().mean(1) + 1e-8).sqrt().mean(),
        }
        if "likelihood" in self.weights:
            log_precision = self.log_precision + confidence.clamp(min=1e-12).log()
            squares = (identity - true[:, None]).square()
            terms["likelihood"] = (
                0.5 * (squares * log_precision.exp() - log_precision)[present].mean()
            )
        return {name: terms[name] for name in self.weights}

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Weighted sum of the terms."""
        return torch.stack([self.weights[name] * value for name, value in terms.items()]).sum()


def level(confidence: Tensor, present: Tensor) -> Tensor:
    """How far the mean confidence of each coefficient is from where it starts, 0.5, squared.

    An album's identity depends on the proportions of its photos' confidences only. Left alone,
    their level drifts by orders of magnitude; held, they mean the same in every coefficient, and
    their mean over the coefficients says how good a photo is.

    Args:
        confidence: (B, K, 80).
        present: (B, K) bool.

    Returns:
        Mean over the coefficients.
    """
    return (confidence[present].mean(0) - 0.5).square().mean()


def rerendered(
    loss: HybridLoss,
    layout: CoefficientLayout,
    identity: Tensor,
    confidence: Tensor,
    present: Tensor,
    coefficients: Tensor,
    targets: PhotoTargets,
) -> dict[str, Tensor]:
    """Terms of eq. 8: the hybrid loss of every photo drawn with the identity of its set.

    The photos are compared as they are, with the expression, albedo, pose and light that R-Net
    finds in them as they are; only identities and confidences are those of degraded copies.

    Args:
        loss: the hybrid loss.
        layout: of the coefficients.
        identity: (B, K, 80), of what C-Net and R-Net saw.
        confidence: (B, K, 80).
        present: (B, K) bool.
        coefficients: (B, K, layout.size), of the photos as they are.
        targets: of the photos that are present, row by row.
    """
    shared = aggregate(identity, confidence, present.float())
    parts = layout.split(coefficients[present])
    sets = present.nonzero()[:, 0]
    terms: dict[str, Tensor] = loss(layout.join(parts._replace(identity=shared[sets])), targets)
    return terms
