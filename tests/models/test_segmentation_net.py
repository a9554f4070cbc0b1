from __future__ import annotations

import torch

from facewright.models.segmentation_torch import SegmentationNet


def test_every_pixel_gets_logits_of_its_own_neighborhood() -> None:
    torch.manual_seed(0)
    net = SegmentationNet().eval()
    crops = torch.rand(2, 3, 128, 128)
    with torch.inference_mode():
        logits = net(crops)
        crops[1, :, 100:103, 20:23] = 0
        changed = (net(crops) - logits).abs().sum(1)
    assert logits.shape == (2, 4, 128, 128)
    assert changed[0].max() == 0
    row, column = divmod(int(changed[1].argmax()), 128)
    assert abs(row - 101) < 12
    assert abs(column - 21) < 12
