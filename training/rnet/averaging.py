"""The moving average of the weights, which is what a run is for."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor, nn

from facewright.training.rnet.batches import Batch
from facewright.training.rnet.module import RNetModule, first_stages, regress
from facewright.training.rnet.schedule import average_weight


class WeightAverage(lightning.Callback):
    """Exponential moving average of the network, its window counted in images.

    Checkpoints carry it as ``model``, the entry that ``models.checkpoints_torch`` reads, so a
    checkpoint can be exported at any time.

    Args:
        window_images: of the average; None keeps the newest weights.
        frozen_stages: of the network, whose statistics stay, too.

    Attributes:
        net: the averaged network, in eval mode.
    """

    def __init__(self, window_images: int | None, frozen_stages: int = 0) -> None:
        self._window = window_images
        self._frozen_stages = frozen_stages
        self.net: nn.Module = nn.Identity()

    def setup(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        """Start with the network as it is."""
        assert isinstance(pl_module, RNetModule)
        self.net = copy.deepcopy(pl_module.net).eval().requires_grad_(False)

    def on_fit_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Follow the network to its device."""
        self.net.to(pl_module.device)

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Take up the newest weights."""
        assert isinstance(pl_module, RNetModule)
        weight = average_weight(self._window, batch.step.cursor.step, batch.step.images)
        for mean, newest in zip(_numbers(self.net), _numbers(pl_module.net), strict=True):
            mean.lerp_(newest, weight)

    def on_save_checkpoint(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Add the averaged weights."""
        checkpoint["model"] = {
            name: value.detach().cpu().contiguous() for name, value in self.net.state_dict().items()
        }

    def on_load_checkpoint(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Take the averaged weights back."""
        self.net.load_state_dict(checkpoint["model"])

    @torch.no_grad()
    def calibrate(self, trainer: lightning.Trainer, batches: Iterable[Batch], bf16: bool) -> None:
        """Set the batch-norm statistics by fresh batches through the averaged weights.

        Every worker has its own batches; the statistics are averaged over the workers.
        """
        frozen = {
            part
            for stage in first_stages(self.net, self._frozen_stages)
            for part in stage.modules()
        }
        norms = [
            module
            for module in self.net.modules()
            if isinstance(module, nn.BatchNorm2d) and module not in frozen
        ]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # cumulative mean over all batches
            norm.train()
        for batch in batches:
            regress(self.net, batch.crops.to(trainer.strategy.root_device), bf16)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
            for buffer in norm.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(trainer.strategy.reduce(buffer.clone(), reduce_op="mean"))


def _numbers(net: nn.Module) -> list[Tensor]:
    """Parameters and the buffers that can be averaged."""
    return [*net.parameters(), *(b for b in net.buffers() if b.is_floating_point())]
