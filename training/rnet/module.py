"""R-Net as it is trained: the losses of a batch and the step of the optimizer."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from facewright.training.losses.hybrid import HybridLoss
from facewright.training.rnet.batches import Batch
from facewright.training.rnet.experiment import Experiment
from facewright.training.rnet.losses import RNetLoss
from facewright.training.trainer.optimizer import decaying, make_optimizer

PHOTO_PREFIX = "photo_"


@lru_cache
def computes_bf16(device_type: str) -> bool:
    """Whether the hardware multiplies in bfloat16; a CPU that emulates it is 5 times slower."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def regress(net: Any, crops_nchw: Tensor, bf16: bool) -> Tensor:
    """Coefficients (N, size) float32 of crops, convolutions in bfloat16 if asked and possible.

    The last layer always runs in float32: eight bits are too few for a pose. So do the losses.
    """
    device = crops_nchw.device.type
    with torch.autocast(device, torch.bfloat16, enabled=bf16 and computes_bf16(device)):
        features = net.features(crops_nchw)[1]
    coefficients: Tensor = net.fc(features.float())
    return coefficients


class RNetModule(nn.Module):
    """R-Net under the supervised loss on portraits and the hybrid loss on photographs.

    Args:
        net: network with the interface of `RNet`: `features` and `fc`.
        experiment: settings.
        portrait_loss: needed when the experiment uses portraits.
        photo_loss: needed when the experiment uses photographs.

    """

    def __init__(
        self,
        net: nn.Module,
        experiment: Experiment,
        portrait_loss: RNetLoss | None,
        photo_loss: HybridLoss | None,
    ) -> None:
        super().__init__()
        # Channels-last is how the convolutions of CPUs and tensor cores like their weights.
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.experiment = experiment
        self.portrait_loss = portrait_loss
        self.photo_loss = photo_loss
        self.train()

    def train(self, mode: bool = True) -> RNetModule:
        """Set the mode of the network; the losses never train."""
        super().train(mode)
        for loss in (self.portrait_loss, self.photo_loss):
            if loss is not None:
                loss.eval()
        return self

    @property
    def term_names(self) -> list[str]:
        """Names of all terms that a training step may give."""
        names = list(self.portrait_loss.weights) if self.portrait_loss is not None else []
        if self.photo_loss is not None:
            names += [PHOTO_PREFIX + name for name, w in self.photo_loss.weights.items() if w]
        return names

    def forward(self, batch: Batch) -> dict[str, Any]:
        """Loss of a batch: `loss`, and `terms`, the unweighted terms by name."""
        coefficients = regress(self.net, batch.crops, self.experiment.bf16)
        losses, terms = [], {}
        count = 0
        if batch.portraits is not None:
            assert self.portrait_loss is not None
            count = len(batch.portraits.crops)
            terms = self.portrait_loss(coefficients[:count], batch.portraits.targets)
            losses.append(batch.step.stage.portrait_weight * self.portrait_loss.total(terms))
        if batch.photos is not None:
            assert self.photo_loss is not None
            photo_terms = self.photo_loss(coefficients[count:], batch.photos.targets)
            losses.append(batch.step.stage.photo_weight * self.photo_loss.total(photo_terms))
            terms = terms | {PHOTO_PREFIX + name: value for name, value in photo_terms.items()}
        return {
            "loss": torch.stack(losses).sum(),
            "terms": {name: value.detach() for name, value in terms.items()},
        }

    def make_optimizer(self) -> torch.optim.Optimizer:
        """The experiment's optimizer; only weights of more than one dimension decay."""
        settings = self.experiment.optimizer
        return make_optimizer(settings, decaying(self.net, settings.weight_decay), fused=True)

    def clip_gradient(self) -> Tensor:
        """Shorten the gradient to the experiment's largest norm; the norm it had before.

        Raises:
            FloatingPointError: the gradient is not finite.
        """
        gradients = [p.grad for p in self.net.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if not torch.isfinite(norm):
            raise FloatingPointError("the gradient is not finite")
        clip = self.experiment.optimizer.clip
        if clip is not None and norm > clip:
            nn.utils.clip_grads_with_norm_(self.net.parameters(), clip, norm)
        return norm
