"""``facewright-train export``: a checkpoint becomes the ONNX file that is served.

The file is checked before it is written: ONNX Runtime must give what the trained networks give,
and storing the weights in half precision must not move the mesh visibly. A record of everything
known about the file (``.json``) and, when figures are given, the model card go next to it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
import typer
from torch import nn

from facewright.models.agreement import STRANGER_DISTANCE
from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.camera import CROP_SIZE
from facewright.models.checkpoints_torch import CheckpointInfo, load_checkpoint
from facewright.models.cnet_torch import CNet
from facewright.models.layout import CoefficientLayout
from facewright.models.morphable_model import MorphableModel
from facewright.models.rnet_torch import RNet
from facewright.training.data.shards import ShardSet
from facewright.training.model_card import read_figures, render_model_card
from facewright.training.onnx_graph import OPSET, build_onnx, serialize

DEFAULT_NAME = "facewright-rnet"
MAX_DIFFERENCE = 1e-3  # of any output, graph against torch
MAX_DRIFT_MM = 0.05  # of any vertex, by storing weights in float16
MAX_BYTES = 60_000_000
CHECK_CROPS = 32
CHECK_BATCH = 8
UNTRAINED_SEED = 0

Array = npt.NDArray[np.float32]


class ExportError(RuntimeError):
    """The checkpoint cannot be served; the message says which check failed and by how much."""


@dataclass(frozen=True)
class ExportCheck:
    """How far the file is from the trained networks.

    Attributes:
        crops: which crops it was checked with.
        graph_difference: largest difference of any output between the graph with float32 weights
            and torch.
        stored_difference: the same with the weights as stored in the file.
        vertex_drift_mm: largest displacement of a vertex, model space, by the stored weights.
    """

    crops: str
    graph_difference: float
    stored_difference: float
    vertex_drift_mm: float


def export_checkpoint(
    checkpoint: Path,
    output: Path,
    *,
    face_model: Path,
    crops: Path | None = None,
    figures: Path | None = None,
    name: str = DEFAULT_NAME,
    version: str = "0",
    licence: str = "MIT",
    stranger_distance: float = STRANGER_DISTANCE,
) -> dict[str, Any]:
    """Write ``output`` (ONNX), its record (same name, ``.json``) and the model card.

    Args:
        checkpoint: of the trainer, or a released one (then ``face_model`` is taken on trust).
        output: path of the ONNX file; nothing is written unless all checks pass. Record and card
            have its name with ``.json`` and ``.md``.
        face_model: the file of the face model that the checkpoint was trained for.
        crops: data directory of shards whose crops the check runs on; noise when None.
        figures: JSON file, see :class:`training.model_card.Figures`; without it the record has no
            figures and no card is written.
        name: of the weights, for the file's metadata.
        version: likewise.
        licence: likewise.
        stranger_distance: sigmas beyond which a photo of an album shows somebody else, see
            :mod:`models.agreement`.

    Returns:
        The record.

    Raises:
        ExportError: a check failed.
        CheckpointError, FiguresError, UnstorableWeights, FileNotFoundError: an input is wrong.
    """
    story = None if figures is None else read_figures(figures)
    rnet, cnet, info = load_checkpoint(checkpoint)
    model = MorphableModel.load(face_model)
    if info.face_model_sha256 not in ("", model.sha256):
        raise ExportError(
            f"the checkpoint was trained for the face model {info.face_model_sha256},"
            f" {face_model} is {model.sha256}"
        )
    confidence_net = cnet if cnet is not None else _untrained_cnet()
    metadata = {
        "name": name,
        "version": version,
        "licence": licence,
        "layout": info.layout,
        "variant": info.variant,
        "face_model": model.sha256,
        "stranger_distance": f"{stranger_distance:g}",
    }
    stored = serialize(build_onnx(rnet, confidence_net, "float16", metadata))
    reference = serialize(build_onnx(rnet, confidence_net, "float32", metadata))
    if len(stored) > MAX_BYTES:
        raise ExportError(f"the file has {len(stored)} bytes, more than {MAX_BYTES}")
    check = _check(rnet, confidence_net, model, stored, reference, crops)
    record = {
        "name": name,
        "version": version,
        "file": output.name,
        "licence": licence,
        "stranger_distance": stranger_distance,
        "sha256": hashlib.sha256(stored).hexdigest(),
        "size_bytes": len(stored),
        "network": {
            "layout": info.layout,
            "variant": info.variant,
            "input_size": info.input_size,
            "parameters": sum(_parameter_count(net) for net in (rnet, confidence_net)),
            "stored_in": "float16",
            "opset": OPSET,
        },
        "face_model": {
            "file": face_model.name,
            "name": model.metadata["name"],
            "version": model.metadata["version"],
            "licence": model.metadata["licence"],
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


def export(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint of the trainer")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="ONNX file; record and card go next to it")
    ],
    crops: Annotated[
        Path | None, typer.Option(help="data directory whose crops to check with; else noise")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="JSON file with figures and texts of the model card")
    ] = None,
    face_model: Annotated[
        Path | None, typer.Option(help="face model of the checkpoint; else the shipped one")
    ] = None,
    name: Annotated[str, typer.Option(help="name of the weights")] = DEFAULT_NAME,
    version: Annotated[str, typer.Option(help="version of the weights")] = "0",
    licence: Annotated[str, typer.Option(help="licence of the weights")] = "MIT",
    stranger_distance: Annotated[
        float, typer.Option(help="what `evaluate strangers` fitted to the weights, sigmas")
    ] = STRANGER_DISTANCE,
) -> None:
    """Export a checkpoint to ONNX, checked against torch, with its model card."""
    try:
        record = export_checkpoint(
            checkpoint,
            output,
            face_model=asset_path(FACE_MODEL) if face_model is None else face_model,
            crops=crops,
            figures=figures,
            name=name,
            version=version,
            licence=licence,
            stranger_distance=stranger_distance,
        )
    except (ExportError, ValueError, OSError) as error:
        typer.echo(f"export failed: {error}", err=True)
        raise typer.Exit(1) from error
    check = record["export_check"]
    typer.echo(f"{output}: {record['size_bytes'] / 1e6:.1f} MB, sha256 {record['sha256']}")
    typer.echo(f"checked with {check['crops']}")
    typer.echo(f"graph against torch: {check['graph_difference']:.2e} (limit {MAX_DIFFERENCE:g})")
    typer.echo(
        f"float16 storage: coefficients {check['stored_difference']:.2e},"
        f" vertices {check['vertex_drift_mm']:.4f} mm (limit {MAX_DRIFT_MM:g})"
    )
    if record["figures"] is None:
        typer.echo("no --figures given: model card not written")


def _check(
    rnet: RNet,
    cnet: CNet,
    model: MorphableModel,
    stored: bytes,
    reference: bytes,
    directory: Path | None,
) -> ExportCheck:
    crops_nchw, description = _check_crops(directory)
    expected = _run_torch(rnet, cnet, crops_nchw)
    by_reference = _run_onnx(reference, crops_nchw)
    by_stored = _run_onnx(stored, crops_nchw)
    check = ExportCheck(
        crops=description,
        graph_difference=_largest_difference(by_reference, expected),
        stored_difference=_largest_difference(by_stored, expected),
        vertex_drift_mm=_vertex_drift(model, rnet.layout, by_stored[0], expected[0]),
    )
    if not check.graph_difference <= MAX_DIFFERENCE:
        raise ExportError(
            f"ONNX Runtime differs from torch by {check.graph_difference:.2e},"
            f" more than {MAX_DIFFERENCE:g} ({description})"
        )
    if not check.vertex_drift_mm <= MAX_DRIFT_MM:
        raise ExportError(
            f"storing the weights in float16 moves a vertex by {check.vertex_drift_mm:.3f} mm,"
            f" more than {MAX_DRIFT_MM:g} ({description}); in float32 the file would have"
            f" {len(reference) / 1e6:.0f} MB, more than {MAX_BYTES / 1e6:.0f}"
        )
    return check


def _check_crops(directory: Path | None) -> tuple[Array, str]:
    """Crops (N, 3, 224, 224) in [0, 1] to check with, and what they are."""
    if directory is None:
        coarse = torch.rand(
            CHECK_CROPS, 3, 14, 14, generator=torch.Generator().manual_seed(UNTRAINED_SEED)
        )
        size = (CROP_SIZE, CROP_SIZE)
        smooth = nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=False)
        return smooth.numpy(), f"{CHECK_CROPS} crops of smooth noise (no data directory given)"
    shards = ShardSet(directory)
    if not len(shards):
        raise ExportError(f"no shards in {directory}")
    rows = np.unique(np.linspace(0, len(shards) - 1, CHECK_CROPS).round().astype(int))
    margin = shards.meta.margin
    inner = slice(margin, margin + CROP_SIZE)
    rgb_u8 = shards.images(rows)[:, inner, inner]
    crops_nchw = np.ascontiguousarray(rgb_u8.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
    return crops_nchw, f"{len(rows)} crops of the data directory {directory.name!r}"


def _run_torch(rnet: RNet, cnet: CNet, crops_nchw: Array) -> tuple[Array, Array]:
    coefficients, confidences = [], []
    with torch.inference_mode():
        for batch in torch.from_numpy(crops_nchw).split(CHECK_BATCH):
            fb1, fg = rnet.features(rnet.shrink(batch))
            coefficients.append(rnet.fc(fg).numpy())
            confidences.append(cnet(fb1, fg).numpy())
    return np.concatenate(coefficients), np.concatenate(confidences)


def _run_onnx(file: bytes, crops_nchw: Array) -> tuple[Array, Array]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = ["coefficients", "confidences"]
    parts = [
        session.run(names, {"crops": crops_nchw[start : start + CHECK_BATCH]})
        for start in range(0, len(crops_nchw), CHECK_BATCH)
    ]
    coefficients, confidences = (np.concatenate(part) for part in zip(*parts, strict=True))
    return coefficients, confidences


def _largest_difference(one: tuple[Array, Array], other: tuple[Array, Array]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def _vertex_drift(
    model: MorphableModel, layout: CoefficientLayout, one: Array, other: Array
) -> float:
    """Largest distance in mm between the vertices of two sets of coefficients."""
    largest = 0.0
    for row in range(len(one)):  # one face at a time: 36K vertices each
        parts = (layout.split(rows[row : row + 1]) for rows in (one, other))
        first, second = (model.shape(part.identity, part.expression) for part in parts)
        largest = max(largest, float(np.linalg.norm(first - second, axis=-1).max()))
    return largest


def _untrained_cnet() -> CNet:
    """C-Net as its training starts: every confidence 0.5, albums averaged plainly."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        return CNet().eval()


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
