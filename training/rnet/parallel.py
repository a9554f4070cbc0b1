"""Data parallelism over processes, one thread each.

On a CPU several one-thread processes that average their gradients train faster than one process
with as many threads: convolutions of small images do not split well. Parameters and gradients
each live in one vector, so that averaging is one call and the optimiser runs at memory speed.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

# Start of each parameter in the vectors, in numbers: 64 bytes, a cache line.
ALIGNMENT = 16


class FlatParameters:
    """Moves a module's parameters and gradients into one vector each; views remain in place.

    Weights of more than one dimension come first, since only they decay. Memory formats are kept.

    Attributes:
        values, gradients: the whole vectors.
        decayed, plain: parameters over the two parts of ``values``, for the optimiser; their
            gradients are views of ``gradients``.
    """

    def __init__(self, module: nn.Module) -> None:
        parameters = sorted(module.parameters(), key=lambda p: p.ndim <= 1)
        starts, end, boundary = [], 0, 0
        for parameter in parameters:
            starts.append(end)
            end += -(-parameter.numel() // ALIGNMENT) * ALIGNMENT
            if parameter.ndim > 1:
                boundary = end
        self.values = torch.zeros(end)
        self.gradients = torch.zeros(end)
        for parameter, start in zip(parameters, starts, strict=True):
            shape, stride = parameter.shape, parameter.stride()
            value = self.values.as_strided(shape, stride, start)
            value.copy_(parameter.data)
            parameter.data = value
            parameter.grad = self.gradients.as_strided(shape, stride, start)
        self.decayed = nn.Parameter(self.values[:boundary])
        self.decayed.grad = self.gradients[:boundary]
        self.plain = nn.Parameter(self.values[boundary:])
        self.plain.grad = self.gradients[boundary:]


class Workers:
    """The processes that train together, seen from one of them; also stands for one alone.

    Attributes:
        rank: of this process; the first, 0, decides and writes.
        size: number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @staticmethod
    def join(rank: int, size: int, rendezvous: str) -> Workers:
        """Meet the other processes at ``rendezvous``, a ``file://`` URL all of them know."""
        if size > 1:
            dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=size)
        return Workers(rank, size)

    def average(self, tensor: Tensor) -> None:
        """Replace a tensor by its mean over the processes."""
        if self.size > 1:
            dist.all_reduce(tensor)
            tensor /= self.size

    def total(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over the processes."""
        if self.size > 1:
            dist.all_reduce(tensor)

    def from_first(self, tensor: Tensor) -> None:
        """Replace a tensor by that of the first process."""
        if self.size > 1:
            dist.broadcast(tensor, 0)

    def texts_from_first(self, texts: list[str]) -> list[str]:
        """The list of the first process."""
        if self.size == 1:
            return texts
        box = [texts]
        dist.broadcast_object_list(box, 0)
        return box[0]

    def leave(self) -> None:
        """End the meeting."""
        if self.size > 1:
            dist.destroy_process_group()
