"""C-Net: how far each identity coefficient of a photo can be trusted.

Deng et al. 2019 (arXiv 1903.08527), §4. Its confidences weigh the photos of an album in the
aggregation of their identities (eq. 7).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from facewright.models.resnet_torch import FEATURES

N_CONFIDENCES = 80
CHANNELS = 256
HIDDEN = 512


class CNet(nn.Module):
    """Confidence network on R-Net's features, 2,991,440 parameters.

    F_b1 goes through three 3x3 convolutions (256 channels, stride 2, ReLU) and global average
    pooling; the 256 numbers joined to F_g go through a fully connected layer of 512 (ReLU) and
    one of 80 with a sigmoid. The last layer starts at zero: every confidence is 0.5 and the
    aggregation a plain average.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1)
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1)
        self.conv3 = nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1)
        self.fc1 = nn.Linear(CHANNELS + FEATURES, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, N_CONFIDENCES)
        for layer in (self.conv1, self.conv2, self.conv3, self.fc1):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.fc2.weight)
        nn.init.zeros_(self.fc2.bias)

    def forward(self, fb1: Tensor, fg: Tensor) -> Tensor:
        """Confidences of the identity coefficients.

        Args:
            fb1: (N, 256, H, W), output of R-Net's first stage; 28x28 for a 224 px crop.
            fg: (N, 2048), R-Net's pooled features.

        Returns:
            (N, 80) in (0, 1).
        """
        x = fb1
        for conv in (self.conv1, self.conv2, self.conv3):
            x = functional.relu(conv(x))
        pooled = torch.mean(x, dim=(2, 3))
        hidden = functional.relu(self.fc1(torch.cat([pooled, fg], dim=1)))
        return torch.sigmoid(self.fc2(hidden))
