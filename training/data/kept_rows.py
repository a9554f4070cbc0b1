"""What is computed row by row into files of a directory, and goes on after an interruption."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

META = "meta.json"
BATCH = 16
ROWS_BETWEEN_SAVES = 16 * BATCH


@torch.inference_mode()
def kept_rows(
    directory: Path,
    made_of: Mapping[str, Any],
    shapes: Mapping[str, tuple[tuple[int, ...], Any]],
    compute: Callable[[int, int], Mapping[str, Tensor]],
    track: Callable[[Iterable[int]], Iterable[int]],
) -> dict[str, npt.NDArray[Any]]:
    """Memory-mapped arrays `NAME.npy`, whose rows are computed in batches.

    Args:
        directory: of the files; what is of anything else in it is thrown away.
        made_of: what the rows follow from, as JSON has it.
        shapes: of the arrays, with their dtypes; all have the same number of rows.
        compute: rows from a first to a last one of every array.
        track: wraps the loop over batches to show progress.
    """
    directory.mkdir(parents=True, exist_ok=True)
    meta = directory / META
    known: dict[str, Any] = json.loads(meta.read_text()) if meta.exists() else {"of": None}
    done = known["done"] if known["of"] == made_of else 0
    if not done:
        meta.unlink(missing_ok=True)
    arrays: dict[str, npt.NDArray[Any]] = {
        name: np.lib.format.open_memmap(
            directory / f"{name}.npy", "r+" if done else "w+", kind, shape
        )
        for name, (shape, kind) in shapes.items()
    }
    rows = min(len(array) for array in arrays.values())
    for start in track(range(done, rows, BATCH)):
        end = min(start + BATCH, rows)
        for name, values in compute(start, end).items():
            arrays[name][start:end] = values.cpu().numpy()
        if end == rows or (end - done) % ROWS_BETWEEN_SAVES == 0:
            for array in arrays.values():
                array.flush()  # type: ignore[attr-defined]
            meta.write_text(json.dumps({"of": made_of, "done": end}))
    return arrays
