"""The moving average of the weights, which is what a run is for."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from facewright.training.rnet.batches import Batch
from facewright.training.rnet.module import regress
from facewright.training.rnet.plan import Step
from facewright.training.rnet.schedule import average_weight
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


def _numbers(net: nn.Module) -> list[Tensor]:
    """Parameters and the buffers that can be averaged."""
    return [*net.parameters(), *(b for b in net.buffers() if b.is_floating_point())]
