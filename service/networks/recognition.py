"""Telling people apart: what a recognizer of faces is."""

from __future__ import annotations

from typing import Literal, Protocol

from facewright.models.arrays import ByteArray, FloatArray

Evidence = Literal["shape", "descriptor", "embedding"]
"""What tells a stranger: the identity's shape, the weights' descriptor, or a recognizer's
embedding."""


class Recognizer(Protocol):
    """Describes the people in a photo by points of the unit sphere; thread safe.

    Embeddings identify people.  They are held in memory while an album is worked on, and belong
    neither into an answer nor into a log.
    """

    @property
    def stranger_cosine(self) -> float:
        """Below which a photo of an album shows somebody else."""
        ...

    def embed(self, rgb_u8: ByteArray, points: FloatArray) -> FloatArray:
        """Embeddings (N, D) of unit length of N >= 1 faces of a photo (H, W, 3).

        points: (N, 5, 2), those of `DetectedFace`.  The cosine of two embeddings says how alike
        two faces are.  Raises `ModelError` when the network fails.
        """
        ...
