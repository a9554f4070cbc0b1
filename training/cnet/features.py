"""What a frozen R-Net makes of pictures and of degraded copies of them, computed once.

C-Net's training asks for the same features again and again; they are kept in memory-mapped files:
`stage1.npy` float16, `pooled.npy` and `coefficients.npy` float32, a row per copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from facewright.models.rnet_torch import RNet
from facewright.training.data.crops import crops_nchw
from facewright.training.data.degradation import degrade_badly
from facewright.training.data.kept_rows import kept_rows
from facewright.training.data.shards import CROP_SIZE, ShardSet
from facewright.training.experiment_files import ExperimentError

FILES = ("stage1", "pooled", "coefficients")


class Features:
    """Features of pictures: of each one as it is (copy 0) and of degraded copies (1, 2, …).

    Degradation follows from the seed, the picture's number and the copy's. An interrupted
    computation goes on; features of anything else in `directory` are thrown away.

    Args:
        directory: of the files.
        rnet: in eval mode, on any device.
        shards: the pictures.
        copies: degraded ones of every picture.
        seed: of the degradation.
        of: says which R-Net it is, to tell whose features are in the directory.
        limit_gb: that the files may take.
        track: wraps the loop over batches to show progress.

    Raises:
        ExperimentError: the files would be larger than the limit.
    """

    def __init__(
        self,
        directory: Path,
        rnet: RNet,
        shards: ShardSet,
        *,
        copies: int,
        seed: int,
        of: str,
        limit_gb: float,
        track: Callable[[Iterable[int]], Iterable[int]] = lambda rows: rows,
    ) -> None:
        self.copies = copies
        self._device = next(rnet.parameters()).device
        rows = len(shards) * (1 + copies)
        shapes = self._shapes(rnet, rows)
        gigabytes = sum(np.prod(shape) * kind().nbytes for shape, kind in shapes.values()) / 1e9
        if gigabytes > limit_gb:
            raise ExperimentError(
                f"features of {len(shards)} pictures in {1 + copies} copies take {gigabytes:.1f}"
                f" GB, more than feature_gb: {limit_gb:g}; give fewer pictures or copies"
            )
        made_of = {
            "rnet": of,
            "shards": [str(path) for path in shards.shard_paths],
            "copies": copies,
            "seed": seed,
        }

        def compute(start: int, end: int) -> dict[str, Tensor]:
            numbers, which = np.divmod(np.arange(start, end), 1 + copies)
            crops = shards.crops(numbers)
            for k, (number, copy) in enumerate(zip(numbers, which, strict=True)):
                if copy:
                    crops[k] = degrade_badly(crops[k], np.random.default_rng([seed, number, copy]))
            found = rnet.regress(crops_nchw(crops).to(self._device))
            return {name: getattr(found, name) for name in FILES}

        self._arrays = kept_rows(directory, made_of, shapes, compute, track)

    def take(
        self, rows: npt.NDArray[np.int64], copies: npt.NDArray[np.int64]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features of copies of pictures, on R-Net's device.

        Args:
            rows: (...) of the pictures.
            copies: (...), 0 for the picture as it is.

        Returns:
            F_b1 (M, 256, h, w) float32 and F_g (M, 2048) of the M flattened rows, and
            coefficients (..., layout.size).
        """
        places = (rows * (1 + self.copies) + copies).reshape(-1)
        stage1, pooled, coefficients = (
            torch.from_numpy(self._arrays[name][places]).to(self._device).float() for name in FILES
        )
        return stage1, pooled, coefficients.view(*rows.shape, -1)

    def take_coefficients(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """Coefficients (..., layout.size) of the pictures `rows` (...) as they are."""
        values = self._arrays["coefficients"][rows * (1 + self.copies)]
        return torch.from_numpy(values).to(self._device)

    def _shapes(self, rnet: RNet, rows: int) -> Mapping[str, tuple[tuple[int, ...], Any]]:
        with torch.inference_mode():
            blank = torch.zeros(1, 3, CROP_SIZE, CROP_SIZE, device=self._device)
            stage1, pooled = rnet.features(rnet.shrink(blank))
        return {
            "stage1": ((rows, *stage1.shape[1:]), np.float16),
            "pooled": ((rows, *pooled.shape[1:]), np.float32),
            "coefficients": ((rows, rnet.layout.size), np.float32),
        }
