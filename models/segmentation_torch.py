"""The segmentation network: a small U-Net (Ronneberger et al. 2015, arXiv 1505.04597).

Two by two pixels are the channels of one place (Shi et al. 2016, arXiv 1609.05158) where it begins
and ends, so that nothing is computed at full resolution, which would take half of the time.
Residual units at the coarse levels; sums instead of concatenations on the way up.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facewright.models.segmentation import CLASSES

WIDTHS = (24, 32, 64, 96)
"""Channels at 64, 32, 16 and 8 px."""
UNITS = (0, 1, 2, 2)
"""Residual units at each level on the way down."""
FOLD = 2
"""Pixels along a side that are one place."""


class ConvNorm(nn.Module):
    """A 3 × 3 or 1 × 1 convolution and batch normalization."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        normed: Tensor = self.norm(self.conv(x))
        return normed


class ResidualUnit(nn.Module):
    """Two convolutions whose result is added to what they see."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = ConvNorm(width, width), ConvNorm(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class SegmentationNet(nn.Module):
    """From crops to the logits of the classes of `models.segmentation`."""

    def __init__(self) -> None:
        super().__init__()
        inputs = (3 * FOLD * FOLD, *WIDTHS)
        self.down = nn.ModuleList(
            ConvNorm(below, own, stride=1 + (level > 0))
            for level, (below, own) in enumerate(zip(inputs, WIDTHS, strict=False))
        )
        self.units = nn.ModuleList(
            nn.Sequential(*(ResidualUnit(width) for _ in range(count)))
            for width, count in zip(WIDTHS, UNITS, strict=True)
        )
        self.lateral = nn.ModuleList(
            ConvNorm(below, own, kernel=1) for own, below in zip(WIDTHS, WIDTHS[1:], strict=False)
        )
        self.up = nn.ModuleList(ConvNorm(width, width) for width in WIDTHS[:-1])
        self.head = nn.Conv2d(WIDTHS[0], len(CLASSES) * FOLD * FOLD, 1)

    def forward(self, crops_nchw: Tensor) -> Tensor:
        """Logits (N, 4, 128, 128) of crops (N, 3, 128, 128), RGB in [0, 1]."""
        x, levels = nn.functional.pixel_unshuffle(2 * crops_nchw - 1, FOLD), []
        for down, units in zip(self.down, self.units, strict=True):
            x = units(torch.relu(down(x)))
            levels.append(x)
        for level in reversed(range(len(self.up))):
            coarse = nn.functional.interpolate(self.lateral[level](x), scale_factor=2.0)
            x = torch.relu(self.up[level](torch.relu(levels[level] + coarse)))
        return nn.functional.pixel_shuffle(self.head(x), FOLD)
