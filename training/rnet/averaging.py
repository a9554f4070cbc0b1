"""The moving average of the weights, which is what a run is for."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from facewright.training.rnet.batches import Batch
from facewright.training.rnet.module import regress
from facewright.training.rnet.plan import Step
from facewright.training.rnet.workers import Workers


class WeightAverage:
    """Exponential moving average of a network, its window counted in images.

    Args:
        net: it starts with this network as it is.
        window_images: of the average; None keeps the newest weights.

    Attributes:
        net: the averaged network, in eval mode.
    """

    def __init__(self, net: nn.Module, window_images: int | None) -> None:
        self._window = window_images
        self.net = copy.deepcopy(net).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, newest: nn.Module, step: Step) -> None:
        """Take up the weights after a step."""
        weight = average_weight(self._window, step.cursor.step, step.images)
        for mean, number in zip(_numbers(self.net), _numbers(newest), strict=True):
            mean.lerp_(number, weight)

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Batch], workers: Workers, bf16: bool) -> None:
        """Set the batch-norm statistics by fresh batches through the averaged weights.

        Every worker has its own batches; the statistics are averaged over the workers.
        """
        norms = [module for module in self.net.modules() if isinstance(module, nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # cumulative mean over all batches
            norm.train()
        for batch in batches:
            regress(self.net, batch.crops.to(workers.device), bf16)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
            for buffer in norm.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(workers.mean(buffer.clone()))


def average_weight(window_images: int | None, step: int, images: int) -> float:
    """Weight of the newest parameters in the moving average after a step of `images` images.

    Early on the window is a tenth of the steps so far, so that the random start is forgotten.
    Without a window the average is the newest parameters.
    """
    if window_images is None:
        return 1.0
    return max(min(images / window_images, 1.0), 9.0 / (10.0 + step))


def _numbers(net: nn.Module) -> list[Tensor]:
    """Parameters and the buffers that can be averaged."""
    return [*net.parameters(), *(b for b in net.buffers() if b.is_floating_point())]
