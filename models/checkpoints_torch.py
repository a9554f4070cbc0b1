"""Reading and writing network weights: this project's, ImageNet files, released checkpoints.

Everything is read with ``torch.load(weights_only=True)``: a file cannot run code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from facewright.models.camera import CROP_SIZE
from facewright.models.cnet_torch import CNet
from facewright.models.identity_branch_torch import IdentityBranch
from facewright.models.layout import LAYOUT_257, LAYOUTS
from facewright.models.recognition_torch import TRUNK_FEATURES
from facewright.models.resnet_torch import ResNet50, Variant
from facewright.models.rnet_torch import RNet

# torchvision's weights expect RGB in [0, 1] with this mean subtracted, divided by this deviation.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# The released checkpoints end in one 1x1 convolution per part, in the order of the 257 layout:
# identity, expression, albedo, angles, light, x and y of the translation, its z.
RELEASED_KEY = "net_recon"
RELEASED_HEADS = (80, 64, 80, 3, 27, 2, 1)

_DRAWS = (
    Tensor.normal_,
    Tensor.uniform_,
    nn.init.normal_,
    nn.init.uniform_,
    nn.init.kaiming_uniform_,
)


class CheckpointError(ValueError):
    """A weights file is not what it should be; the message names the file and what is wrong."""


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says about itself besides its weights.

    Attributes:
        layout: name of the coefficient layout, ``"239"`` or ``"257"``.
        variant: stride layout of the ResNet.
        face_model_sha256: of the face model whose coefficients are predicted; "" when the file
            does not say (released checkpoints).
        steps, images: of training so far.
        config: the trainer's configuration, plain values only.
        input_size: side of the images that R-Net sees, px; crops are shrunk to it.
        alignment: how crops are cut, `models.alignment.FixedAlignment` as text; "" where they are
            cut as this project does.
    """

    layout: str
    variant: Variant
    face_model_sha256: str
    steps: int
    images: int
    config: Mapping[str, Any] = field(default_factory=dict)
    input_size: int = CROP_SIZE
    alignment: str = ""

    def entries(self) -> dict[str, Any]:
        """The description as entries of a checkpoint, plain values only."""
        return {**asdict(self), "config": dict(self.config)}


def save_checkpoint(
    path: str | Path,
    rnet: RNet,
    cnet: CNet | None,
    info: CheckpointInfo,
    further: Mapping[str, Any] | None = None,
) -> None:
    """Write weights and what is known about them; float32, on the CPU.

    ``further`` entries, such as the optimizer's state, are written as they are.

    Raises:
        ValueError: ``info`` contradicts the network's layout, variant or input size.
    """
    network = (rnet.layout.name, rnet.variant, rnet.input_size)
    described = (info.layout, info.variant, info.input_size)
    if network != described:
        raise ValueError(f"the network is {network}, its description {described}")
    content: dict[str, Any] = {**(further or {}), "model": _plain(rnet), **info.entries()}
    if cnet is not None:
        content["cnet"] = _plain(cnet)
    torch.save(content, path)


def load_checkpoint(path: str | Path) -> tuple[RNet, CNet | None, CheckpointInfo]:
    """Read a checkpoint of this project or a released one (recognized by ``net_recon``).

    Returns:
        R-Net and C-Net (None when the file has none) in eval mode on the CPU, and the file's
        description. Further entries of the file, such as the optimizer's state, are left alone.

    Raises:
        CheckpointError: not a weights file, or keys are missing, unknown or misshapen.
        FileNotFoundError: no such file.
    """
    content = _read(path)
    if RELEASED_KEY in content:
        rnet = _released_rnet(path, content[RELEASED_KEY])
        return rnet, None, CheckpointInfo(LAYOUT_257.name, rnet.variant, "", 0, 0)
    absent = {"model", "layout", "variant", "face_model_sha256", "steps", "images"} - set(content)
    if absent:
        raise CheckpointError(f"{path}: not a checkpoint, lacks {', '.join(sorted(absent))}")
    info = CheckpointInfo(
        layout=content["layout"],
        variant=content["variant"],
        face_model_sha256=content["face_model_sha256"],
        steps=int(content["steps"]),
        images=int(content["images"]),
        config=content.get("config", {}),
        input_size=int(content.get("input_size", CROP_SIZE)),
        alignment=str(content.get("alignment", "")),
    )
    if info.layout not in LAYOUTS:
        raise CheckpointError(f"{path}: layout {info.layout!r} is none of {sorted(LAYOUTS)}")
    with _Undrawn():
        branch = branch_like(content["model"])
    try:
        with _Undrawn():
            rnet = RNet(LAYOUTS[info.layout], info.variant, info.input_size, branch)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    _fill(rnet, content["model"], f"{path}: model")
    cnet = None
    if content.get("cnet") is not None:
        with _Undrawn():
            cnet = cnet_like(content["cnet"])
        _fill(cnet, content["cnet"], f"{path}: cnet")
        cnet.eval()
    return rnet.eval(), cnet, info


class _Undrawn(TorchFunctionMode):
    """Leaves weights undrawn that a file is to fill: drawing them takes half a second."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func in _DRAWS:
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def branch_like(weights: Any) -> IdentityBranch | None:
    """An identity branch of the sizes that R-Net's weights say; None where they have none.

    Args:
        weights: by R-Net's names, tensors or arrays.
    """
    if not isinstance(weights, Mapping) or "branch.head.weight" not in weights:
        return None
    size = weights["branch.head.weight"].shape[1] - TRUNK_FEATURES
    return IdentityBranch(size, int(weights["branch.chip"]))


def cnet_like(weights: Any) -> CNet:
    """A C-Net of the widths that some weights say, the paper's where they say none.

    Args:
        weights: by C-Net's names, tensors or arrays.
    """
    if not isinstance(weights, Mapping) or not {"conv1.weight", "fc1.weight"} <= set(weights):
        return CNet()
    return CNet(_rows(weights["conv1.weight"]), _rows(weights["fc1.weight"]))


def _rows(matrix: Any) -> int:
    return int(matrix.shape[0])


def load_imagenet(backbone: ResNet50, path: str | Path) -> None:
    """Initialize a ResNet of either variant with a file of torchvision's ``resnet50`` weights.

    The classifier (``fc``) is dropped. The normalization of ImageNet's colors is folded into the
    first convolution and its batch normalization, since images here stay in [0, 1]; outside the
    image the zero padding then means black instead of the mean color.

    Raises:
        CheckpointError: keys are missing, unknown or misshapen.
        FileNotFoundError: no such file.
    """
    weights = {
        key: value for key, value in _read(path).items() if key not in ("fc.weight", "fc.bias")
    }
    first = weights.get("conv1.weight")
    running_mean = weights.get("bn1.running_mean")
    if isinstance(first, Tensor) and isinstance(running_mean, Tensor) and first.shape[1] == 3:
        scaled = first / torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
        shift = scaled.sum(dim=(2, 3)) @ torch.tensor(IMAGENET_MEAN)
        weights |= {"conv1.weight": scaled, "bn1.running_mean": running_mean + shift}
    _fill(backbone, weights, str(path))


def initialize(rnet: RNet, path: str | Path, face_model_sha256: str) -> None:
    """Start a network from the weights of another: ImageNet's or an earlier R-Net's.

    The last layer is taken over only when the file's coefficients are those of the same face
    model; otherwise they mean other shapes, and only the backbone is worth keeping. An
    identity branch is left behind: it is fitted to a finished R-Net.

    Raises:
        CheckpointError: the file is neither kind, or its parameters do not fit.
        FileNotFoundError: no such file.
    """
    if "conv1.weight" in _read(path):
        load_imagenet(rnet.backbone, path)
        return
    earlier, _, info = load_checkpoint(path)
    same_meaning = (info.layout, info.face_model_sha256) == (rnet.layout.name, face_model_sha256)
    rnet.backbone.load_state_dict(earlier.backbone.state_dict())
    if same_meaning:
        rnet.fc.load_state_dict(earlier.fc.state_dict())


def _released_rnet(path: str | Path, released: Any) -> RNet:
    """R-Net from the state dict under ``net_recon``: its heads stacked to one linear layer."""
    if not isinstance(released, Mapping):
        raise CheckpointError(f"{path}: {RELEASED_KEY} is not a state dict")
    weights = dict(released)
    for kind in ("weight", "bias"):
        heads = []
        for index, size in enumerate(RELEASED_HEADS):
            key = f"final_layers.{index}.{kind}"
            head = weights.pop(key, None)
            if not isinstance(head, Tensor) or len(head) != size:
                raise CheckpointError(f"{path}: {key} is missing or has not {size} rows")
            heads.append(head.flatten(1) if kind == "weight" else head)
        weights[f"fc.{kind}"] = torch.cat(heads)
    with _Undrawn():
        rnet = RNet(LAYOUT_257, "torchvision")
    _fill(rnet, weights, f"{path}: {RELEASED_KEY}")
    return rnet.eval()


def _plain(module: nn.Module) -> dict[str, Tensor]:
    """State dict in contiguous float32 (counters as they are) on the CPU."""
    return {
        key: (value.detach().cpu().float() if value.is_floating_point() else value.cpu())
        .contiguous()
        .clone()
        for key, value in module.state_dict().items()
    }


def _read(path: str | Path) -> dict[str, Any]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights file at {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for files that are not its own
        raise CheckpointError(f"{path}: cannot be read as weights: {error}") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a dict")
    return dict(content)


def _fill(module: nn.Module, weights: Any, source: str) -> None:
    """Copy a state dict into a module, all or nothing, naming every key that does not fit.

    Batch normalization's ``num_batches_tracked`` may be missing: files of old torch lack it.
    """
    if not isinstance(weights, Mapping):
        raise CheckpointError(f"{source} is not a state dict")
    own = module.state_dict()
    missing = [k for k in own if k not in weights and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in weights if k not in own]
    misshapen = [
        f"{k} {tuple(weights[k].shape)} instead of {tuple(own[k].shape)}"
        for k in own
        if k in weights and weights[k].shape != own[k].shape
    ]
    problems = [
        f"{title}: {', '.join(keys[:5])}{f' and {len(keys) - 5} more' if len(keys) > 5 else ''}"
        for title, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("wrong shape", misshapen),
        )
        if keys
    ]
    if problems:
        raise CheckpointError(f"{source}: {'; '.join(problems)}")
    module.load_state_dict(weights, strict=False)
