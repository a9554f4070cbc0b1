"""What a frozen R-Net and a recognition network make of portraits, computed once.

Kept in memory-mapped files with a row per portrait: `trunk.npy` and `rnet.npy`, float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from torch import Tensor

from facewright.models.arrays import FloatArray
from facewright.models.identity_branch_torch import IdentityBranch
from facewright.models.recognition_torch import TRUNK_FEATURES
from facewright.models.rnet_torch import RNet
from facewright.training.data.crops import crops_nchw
from facewright.training.data.kept_rows import kept_rows
from facewright.training.data.shards import ShardSet


def portrait_features(
    directory: Path,
    rnet: RNet,
    branch: IdentityBranch,
    shards: ShardSet,
    of: str,
    track: Callable[[Iterable[int]], Iterable[int]] = lambda rows: rows,
) -> tuple[FloatArray, FloatArray]:
    """Features of all portraits; an interrupted computation goes on.

    Args:
        directory: of the files; features of anything else in it are thrown away.
        rnet: in eval mode, without a branch.
        branch: in eval mode, with trunk and face model.
        shards: the portraits.
        of: says which networks these are, to tell whose features are in the directory.
        track: wraps the loop over batches to show progress.

    Returns:
        The trunk's features (n, 256) and R-Net's coefficients (n, layout.size).
    """
    made_of = {"networks": of, "shards": [str(path) for path in shards.shard_paths]}
    widths = {"trunk": TRUNK_FEATURES, "rnet": rnet.layout.size}
    shapes = {name: ((len(shards), width), np.float32) for name, width in widths.items()}
    device = next(rnet.parameters()).device

    def compute(start: int, end: int) -> dict[str, Tensor]:
        crops = crops_nchw(shards.crops(np.arange(start, end))).to(device)
        coefficients = rnet(crops)
        chips = branch.chips(crops, coefficients, rnet.layout)
        return {"trunk": branch.trunk.features(chips), "rnet": coefficients}

    arrays = kept_rows(directory, made_of, shapes, compute, track)
    return np.array(arrays["trunk"]), np.array(arrays["rnet"])
