"""What a frozen R-Net and a recognition network make of portraits, computed once.

Kept in memory-mapped files with a row per portrait: `trunk.npy` and `rnet.npy`, float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from facewright.models.arrays import FloatArray
from facewright.models.identity_branch_torch import IdentityBranch
from facewright.models.recognition_torch import TRUNK_FEATURES
from facewright.models.rnet_torch import RNet
from facewright.training.data.crops import crops_nchw
from facewright.training.data.kept_rows import note_rows_done, rows_done
from facewright.training.data.shards import ShardSet

BATCH = 16
ROWS_BETWEEN_SAVES = 16 * BATCH


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
    directory.mkdir(parents=True, exist_ok=True)
    done = rows_done(directory, made_of)
    widths = {"trunk": TRUNK_FEATURES, "rnet": rnet.layout.size}
    arrays = {
        name: np.lib.format.open_memmap(
            directory / f"{name}.npy", "r+" if done else "w+", np.float32, (len(shards), width)
        )
        for name, width in widths.items()
    }
    device = next(rnet.parameters()).device
    with torch.inference_mode():
        for start in track(range(done, len(shards), BATCH)):
            end = min(start + BATCH, len(shards))
            crops = crops_nchw(shards.crops(np.arange(start, end))).to(device)
            coefficients = rnet(crops)
            chips = branch.chips(crops, coefficients, rnet.layout)
            arrays["trunk"][start:end] = branch.trunk.features(chips).cpu().numpy()
            arrays["rnet"][start:end] = coefficients.cpu().numpy()
            if end == len(shards) or (end - done) % ROWS_BETWEEN_SAVES == 0:
                for array in arrays.values():
                    array.flush()
                note_rows_done(directory, made_of, end)
    return np.array(arrays["trunk"]), np.array(arrays["rnet"])
