"""dlib's face-recognition ResNet: a 150 px face chip to 128 numbers.

The network is that of dlib's example ``dnn_face_recognition_ex.cpp``: ResNet-34 (He et al. 2015,
arXiv 1512.03385) with fewer layers and half as many filters, 29 convolutions. Its batch
normalization is an affine layer behind each convolution, which is multiplied into the convolution
here: every convolution has a bias, and there is nothing else to learn.

A unit that halves the resolution has a 2x2 average as its shortcut. What is added then differs in
size (channels; the last row and column), and the smaller one counts as zero outside itself.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

CHIP_SIZE: Final = 150
DIMENSION: Final = 128
STEM_FILTERS: Final = 32
STAGES: Final = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))
"""Filters and units of each stage; the first unit of all but the first stage halves."""
TRUNK_FEATURES: Final = STAGES[-1][0]
"""Length of what the last layer reads."""
MEAN_RGB: Final = (122.782, 117.001, 104.298)
"""Of the published network, subtracted from 0 to 255."""

PIXEL_RANGE: Final = 255.0
INPUT_SCALE: Final = 256.0
"""dlib's input layer divides by 256, not by 255."""


class ResidualUnit(nn.Module):
    """Two convolutions and a shortcut, which is halved where the first convolution halves."""

    def __init__(self, channels: int, filters: int, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        stride, padding = (2, 0) if halves else (1, 1)
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, padding)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, filters, H', W')."""
        y = self.conv2(functional.relu(self.conv1(x)))
        if self.halves:
            x = functional.avg_pool2d(x, 2)
        return functional.relu(add_padded(x, y))


def add_padded(x: Tensor, y: Tensor) -> Tensor:
    """The sum of (N, C, H, W) tensors of different sizes, each zero outside itself."""
    if x.shape == y.shape:
        return x + y
    sizes = [max(a, b) for a, b in zip(x.shape[1:], y.shape[1:], strict=True)]

    def padded(tensor: Tensor) -> Tensor:
        missing = [s - t for s, t in zip(sizes, tensor.shape[1:], strict=True)]
        return functional.pad(tensor, (0, missing[2], 0, missing[1], 0, missing[0]))

    return padded(x) + padded(y)


class FaceResNet(nn.Module):
    """The network; `training/recognition` reads its weights."""

    mean: Tensor
    """(3, 1, 1), subtracted from the chips' 0 to 255."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN_RGB)[:, None, None])
        self.stem = nn.Conv2d(3, STEM_FILTERS, 7, 2)
        units = []
        channels = STEM_FILTERS
        for stage, (filters, count) in enumerate(STAGES):
            for index in range(count):
                units.append(ResidualUnit(channels, filters, halves=stage > 0 and index == 0))
                channels = filters
        self.units = nn.Sequential(*units)
        self.head = nn.Linear(channels, DIMENSION, bias=False)

    def features(self, chips: Tensor) -> Tensor:
        """What the last layer reads, (N, 256), of chips (N, 3, S, S), RGB in [0, 1]."""
        x = (PIXEL_RANGE * chips - self.mean) / INPUT_SCALE
        x = functional.max_pool2d(functional.relu(self.stem(x)), 3, 2)
        pooled: Tensor = self.units(x).mean((2, 3))
        return pooled

    def forward(self, chips: Tensor) -> Tensor:
        """Descriptors of face chips.

        Args:
            chips: (N, 3, 150, 150) float, RGB in [0, 1].

        Returns:
            (N, 128); dlib's users tell people apart by a distance of 0.6.
        """
        descriptors: Tensor = self.head(self.features(chips))
        return descriptors
