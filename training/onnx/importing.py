"""An exported ONNX file becomes a checkpoint again.

So the shipped weights can be trained further. The export folded every batch normalization into the
convolution before it; here each gets a new one, whose statistics are measured on crops and whose
factors undo them. The network computes the same as the file, and in training starts near it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from facewright.models.camera import CROP_SIZE
from facewright.models.checkpoints_torch import CheckpointInfo, branch_like, cnet_like
from facewright.models.cnet_torch import CNet
from facewright.models.identity_branch_torch import SHAPE_COEFFICIENTS, IdentityBranch
from facewright.models.layout import LAYOUTS
from facewright.models.recognition_torch import INPUT_SCALE, PIXEL_RANGE
from facewright.models.rnet_torch import RNet
from facewright.training.onnx.branch import CHIP_X, POINT_BASIS, POINT_MEAN, STEM
from facewright.training.onnx.builder import SCALE, SHRINK_ROWS

BATCH = 16
# Of the last layer's fit, relative to the features' mean square.
RIDGE = 1.0

FloatArray = npt.NDArray[np.floating]


class ImportRefused(ValueError):
    """The file is not one of this project's exports; the message says what is missing."""


def import_onnx(
    path: Path, crops_nchw: Tensor, size: int | None = None
) -> tuple[RNet, CNet | None, CheckpointInfo]:
    """The networks of an exported file.

    Args:
        path: written by `facewright-train export`.
        crops_nchw: (N, 3, S, S) float32 in [0, 1], some hundreds, whose activations set the
            statistics of the batch normalizations.
        size: side of the images that R-Net is to see from now on, px; the file's own when None.

    Returns:
        R-Net and C-Net (None when the file has none, or one that says 0.5 of everything) in
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
    weights = stored_weights(model)
    if metadata.get("layout") not in LAYOUTS or "conv1.weight" not in weights:
        raise ImportRefused(f"{path}: not an export of this project")
    shrinking = weights.get(SHRINK_ROWS)
    own_size = CROP_SIZE if shrinking is None else len(shrinking)
    training = _recorded_training(path.with_suffix(".json"))
    info = CheckpointInfo(
        layout=metadata["layout"],
        # Files of version 0 do not say; all of them have the paper's strides.
        variant=metadata.get("variant", "paper"),
        face_model_sha256=metadata.get("face_model", ""),
        steps=training["steps"],
        images=training["images"],
        config=training["config"],
        input_size=size or own_size,
        alignment=metadata.get("alignment", ""),
    )
    branch = branch_like(weights)
    rnet = RNet(LAYOUTS[info.layout], info.variant, info.input_size, branch).eval()
    norms = dict(_normalized(rnet.backbone))
    try:
        for name, (conv, norm) in norms.items():
            set_values(conv.weight, weights[f"{name}.weight"])
            set_values(norm.weight, np.ones(len(norm.weight)))
            set_values(norm.bias, weights[f"{name}.bias"])
            set_values(norm.running_var, np.full(len(norm.bias), 1 - norm.eps))
        set_values(rnet.fc.weight, weights["coefficients.weight"])
        set_values(rnet.fc.bias, weights["coefficients.bias"])
        cnet = None
        if any(name.startswith("cnet.") for name in weights):
            cnet = cnet_like(_without(weights, "cnet."))
            for key, tensor in cnet.state_dict().items():
                set_values(tensor, weights[f"cnet.{key}"])
        if branch is not None:
            _fill_branch(branch, weights)
    except (KeyError, ValueError) as error:
        raise ImportRefused(f"{path}: a weight is missing or misshapen: {error}") from error
    spread_normalizations(rnet, [pair for pair in norms.values()], crops_nchw)
    if cnet is not None and not (cnet.fc2.weight.any() or cnet.fc2.bias.any()):
        cnet = None
    return rnet, None if cnet is None else cnet.eval(), info


@torch.no_grad()
def refit_last_layer(rnet: RNet, crops_nchw: Tensor, coefficients: Tensor) -> None:
    """Fit the last layer, in place, to coefficients of another face model, by ridge regression.

    What the backbone knows of faces stays; only what its features are called is learned anew.

    Args:
        rnet: whose last layer is fitted.
        crops_nchw: (N, 3, S, S) float32 in [0, 1], some thousands.
        coefficients: (N, layout.size) their labels.
    """
    batches = (rnet.features(rnet.shrink(batch))[1] for batch in crops_nchw.split(BATCH))
    features = torch.cat(list(batches)).double()
    targets = coefficients.double()
    mean, target_mean = features.mean(0), targets.mean(0)
    centered = features - mean
    form = centered.T @ centered
    form += RIDGE * form.diagonal().mean() * torch.eye(len(form), dtype=form.dtype)
    weights = torch.linalg.solve(form, centered.T @ (targets - target_mean))
    rnet.fc.weight.copy_(weights.T)
    rnet.fc.bias.copy_(target_mean - mean @ weights)


def stored_weights(model: onnx.ModelProto) -> dict[str, npt.NDArray[np.float32]]:
    """The constants of the graph by name, what is stored in 8 bits times its scale."""
    stored = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    weights = {name: values.astype(np.float32) for name, values in stored.items()}
    for name, scale in stored.items():
        if name.endswith(SCALE):
            weights[name.removesuffix(SCALE)] *= scale
    if CHIP_X in weights:
        weights["branch.chip"] = np.array(weights[CHIP_X].size, np.float32)
    return weights


def _without(weights: dict[str, FloatArray], prefix: str) -> dict[str, FloatArray]:
    """The weights whose names have a prefix, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def _fill_branch(branch: IdentityBranch, weights: dict[str, FloatArray]) -> None:
    """Undo what the graph folds into the trunk's first layer, and its order of coordinates."""
    for key, tensor in branch.state_dict().items():
        if key in ("point_mean", "point_basis", "trunk.mean", "chip") or key.startswith(
            "trunk.stem."
        ):
            continue
        set_values(tensor, weights[f"branch.{key}"])
    set_values(branch.point_mean, weights[POINT_MEAN].reshape(3, -1).T)
    basis = weights[POINT_BASIS].reshape(SHAPE_COEFFICIENTS, 3, -1)
    set_values(branch.point_basis, basis.transpose(0, 2, 1))
    stem = branch.trunk.stem
    weight = weights[f"{STEM}.weight"] * (INPUT_SCALE / PIXEL_RANGE)
    set_values(stem.weight, weight)
    mean = branch.trunk.mean.numpy().reshape(1, 3, 1, 1)
    set_values(stem.bias, weights[f"{STEM}.bias"] + (weight * mean).sum((1, 2, 3)) / INPUT_SCALE)


def _recorded_training(record: Path) -> dict[str, Any]:
    if not record.is_file():
        return {"steps": 0, "images": 0, "config": {}}
    try:
        training = json.loads(record.read_text("utf-8"))["training"]
        return {name: training[name] for name in ("steps", "images", "config")}
    except (ValueError, KeyError, TypeError) as error:
        raise ImportRefused(f"{record}: no record of an export: {error!r}") from error


def _normalized(backbone: nn.Module) -> list[tuple[str, tuple[nn.Conv2d, nn.BatchNorm2d]]]:
    """Names, as in the graph, of all convolutions with the normalization that follows each."""
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
    return pairs


def set_values(target: Any, values: FloatArray) -> None:
    """Fill a tensor; a ValueError for values of another shape."""
    if tuple(target.shape) != values.shape:
        raise ValueError(f"{values.shape} instead of {tuple(target.shape)}")
    with torch.no_grad():
        target.copy_(torch.from_numpy(np.asarray(values, np.float32)))


@torch.no_grad()
def spread_normalizations(
    net: nn.Module, pairs: Sequence[tuple[nn.Conv2d, nn.BatchNorm2d]], crops_nchw: Tensor
) -> None:
    """Give every normalization the statistics of what it sees, without changing the function.

    Args:
        net: in eval mode.
        pairs: its convolutions with the normalization that follows each, which does nothing yet.
        crops_nchw: what the network sees.
    """
    sums = {conv: torch.zeros(2, conv.out_channels, dtype=torch.float64) for conv, _ in pairs}
    counts = dict.fromkeys(sums, 0)

    def record(conv: nn.Module, _: Any, out: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        flat = out.transpose(0, 1).flatten(1).double()
        sums[conv] += torch.stack([flat.sum(1), flat.square().sum(1)])
        counts[conv] += flat.shape[1]

    handles = [conv.register_forward_hook(record) for conv, _ in pairs]
    for batch in crops_nchw.split(BATCH):
        net(batch)
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
        norm.bias.add_(mean.to(norm.bias))
