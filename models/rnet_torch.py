"""R-Net: a crop in, the coefficients of a face out (Deng et al. 2019, arXiv 1903.08527, §3)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from facewright.models.alignment import CROP_SCALE
from facewright.models.camera import CAMERA_DISTANCE, CROP_SIZE, FOCAL_LENGTH, TRANSLATION_UNIT
from facewright.models.identity_branch_torch import IdentityBranch
from facewright.models.layout import LAYOUT_239, CoefficientLayout, Coefficients
from facewright.models.resampling import area_weights
from facewright.models.resnet_torch import FEATURES, ResNet50, Variant

# Brightness of skin as a factor on its albedo in an ordinary portrait, summed over all light.
MEAN_SHADING = 0.9
# Standard deviation of the last layer's weights. Pooled features are about 0.5, so the first
# predictions scatter by about 0.001 sqrt(2048 / 4) = 0.02 around the bias.
LAST_LAYER_STD = 1e-3


def initial_coefficients(layout: CoefficientLayout) -> Tensor:
    """The mean face, frontal, evenly lit, where the alignment puts it.

    The alignment centers the template and scales it to 1.02 px/mm; under the perspective camera
    that is the scale of points at depth 1015 / 1.02 = 995.1 mm, 4.9 mm in front of the plane of
    the origin. The depth of the five points themselves relative to the origin is left to be
    learned. The first band of light alone shades every normal with γ₀ a₀c₀, a₀c₀ = √π / 2.

    Returns:
        (layout.size,) float32.
    """
    channels = layout.light_channels
    light = torch.zeros(1, channels, 9)
    light[..., 0] = MEAN_SHADING / (math.sqrt(math.pi) / 2)
    depth_offset = (CAMERA_DISTANCE - FOCAL_LENGTH / CROP_SCALE) / TRANSLATION_UNIT
    zeros = torch.zeros(1, layout.size)
    start: Tensor = layout.join(
        Coefficients(
            identity=zeros[:, layout.identity],
            expression=zeros[:, layout.expression],
            albedo=zeros[:, layout.albedo],
            light=light,
            rotation=zeros[:, layout.rotation],
            translation=torch.tensor([[0.0, 0.0, depth_offset]]),
        )
    )
    return start[0]


class Regression(NamedTuple):
    """What R-Net makes of N crops."""

    coefficients: Tensor
    """(N, layout.size)."""
    stage1: Tensor
    """F_b1, see :meth:`RNet.features`."""
    pooled: Tensor
    """F_g, (N, 2048)."""
    descriptors: Tensor | None
    """(N, 128) of unit length, whose cosines tell people apart; None without the branch."""


class RNet(nn.Module):
    """ResNet-50 with one linear layer from the pooled features to the coefficients.

    Starts by predicting :func:`initial_coefficients` for every image, nearly. With a branch the
    identity is joined with that of recognition features; the paper's network has none.

    Args:
        layout: of the output.
        variant: stride layout of the ResNet; ``"paper"`` gives F_b1 at 28x28 for a 224 px image.
        input_size: side of the images that the ResNet was trained on, px, a multiple of 32;
            larger crops are shrunk to it first. The paper's is 224.
        branch: see :mod:`models.identity_branch_torch`; it sees crops before they are shrunk.
    """

    def __init__(
        self,
        layout: CoefficientLayout = LAYOUT_239,
        variant: Variant = "paper",
        input_size: int = CROP_SIZE,
        branch: IdentityBranch | None = None,
    ) -> None:
        super().__init__()
        self.layout = layout
        self.input_size = input_size
        self.backbone = ResNet50(variant)
        self.fc = nn.Linear(FEATURES, layout.size)
        nn.init.normal_(self.fc.weight, std=LAST_LAYER_STD)
        with torch.no_grad():
            self.fc.bias.copy_(initial_coefficients(layout))
        self.branch = branch

    @property
    def variant(self) -> Variant:
        """Stride layout of the ResNet."""
        return self.backbone.variant

    def shrink(self, crops_nchw: Tensor) -> Tensor:
        """Crops (N, 3, S, S) averaged by area to sides of ``input_size``; smaller ones stay.

        Raises:
            ValueError: crops to shrink are not square.
        """
        height, side = crops_nchw.shape[-2:]
        if side <= self.input_size and height <= self.input_size:
            return crops_nchw
        if height != side:
            raise ValueError(f"crops must be square, got {tuple(crops_nchw.shape)}")
        weights = torch.from_numpy(area_weights(side, self.input_size)).to(crops_nchw)
        return weights @ crops_nchw @ weights.T

    def features(self, images_nchw: Tensor) -> tuple[Tensor, Tensor]:
        """What C-Net looks at.

        Args:
            images_nchw: (N, 3, H, W) float, RGB in [0, 1], shrunk already; H and W multiples
                of 32.

        Returns:
            F_b1, (N, 256, H/8, W/8) (H/4, W/4 in torchvision's layout), and F_g, (N, 2048).
        """
        fb1, fg = self.backbone(images_nchw)
        return fb1, fg

    def regress(self, crops_nchw: Tensor) -> Regression:
        """Everything that is known of crops (N, 3, S, S) in [0, 1]."""
        stage1, pooled = self.features(self.shrink(crops_nchw))
        coefficients, descriptors = self.fc(pooled), None
        if self.branch is not None:
            coefficients, descriptors = self.branch(crops_nchw, coefficients, self.layout)
        return Regression(coefficients, stage1, pooled, descriptors)

    def forward(self, crops_nchw: Tensor) -> Tensor:
        """Coefficients (N, layout.size) of crops (N, 3, S, S) in [0, 1]."""
        return self.regress(crops_nchw).coefficients
