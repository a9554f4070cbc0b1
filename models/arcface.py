"""What ArcFace-type recognition networks are shown, and how their answers are read.

A network of this type takes a square picture of a face, 112 px wide unless its file says
otherwise, cut by five points, RGB as `(x - 127.5) / 127.5`, and answers with a vector whose
direction tells people apart (Deng et al. 2019, arXiv 1801.07698).  Networks converted from MXNet
begin with that subtraction themselves and take 0 to 255.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from facewright.models.resampling import cut_square

ARCFACE_SIDE: Final = 112
"""Side in pixels of the chip for which `ARCFACE_POINTS` are."""

ARCFACE_POINTS: Final = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""(5, 2): where a recognition network wants the points of a face, pixels of its chip from the
center of the first.

ArcFace's (arXiv 1801.07698); `arcface_dst` of insightface, `utils/face_align.py`.
"""

_NORMALIZING: Final = {"Sub", "Mul"}


@dataclass(frozen=True)
class ArcFaceInput:
    """How one network wants its pictures."""

    name: str
    """Of the graph's input."""
    side: int
    """Of a chip, px."""
    normalizes: bool
    """Whether the graph scales 0 to 255 itself."""
    one_by_one: bool
    """Whether it takes a single picture at a time."""

    @classmethod
    def of(
        cls,
        inputs: Sequence[tuple[str, Sequence[int | str | None]]],
        outputs: Sequence[Sequence[int | str | None]],
        first_operators: Collection[str],
    ) -> ArcFaceInput:
        """From a graph's inputs (name and shape), shapes of its outputs and first operators.

        first_operators: types of the nodes that take the input.
        Raises ValueError when it is no such network.
        """
        shapes = f"it maps {[list(shape) for _, shape in inputs]} to {[*map(list, outputs)]}"
        wanted = f"{shapes}, not (N, 3, S, S) to (N, D)"
        if len(inputs) != 1 or len(outputs) != 1 or len(outputs[0]) != 2:
            raise ValueError(wanted)
        name, shape = inputs[0]
        if len(shape) != 4 or shape[1] != 3:
            raise ValueError(wanted)
        batch, _, height, width = shape
        sides = {extent for extent in (height, width) if isinstance(extent, int)}
        if len(sides) > 1 or (isinstance(batch, int) and batch != 1):
            raise ValueError(wanted)
        return cls(
            name=name,
            side=sides.pop() if sides else ARCFACE_SIDE,
            normalizes=bool(_NORMALIZING & set(first_operators)),
            # A file that was made for one picture may have the 1 in its shapes.
            one_by_one=batch == 1,
        )

    def embed(
        self,
        rgb_u8: npt.NDArray[np.uint8],
        points: npt.NDArray[Any],
        run: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]],
    ) -> npt.NDArray[np.float32]:
        """Embeddings (N, D) of unit length of N >= 1 faces of a photo (H, W, 3).

        points: (N, 5, 2) continuous photo pixels, in the order of `ARCFACE_POINTS`.
        run: the network.  Raises ValueError when it answers with numbers that are not finite.
        """
        chips = np.stack([cut_chip(rgb_u8, five, self.side) for five in points])
        images = np.ascontiguousarray(chips.transpose(0, 3, 1, 2), np.float32)
        if not self.normalizes:
            images = (images - np.float32(127.5)) / np.float32(127.5)
        batches = np.split(images, len(images)) if self.one_by_one else [images]
        return of_unit_length(np.concatenate([run(batch) for batch in batches]))


def of_unit_length(embeddings: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Vectors (N, D) divided by their lengths.

    Raises ValueError for numbers that are not finite.
    """
    if not np.isfinite(embeddings).all():
        raise ValueError("the recognition network answers with numbers that are not finite")
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit: npt.NDArray[Any] = embeddings / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit.astype(np.float32, copy=False)


def cut_chip(
    rgb_u8: npt.NDArray[np.uint8], points: npt.NDArray[Any], side: int
) -> npt.NDArray[np.uint8]:
    """The picture (side, side, 3) of a face with these five points (5, 2), continuous."""
    wanted = (ARCFACE_POINTS + 0.5) * (side / ARCFACE_SIDE)
    return cut_square(rgb_u8, similarity_transform(points, wanted), side)


def similarity_transform(points: npt.ArrayLike, wanted: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The map (2, 3) that turns, scales and shifts `points` (N, 2) nearest to `wanted` (N, 2).

    Least squares over the four numbers a, b, s, t of (a x - b y + s, b x + a y + t), so it never
    mirrors.
    """
    x, y = np.asarray(points, np.float64).T
    one, none = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate(
        [np.stack([x, -y, one, none], axis=1), np.stack([y, x, none, one], axis=1)]
    )
    targets = np.asarray(wanted, np.float64).T.ravel()
    a, b, s, t = np.linalg.lstsq(rows, targets, rcond=None)[0]
    return np.array([[a, -b, s], [b, a, t]])
