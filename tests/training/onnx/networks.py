"""Networks to export, and crops for them."""

from __future__ import annotations

import torch

from facewright.models.cnet_torch import CNet
from facewright.models.resnet_torch import Bottleneck
from facewright.models.rnet_torch import RNet


def blocks(n: int, side: int = 14, seed: int = 0) -> torch.Tensor:
    """(n, 3, 16 side, 16 side) crops of random blocks of color."""
    coarse = torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, scale_factor=16.0)


def networks(input_size: int = 224, trained_cnet: bool = True) -> tuple[RNet, CNet]:
    """Networks with nothing at its initial value and statistics that fit their activations."""
    torch.manual_seed(0)
    rnet, cnet = RNet(input_size=input_size), CNet()
    for module in rnet.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.7, 1.3)
            torch.nn.init.normal_(module.bias, std=0.1)
            module.momentum = None
    for module in rnet.modules():
        if isinstance(module, Bottleneck):  # a small part of the sum, as in trained networks
            torch.nn.init.uniform_(module.bn3.weight, 0.1, 0.3)
    torch.nn.init.normal_(rnet.fc.weight, std=0.02)
    if trained_cnet:
        torch.nn.init.normal_(cnet.fc2.weight, std=0.05)
    with torch.no_grad():
        rnet.train()(blocks(8, 4))
    return rnet.eval(), cnet.eval()
