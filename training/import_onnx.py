"""``facewright-train import``: an exported ONNX file becomes a checkpoint again.

So the shipped weights can be trained further. The export folded every batch normalisation into the
convolution before it; here each gets a new one, whose statistics are measured on crops and whose
factors undo them. The network computes the same as the file, and in training starts near it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
import typer
from onnx import numpy_helper
from torch import Tensor, nn

from facewright.models.camera import CROP_SIZE
from facewright.models.checkpoints_torch import LAYOUTS, CheckpointInfo, save_checkpoint
from facewright.models.cnet_torch import CNet
from facewright.models.rnet_torch import RNet
from facewright.training.data.shards import ShardSet
from facewright.training.onnx_graph import SHRINK_ROWS

BATCH = 16

FloatArray = npt.NDArray[np.floating]


class ImportRefused(ValueError):
    """The file is not one of this project's exports; the message says what is missing."""


def import_onnx(
    path: Path, crops_nchw: Tensor, size: int | None = None
) -> tuple[RNet, CNet | None, CheckpointInfo]:
    """The networks of an exported file.

    Args:
        path: written by ``facewright-train export``.
        crops_nchw: (N, 3, S, S) float32 in [0, 1], some hundreds, whose activations set the
            statistics of the batch normalisations.
        size: side of the images that R-Net is to see from now on, px; the file's own when None.

    Returns:
        R-Net and C-Net (None when the file's is untrained, that is, says 0.5 of everything) in
        eval mode, and their description, with what the record next to the file says about the
        training, if there is one.

    Raises:
        ImportRefused: not an export of this project, or its record is damaged.
        FileNotFoundError: no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no ONNX file at {path}")
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's errors have no common type worth naming
        raise ImportRefused(f"{path}: not an ONNX file: {error}") from error
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    weights = {
        entry.name: numpy_helper.to_array(entry).astype(np.float32)
        for entry in model.graph.initializer
    }
    if metadata.get("layout") not in LAYOUTS or "conv1.weight" not in weights:
        raise ImportRefused(f"{path}: not an export of this project")
    shrinking = weights.get(SHRINK_ROWS)
    own_size = CROP_SIZE if shrinking is None else len(shrinking)
    training = _recorded_training(path.with_suffix(".json"))
    info = CheckpointInfo(
        layout=metadata["layout"],
        # Files of version 0 do not say; all of them have the paper's strides.
        variant=metadata.get("variant", "paper"),  # type: ignore[arg-type]
        face_model_sha256=metadata.get("face_model", ""),
        steps=training["steps"],
        images=training["images"],
        config=training["config"],
        input_size=size or own_size,
    )
    rnet = RNet(LAYOUTS[info.layout], info.variant, info.input_size).eval()
    norms = dict(_normalised(rnet.backbone))
    try:
        for name, (conv, norm) in norms.items():
            _set(conv.weight, weights[f"{name}.weight"])
            _set(norm.weight, np.ones(len(norm.weight)))
            _set(norm.bias, weights[f"{name}.bias"])
            _set(norm.running_var, np.full(len(norm.bias), 1 - norm.eps))
        _set(rnet.fc.weight, weights["coefficients.weight"])
        _set(rnet.fc.bias, weights["coefficients.bias"])
        cnet = CNet()
        for key, tensor in cnet.state_dict().items():
            _set(tensor, weights[f"cnet.{key}"])
    except (KeyError, ValueError) as error:
        raise ImportRefused(f"{path}: a weight is missing or misshapen: {error}") from error
    _spread_normalisations(rnet, [pair for pair in norms.values()], crops_nchw)
    trained = bool(cnet.fc2.weight.any() or cnet.fc2.bias.any())
    return rnet, cnet.eval() if trained else None, info


def _recorded_training(record: Path) -> dict[str, Any]:
    if not record.is_file():
        return {"steps": 0, "images": 0, "config": {}}
    try:
        training = json.loads(record.read_text("utf-8"))["training"]
        return {name: training[name] for name in ("steps", "images", "config")}
    except (ValueError, KeyError, TypeError) as error:
        raise ImportRefused(f"{record}: no record of an export: {error!r}") from error


def _normalised(backbone: nn.Module) -> list[tuple[str, tuple[nn.Conv2d, nn.BatchNorm2d]]]:
    """Names, as in the graph, of all convolutions with the normalisation that follows each."""
    modules = dict(backbone.named_modules())
    pairs = []
    for name, module in modules.items():
        if not isinstance(module, nn.Conv2d):
            continue
        parent, _, last = name.rpartition(".")
        if last == "0":  # of a downsample pair
            pairs.append((parent, (module, modules[f"{parent}.1"])))
        else:
            follower = f"{parent}.{last.replace('conv', 'bn')}" if parent else "bn1"
            pairs.append((name, (module, modules[follower])))
    return pairs  # type: ignore[return-value]


def _set(target: Any, values: FloatArray) -> None:
    if tuple(target.shape) != values.shape:
        raise ValueError(f"{values.shape} instead of {tuple(target.shape)}")
    with torch.no_grad():
        target.copy_(torch.from_numpy(np.asarray(values, np.float32)))


@torch.no_grad()
def _spread_normalisations(
    rnet: RNet, pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]], crops_nchw: Tensor
) -> None:
    """Give every normalisation the statistics of what it sees, without changing the function."""
    sums = {conv: torch.zeros(2, conv.out_channels, dtype=torch.float64) for conv, _ in pairs}
    counts = dict.fromkeys(sums, 0)

    def record(conv: nn.Module, _: Any, out: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        flat = out.transpose(0, 1).flatten(1).double()
        sums[conv] += torch.stack([flat.sum(1), flat.square().sum(1)])
        counts[conv] += flat.shape[1]

    handles = [conv.register_forward_hook(record) for conv, _ in pairs]
    for batch in crops_nchw.split(BATCH):
        rnet(batch)
    for handle in handles:
        handle.remove()
    for conv, norm in pairs:
        mean, square = sums[conv] / counts[conv]
        variance = (square - mean.square()).clamp(min=0)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias += mean.to(norm.bias)


def import_weights(
    source: Annotated[Path, typer.Argument(help="ONNX file that `export` wrote")],
    output: Annotated[Path, typer.Option("--output", "-o", help="checkpoint to write")],
    crops: Annotated[Path, typer.Option(exists=True, help="data directory to measure on")],
    size: Annotated[
        int | None, typer.Option(help="side of R-Net's images from now on, px", min=32, max=224)
    ] = None,
    count: Annotated[int, typer.Option(help="crops to measure on", min=1)] = 256,
) -> None:
    """Turn an exported file into a checkpoint to train further (`rnet --init`)."""
    shards = ShardSet(crops)
    margin = shards.meta.margin
    rows = np.arange(min(count, len(shards)))
    rgb_u8 = shards.images(rows)[:, margin : margin + CROP_SIZE, margin : margin + CROP_SIZE]
    crops_nchw = torch.from_numpy(rgb_u8).permute(0, 3, 1, 2).float() / 255
    try:
        rnet, cnet, info = import_onnx(source, crops_nchw, size)
    except (ImportRefused, FileNotFoundError) as error:
        typer.echo(f"import failed: {error}", err=True)
        raise typer.Exit(1) from error
    save_checkpoint(output, rnet, cnet, info)
    typer.echo(f"{output}: R-Net at {info.input_size} px, C-Net {'yes' if cnet else 'untrained'}")
