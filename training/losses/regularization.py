"""Equations 5 and 6: faces should be likely, and their skin even."""

from __future__ import annotations

from torch import Tensor


def coefficient_prior(
    identity: Tensor,
    expression: Tensor,
    albedo: Tensor,
    *,
    identity_weight: float,
    expression_weight: float,
    albedo_weight: float,
) -> Tensor:
    """Weighted squared length of the coefficients (paper, equation 5), mean over faces.

    L = w_alpha |alpha|^2 + w_beta |beta|^2 + w_gamma |delta|^2, with coefficients in sigmas:
    identity alpha (N, 80), expression beta (N, 64), albedo delta (N, 80).  Returns ().
    """
    per_face = (
        identity_weight * identity.square().sum(1)
        + expression_weight * expression.square().sum(1)
        + albedo_weight * albedo.square().sum(1)
    )
    return per_face.mean()


def albedo_variance(albedo: Tensor) -> Tensor:
    """Variance of the albedo over the vertices of the skin region (paper, equation 6).

    Summed over red, green and blue, mean over faces.  What looks like a shadow should be
    explained by light and shape, not be painted on the skin.

    albedo: (N, R, 3) sRGB in [0, 1] of the R vertices of the region.  Returns ().
    """
    return albedo.var(1, correction=0).sum(1).mean()
