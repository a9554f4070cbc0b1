"""A checkpoint becomes the ONNX file that is served.

The file is checked before it is written: ONNX Runtime must give what the trained networks give,
and storing the weights in 8 bits must not move the mesh visibly. A record of everything
known about the file (`.json`) and, when figures are given, the model card go next to it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import torch
from torch import nn

from facewright.models.agreement import STRANGER_COSINE, STRANGER_DISTANCE
from facewright.models.arrays import FloatArray
from facewright.models.camera import CROP_SIZE
from facewright.models.checkpoints_torch import CheckpointInfo, load_checkpoint
from facewright.models.cnet_torch import N_CONFIDENCES, CNet
from facewright.models.layout import CoefficientLayout
from facewright.models.morphable_model import MorphableModel
from facewright.models.rnet_torch import RNet
from facewright.training.data.crops import crops_nchw
from facewright.training.data.shards import ShardSet
from facewright.training.onnx.graph import OPSET, build_onnx, serialize
from facewright.training.onnx.model_card import read_figures, render_model_card

DEFAULT_NAME = "facewright-rnet"
MAX_DIFFERENCE = 1e-3  # of any output, graph against torch
MAX_DRIFT_MM = 0.05  # of vertices on average, by how weights are stored
MAX_BYTES = {"int8": 31_457_280, "float16": 60_000_000, "float32": 120_000_000}
CHECK_CROPS = 32
NOISE_CROPS = 8  # show whether the graph is the network, if not how faces move
CHECK_BATCH = 8
CHECK_SEED = 0

Storage = Literal["int8", "float16", "float32"]


class ExportError(ValueError):
    """The checkpoint cannot be served; the message says which check failed and by how much."""


@dataclass(frozen=True)
class ExportCheck:
    """How far the file is from the trained networks.

    Attributes:
        crops: which crops it was checked with.
        graph_difference: largest difference of any output between the graph with float32 weights
            and torch.
        stored_difference: the same with the weights as stored in the file.
        vertex_drift_mm: mean displacement of the vertices, model space, by the stored weights.
        largest_drift_mm: of any vertex of any crop.
    """

    crops: str
    graph_difference: float
    stored_difference: float
    vertex_drift_mm: float
    largest_drift_mm: float


def export_checkpoint(
    checkpoint: Path,
    output: Path,
    *,
    face_model: Path,
    crops: Path | None = None,
    figures: Path | None = None,
    name: str = DEFAULT_NAME,
    version: str = "0",
    license: str = "MIT",
    stranger_distance: float = STRANGER_DISTANCE,
    stranger_cosine: float = STRANGER_COSINE,
    stored_in: Storage = "int8",
) -> dict[str, Any]:
    """Write `output` (ONNX), its record (same name, `.json`) and the model card.

    Args:
        checkpoint: of the trainer. Without a C-Net the file says 1 of every confidence, and in its
            metadata that it has none.
        output: path of the ONNX file; nothing is written unless all checks pass. Record and card
            have its name with `.json` and `.md`.
        face_model: the file of the face model that the checkpoint was trained for.
        crops: data directory of shards whose crops the check runs on; noise when None.
        figures: JSON file, see `onnx.model_card.Figures`; without it the record has no figures
            and no card is written.
        name: of the weights, for the file's metadata.
        version: likewise.
        license: likewise.
        stranger_distance: sigmas beyond which a photo of an album shows somebody else, see
            `models.agreement`.
        stranger_cosine: likewise the cosine of descriptors below which it does, of weights with an
            identity branch.
        stored_in: how weights are stored.

    Returns:
        The record.

    Raises:
        ExportError: a check failed.
        CheckpointError, ValueError, UnstorableWeights, FileNotFoundError: an input is wrong.
    """
    story = None if figures is None else read_figures(figures)
    rnet, cnet, info = load_checkpoint(checkpoint)
    model = MorphableModel.load(face_model)
    if info.face_model_sha256 not in ("", model.sha256):
        raise ExportError(
            f"{checkpoint} was trained for the face model {info.face_model_sha256},"
            f" {face_model} is {model.sha256}"
        )
    metadata = {
        "name": name,
        "version": version,
        "licence": license,
        "layout": info.layout,
        "variant": info.variant,
        "face_model": model.sha256,
        "stranger_distance": f"{stranger_distance:g}",
    }
    if cnet is None:
        metadata["confidences"] = "none"
    if info.alignment:
        metadata["alignment"] = info.alignment
    if rnet.branch is not None:
        metadata["stranger_cosine"] = f"{stranger_cosine:g}"
    stored = serialize(build_onnx(rnet, cnet, stored_in, metadata))
    reference = stored
    if stored_in != "float32":
        reference = serialize(build_onnx(rnet, cnet, "float32", metadata))
    if len(stored) > MAX_BYTES[stored_in]:
        raise ExportError(f"the file has {len(stored)} bytes, more than {MAX_BYTES[stored_in]}")
    check = _check(rnet, cnet, model, stored, reference, crops, stored_in)
    record = {
        "name": name,
        "version": version,
        "file": output.name,
        "license": license,
        "stranger_distance": stranger_distance,
        "stranger_cosine": stranger_cosine if rnet.branch is not None else None,
        "sha256": hashlib.sha256(stored).hexdigest(),
        "size_bytes": len(stored),
        "network": {
            "layout": info.layout,
            "variant": info.variant,
            "input_size": info.input_size,
            "parameters": sum(_parameter_count(net) for net in (rnet, cnet) if net is not None),
            "identity_branch": rnet.branch is not None,
            "stored_in": stored_in,
            "opset": OPSET,
        },
        "face_model": {
            "file": face_model.name,
            "name": model.metadata["name"],
            "version": model.metadata["version"],
            "license": model.metadata["licence"],
            "sha256": model.sha256,
        },
        "training": _training(info, cnet is not None),
        "export_check": asdict(check),
        "figures": story,
    }
    _write(output, stored)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    _write(output.with_suffix(".json"), text.encode())
    if story is not None:
        _write(output.with_suffix(".md"), render_model_card(record).encode())
    return record


def _check(
    rnet: RNet,
    cnet: CNet | None,
    model: MorphableModel,
    stored: bytes,
    reference: bytes,
    directory: Path | None,
    stored_in: Storage,
) -> ExportCheck:
    crops, description = _check_crops(directory)
    expected = _run_torch(rnet, cnet, crops)
    by_reference = _run_onnx(reference, crops)
    by_stored = by_reference if stored is reference else _run_onnx(stored, crops)
    drift = _vertex_drift(model, rnet.layout, by_stored[0], expected[0])
    check = ExportCheck(
        crops=description,
        graph_difference=_largest_difference(by_reference, expected),
        stored_difference=_largest_difference(by_stored, expected),
        vertex_drift_mm=drift[0],
        largest_drift_mm=drift[1],
    )
    if not check.graph_difference <= MAX_DIFFERENCE:
        raise ExportError(
            f"ONNX Runtime differs from torch by {check.graph_difference:.2e},"
            f" more than {MAX_DIFFERENCE:g} ({description})"
        )
    if not check.vertex_drift_mm <= MAX_DRIFT_MM:
        raise ExportError(
            f"storing the weights in {stored_in} moves vertices by {check.vertex_drift_mm:.3f} mm"
            f" on average, more than {MAX_DRIFT_MM:g} ({description}); in float32 the file would"
            f" have {len(reference) / 1e6:.0f} MB"
        )
    return check


def _check_crops(directory: Path | None) -> tuple[FloatArray, str]:
    """Crops (N, 3, 224, 224) in [0, 1] to check with, and what they are."""
    if directory is None:
        coarse = torch.rand(
            NOISE_CROPS, 3, 14, 14, generator=torch.Generator().manual_seed(CHECK_SEED)
        )
        size = (CROP_SIZE, CROP_SIZE)
        smooth = nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=False)
        return smooth.numpy(), f"{NOISE_CROPS} crops of smooth noise (no data directory given)"
    shards = ShardSet(directory)
    if not len(shards):
        raise ExportError(f"no shards in {directory}")
    rows = np.unique(np.linspace(0, len(shards) - 1, CHECK_CROPS).round().astype(int))
    crops = crops_nchw(shards.crops(rows)).contiguous().numpy()
    return crops, f"{len(rows)} crops of the data directory {directory.name!r}"


def _run_torch(rnet: RNet, cnet: CNet | None, crops: FloatArray) -> list[FloatArray]:
    parts = []
    with torch.inference_mode():
        for batch in torch.from_numpy(crops).split(CHECK_BATCH):
            found = rnet.regress(batch)
            sure = torch.ones(len(batch), N_CONFIDENCES)
            confidences = sure if cnet is None else cnet(found.stage1, found.pooled)
            part = [found.coefficients, confidences]
            if found.descriptors is not None:
                part.append(found.descriptors)
            parts.append(part)
    return [torch.cat(values).numpy() for values in zip(*parts, strict=True)]


def _run_onnx(file: bytes, crops: FloatArray) -> list[FloatArray]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    parts = [
        session.run(None, {"crops": crops[start : start + CHECK_BATCH]})
        for start in range(0, len(crops), CHECK_BATCH)
    ]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def _largest_difference(one: list[FloatArray], other: list[FloatArray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def _vertex_drift(
    model: MorphableModel, layout: CoefficientLayout, one: FloatArray, other: FloatArray
) -> tuple[float, float]:
    """Mean and largest distance in mm between the vertices of two sets of coefficients."""
    means, largest = [], 0.0
    for row in range(len(one)):  # one face at a time: 36K vertices each
        parts = (layout.split(rows[row : row + 1]) for rows in (one, other))
        first, second = (model.shape(part.identity, part.expression) for part in parts)
        distances = np.linalg.norm(first - second, axis=-1)
        means.append(float(distances.mean()))
        largest = max(largest, float(distances.max()))
    return float(np.mean(means)), largest


def _training(info: CheckpointInfo, cnet_trained: bool) -> Mapping[str, Any]:
    return {
        "steps": info.steps,
        "images": info.images,
        "cnet_trained": cnet_trained,
        "config": dict(info.config),
    }


def _parameter_count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def _write(path: Path, content: bytes) -> None:
    """Write a file in one step, so that no reader meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)
