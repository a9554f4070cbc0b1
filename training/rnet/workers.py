"""The processes that share a run: what they add up, and what the first of them decides for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """One process among those of a run; all of them call each method, in the same order.

    Attributes:
        rank: this process's number.
        count: number of processes.
        device: that this process computes on.
    """

    rank: int
    count: int
    device: torch.device

    @staticmethod
    def join(rank: int, count: int) -> Workers:
        """Meet the others, where the environment says (`MASTER_ADDR`, `MASTER_PORT`)."""
        on_gpu = torch.cuda.is_available()
        device = torch.device("cuda", rank) if on_gpu else torch.device("cpu")
        if on_gpu:
            torch.cuda.set_device(device)
        if count > 1 and not distributed.is_initialized():
            backend = "nccl" if on_gpu else "gloo"
            distributed.init_process_group(backend, rank=rank, world_size=count)
        return Workers(rank, count, device)

    @property
    def is_first(self) -> bool:
        """Whether this process decides and writes."""
        return self.rank == 0

    def sharing_gradients(self, module: nn.Module) -> nn.Module:
        """The module, such that a backward pass leaves the mean of all processes' gradients."""
        if self.count == 1:
            return module
        return DistributedDataParallel(
            module,
            # The weights that count have batch-norm statistics of their own.
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )

    def of_first(self, value: T) -> T:
        """The first process's value."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, device=self.device)
        return values[0]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes; `tensor` itself may be changed."""
        if self.count > 1:
            distributed.all_reduce(tensor)
        return tensor

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over all processes; `tensor` itself may be changed."""
        return self.sum(tensor) / self.count
