"""Networks that look at images, and the questions that a detector puts to them.

A detector does not run its networks itself: it asks, and whoever holds the networks answers, at
once or through a queue that many photos share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from facewright.service.runtime.sessions import CPU_PROVIDERS, Provider, nchw, open_session, runner

BATCH_BYTES = 2 * 3 * 640**2
"""Pixels of images that go through a network at once; more take memory and are not faster."""

Float32 = npt.NDArray[np.float32]
RgbU8 = npt.NDArray[np.uint8]


class Query(NamedTuple):
    """An image for one of a detector's networks."""

    network: str
    image: RgbU8
    """(H, W, 3) RGB, of a size that the network takes."""


Outputs = tuple[Float32, ...]
"""What a network says of one image, in the order of its outputs."""

Ask = Callable[[Sequence[Query]], Sequence[Outputs]]
"""From queries to their answers in the same order."""


class ImageNetwork:
    """A graph with the input `photo` (N, 3, H, W) float32, RGB, 0..255; thread safe.

    `outputs` are those that are asked for.  Raises `ModelError` as `open_session` does.
    """

    def __init__(
        self,
        graph: bytes,
        outputs: Sequence[str],
        providers: Sequence[Provider] = CPU_PROVIDERS,
        threads: int = 1,
    ) -> None:
        self.threads = threads
        """That one call may use on the CPU."""
        self._outputs = list(outputs)
        self._run = runner(open_session(graph, providers, threads))

    def run(self, photos_nchw: Float32) -> Sequence[Float32]:
        """The outputs for a batch."""
        return self._run(self._outputs, {"photo": photos_nchw})

    def look(self, images: Sequence[RgbU8]) -> list[Outputs]:
        """The answer to each of the images, which have one size; see `BATCH_BYTES`."""
        step = max(1, BATCH_BYTES // images[0].nbytes)
        answers: list[Outputs] = []
        for start in range(0, len(images), step):
            answers += zip(*self.run(nchw(images[start : start + step])), strict=True)
        return answers


def answer(networks: Mapping[str, ImageNetwork], queries: Sequence[Query]) -> list[Outputs]:
    """Answer queries; neighbors of one network and size share a call."""
    answers: list[Outputs] = []
    for (network, _), alike in groupby(queries, key=lambda q: (q.network, q.image.shape)):
        answers += networks[network].look([query.image for query in alike])
    return answers
