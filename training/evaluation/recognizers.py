"""Recognition networks that people bring along: how well they notice strangers in albums."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from facewright.models.agreement import STRANGER_SIMILARITY
from facewright.models.arcface import ArcFaceInput
from facewright.models.arrays import Array
from facewright.models.assets import sha256
from facewright.training.evaluation.report import Figure
from facewright.training.evaluation.strangers import stranger_figures
from facewright.training.photos.crops import read_photo
from facewright.training.photos.faces import Face

Describe = Callable[[Array, Array], Array]
"""A photo (H, W, 3) and five points (5, 2) to an embedding (D,) of unit length."""


def load_recognizer_file(path: Path) -> Describe:
    """An ONNX recognition network with ArcFace's input, as the service uses it.

    Raises:
        ValueError: the file is no such network; the message names it.
        FileNotFoundError: no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no network at {path}")
    try:
        graph = onnx.load(path, load_external_data=False).graph
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # neither library has a type of its own for files that are no graphs
        raise ValueError(f"{path}: not an ONNX file: {error}") from error
    names = {value.name for value in graph.input}
    try:
        wanted = ArcFaceInput.of(
            [(value.name, value.shape) for value in session.get_inputs()],
            [value.shape for value in session.get_outputs()],
            {node.op_type for node in graph.node if names & set(node.input)},
        )
    except ValueError as error:
        raise ValueError(f"{path}: no recognition network: {error}") from error

    def describe(rgb_u8: Array, points: Array) -> Array:
        embedding: Array = wanted.embed(
            rgb_u8, points[None], lambda images: session.run(None, {wanted.name: images})[0]
        )[0]
        return embedding

    return describe


def evaluate_recognizer(
    describe: Describe,
    directory: Path,
    faces: Mapping[str, Face],
    people: Mapping[str, str],
    seed: int,
    *,
    track: Callable[[Iterable[int]], Iterable[int]] = lambda rows: rows,
) -> tuple[float, list[Figure]]:
    """The cosine for 2% of false alarms, and what is missed at it, by the size of albums.

    Args:
        describe: the network.
        directory: of the photos.
        faces: of the photos to use, by their names.
        people: who is on them, likewise.
        seed: of the choice of albums.
        track: wraps the loop over photos to show progress.

    Raises:
        ValueError: there are not two people, one of them with two photos.
        UnreadablePhoto: a photo is missing or is no picture.
    """
    names = sorted(faces)
    described = np.stack(
        [
            describe(read_photo(directory / names[k]), faces[names[k]].points)
            for k in track(range(len(names)))
        ]
        or [np.zeros(1)]
    )
    on = f"albums of {len(names)} photos of {directory.name}"
    persons = [people[name] for name in names]

    def figures(threshold: float) -> list[Figure]:
        return stranger_figures(described, persons, seed, on, threshold=threshold, by="cosine")

    fitted = figures(STRANGER_SIMILARITY) if names else []
    if not fitted:
        raise ValueError("albums need two people, one of them with two photos")
    # Rounded down: the photo that the limit was fitted to is not below it.
    cosine = float(np.floor(fitted[-1].value * 1e4) / 1e4)
    return cosine, [
        figure
        for figure in figures(cosine)
        if figure.measure.startswith(("false alarms", "strangers noticed"))
        and "at 2%" not in figure.measure
    ]


def write_cosine(path: Path, cosine: float, figures: Iterable[Figure]) -> Path:
    """Write what the service reads beside a recognition network: `path` with `.json`."""
    beside = path.with_suffix(".json")
    content = {
        "sha256": sha256(path),
        "stranger_cosine": cosine,
        "figures": [
            {"measured_on": f.measured_on, "measure": f.measure, "unit": f.unit, "value": f.value}
            for f in figures
        ],
    }
    beside.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    return beside
