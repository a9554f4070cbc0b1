"""ResNet-50 (He et al. 2015, arXiv 1512.03385) without its classifier, in two stride layouts.

Both layouts have the same parameters under the names of torchvision's ``resnet50`` (``conv1``,
``bn1``, ``layer1.0.conv1``, …), so that one file of ImageNet weights fits either. They differ in
the unit of a stage that halves the resolution:

* ``"paper"``: the *last* unit of stages 1 to 3 (the layout of TF-slim's ResNet v1), which makes
  the output of stage 1 28x28x256 for a 224 px image, as Deng et al. 2019 (arXiv 1903.08527)
  state for F_b1;
* ``"torchvision"``: the *first* unit of stages 2 to 4; the output of stage 1 is 56x56x256.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

Variant = Literal["paper", "torchvision"]

STAGE_UNITS = (3, 4, 6, 3)
STAGE_WIDTHS = (64, 128, 256, 512)
EXPANSION = 4
FEATURES = STAGE_WIDTHS[-1] * EXPANSION  # 2048, the length of F_g


class Bottleneck(nn.Module):
    """A residual unit 1x1, 3x3, 1x1; the 3x3 convolution carries the stride.

    The shortcut is a projection where the number of channels changes, otherwise the identity,
    subsampled by the stride.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * EXPANSION
        self.stride = stride
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample: nn.Sequential | None = None
        if channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, 4 width, H / stride, W / stride)."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        if self.downsample is not None:
            x = self.downsample(x)
        elif self.stride > 1:
            x = functional.max_pool2d(x, 1, self.stride)  # a pool of one pixel only subsamples
        return functional.relu(x + y)


class ResNet50(nn.Module):
    """The convolutional part of ResNet-50.

    Starts as an identity mapping of each unit: convolutions by He's rule (fan out), the last
    batch normalization of a unit at zero.

    Raises:
        ValueError: ``variant`` is neither ``"paper"`` nor ``"torchvision"``.
    """

    def __init__(self, variant: Variant = "paper") -> None:
        super().__init__()
        if variant not in get_args(Variant):
            raise ValueError(f"variant must be one of {get_args(Variant)}, got {variant!r}")
        self.variant = variant
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        stages = []
        for index, (units, width) in enumerate(zip(STAGE_UNITS, STAGE_WIDTHS, strict=True)):
            strides = [1] * units
            if variant == "paper" and index < 3:
                strides[-1] = 2
            elif variant == "torchvision" and index > 0:
                strides[0] = 2
            blocks = []
            for stride in strides:
                blocks.append(Bottleneck(channels, width, stride))
                channels = width * EXPANSION
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self._initialize()

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features of images.

        Args:
            images: (N, 3, H, W) float, RGB in [0, 1]; H and W multiples of 32.

        Returns:
            The output of stage 1, (N, 256, H/8, W/8) in the paper's layout and (N, 256, H/4, W/4)
            in torchvision's; and that of stage 4 averaged over all positions, (N, 2048).

        Raises:
            ValueError: the height or width is not a multiple of 32.
        """
        if images.shape[-2] % 32 or images.shape[-1] % 32:
            raise ValueError(f"image sides must be multiples of 32, got {tuple(images.shape)}")
        x = functional.relu(self.bn1(self.conv1(images)))
        stage1: Tensor = self.layer1(functional.max_pool2d(x, 3, 2, 1))
        stage4: Tensor = self.layer4(self.layer3(self.layer2(stage1)))
        return stage1, torch.mean(stage4, dim=(2, 3))
