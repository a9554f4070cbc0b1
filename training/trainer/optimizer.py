"""Settings of an optimizer, and its learning rate over a run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn
from torch.optim import Adam, AdamW

from facewright.training.experiment_files import Settings

Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Interval = Annotated[float, Field(gt=0)]


class Optimizer(Settings):
    """How the weights follow the gradients.

    Attributes:
        name: Adam, or AdamW whose decay is apart from the gradient.
        rate: learning rate, its peak where a schedule moves it.
        schedule: what follows the warm-up: the same rate, or half a cosine down to zero.
        warm_up: share of the run in which the rate rises linearly.
        weight_decay: of weights of more than one dimension.
        beta2: of the second moment.
        clip: largest norm of the gradient, if any.
    """

    name: Literal["adam", "adamw"] = "adam"
    rate: Annotated[float, Field(gt=0)] = 1e-4
    schedule: Literal["constant", "cosine"] = "constant"
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Weight = 0.0
    beta2: Annotated[float, Field(gt=0, lt=1)] = 0.999
    clip: Annotated[float, Field(gt=0)] | None = None


def decaying(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """A network's parameters in two groups: only weights of more than one dimension decay."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def make_optimizer(settings: Optimizer, parameters: Iterable[Any], **options: Any) -> Adam:
    """Adam or AdamW of parameters or groups of them; `options` are those of torch's class."""
    kinds = {"adam": Adam, "adamw": AdamW}
    betas = (0.9, settings.beta2)
    return kinds[settings.name](parameters, lr=settings.rate, betas=betas, **options)


def rate_at(optimizer: Optimizer, progress: float) -> float:
    """Learning rate: linear warm-up, then constant or half a cosine down to zero."""
    if progress < optimizer.warm_up:
        # Not zero in the first step, which would be lost.
        return optimizer.rate * max(progress / optimizer.warm_up, 0.01)
    if optimizer.schedule == "constant":
        return optimizer.rate
    falling = (progress - optimizer.warm_up) / (1 - optimizer.warm_up)
    return optimizer.rate * 0.5 * (1 + math.cos(math.pi * min(falling, 1.0)))
