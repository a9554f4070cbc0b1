"""A recognition network of one's own, in a file: any with ArcFace's input."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import onnx

from facewright.models.agreement import STRANGER_SIMILARITY
from facewright.models.arcface import ArcFaceInput
from facewright.models.arrays import ByteArray, FloatArray
from facewright.models.assets import sha256
from facewright.service.errors import ModelError
from facewright.service.runtime.sessions import CPU_PROVIDERS, Provider, open_session, runner


class ArcFace:
    """A `Recognizer` from an ONNX file; thread safe.

    `path` is the network; a file of the same name with the suffix `.json` may lie beside it, which
    `facewright-train evaluate recognizer` writes, with the network's own `stranger_cosine`.
    `providers` and `threads` are those of `open_session`.

    Raises `ModelError` when the file is missing or no network with ArcFace's input and output, or
    the file beside it is not its own.
    """

    def __init__(
        self, path: Path, providers: Sequence[Provider] = CPU_PROVIDERS, threads: int = 1
    ) -> None:
        session = open_session(path, providers, threads)
        self._path = path
        self._run = runner(session)
        self._output = session.get_outputs()[0].name
        try:
            self._input = ArcFaceInput.of(
                [(value.name, value.shape) for value in session.get_inputs()],
                [value.shape for value in session.get_outputs()],
                _first_operators(path),
            )
        except ValueError as error:
            raise ModelError(f"{path}: no recognition network: {error}") from error
        self.stranger_cosine = _measured_cosine(path)
        """See `Recognizer`."""

    def embed(self, rgb_u8: ByteArray, points: FloatArray) -> FloatArray:
        """See `Recognizer`."""
        try:
            return self._input.embed(
                rgb_u8,
                points,
                lambda images: self._run([self._output], {self._input.name: images})[0],
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            raise ModelError(f"{self._path.name} failed: {error}") from error


def _first_operators(path: Path) -> set[str]:
    graph = onnx.load(path, load_external_data=False).graph
    names = {value.name for value in graph.input}
    return {node.op_type for node in graph.node if names & set(node.input)}


def _measured_cosine(path: Path) -> float:
    """Of the file beside the network, or that of published packs when there is none."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return STRANGER_SIMILARITY
    try:
        content = json.loads(beside.read_text("utf-8"))
        own, cosine = content["sha256"] == sha256(path), float(content["stranger_cosine"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{beside} does not say what {path} needs: {error}") from error
    if not own:
        raise ModelError(f"{beside} was measured with another network than {path}")
    if not -1 <= cosine <= 1:
        raise ModelError(f"{beside} has the stranger cosine {cosine}")
    return cosine
