"""Settings of a training run: defaults in code, overridden by a YAML file of the same names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml


class ConfigError(ValueError):
    """A setting is unknown or its value makes no sense; the message names it."""


@dataclass(frozen=True)
class Stage:
    """A part of the run at one image size.

    Attributes:
        size: side of the images in px, a multiple of 32; the 224 px crop is shrunk to it.
        batch: images per worker and step.
        share: of the whole run.
    """

    size: int
    batch: int
    share: float


@dataclass(frozen=True)
class LossWeights:
    """Factors of the loss terms; see :class:`training.rnet.losses.RNetLoss` for their units."""

    identity: float = 0.5
    expression: float = 0.5
    identity_normal: float = 1.0
    shape_normal: float = 1.0
    identity_sigma: float = 1.0
    landmarks: float = 0.25
    landmarks_true_pose: float = 0.25
    rotation: float = 3.0
    translation: float = 5.0
    depth: float = 5.0
    albedo: float = 3.0
    light: float = 1.0


@dataclass(frozen=True)
class Augmentation:
    """How portraits are varied on the fly; probabilities are per image.

    Attributes:
        mirror: probability of a mirror image.
        gamma, gain, tint, contrast: standard deviations of the logarithms of the exponent, of
            the common factor, of the factors of the colour channels and of the spread around mid
            grey.
        grey: probability of removing the colour.
        coarse: probability of losing resolution, down to ``coarsest`` of the side.
        noise: probability of noise, of up to ``noise_sigma`` grey levels.
        cutout: probability of a rectangle of one colour, up to ``cutout_side`` of the side.
    """

    mirror: float = 0.5
    gamma: float = 0.15
    gain: float = 0.12
    tint: float = 0.06
    contrast: float = 0.10
    grey: float = 0.08
    coarse: float = 0.2
    coarsest: float = 0.35
    noise: float = 0.15
    noise_sigma: float = 8.0
    cutout: float = 0.15
    cutout_side: float = 0.38


@dataclass(frozen=True)
class RNetConfig:
    """A training run.

    Attributes:
        minutes, images: length of the run; exactly one of them is set.
        stages: one after the other, coarse to fine; shares sum to 1.
        peak_rate: learning rate after the warm-up; half a cosine takes it to zero at the end.
        warm_up: share of the run.
        weight_decay: of AdamW, for weights of more than one dimension.
        beta2: of AdamW.
        clip: largest norm of the gradient.
        average_images: window of the exponential moving average of the weights, in images.
        calibration_images: that set the batch-norm statistics of the averaged weights at the end.
        validate_minutes, save_minutes: intervals.
        validation_images: portraits of a validation, the first of the held-out ones.
        seed: of everything random.
        variant: stride layout of R-Net.
        bf16: run the convolutions in bfloat16.
    """

    minutes: float | None = None
    images: int | None = None
    stages: tuple[Stage, ...] = (
        Stage(size=96, batch=32, share=0.30),
        Stage(size=128, batch=32, share=0.30),
        Stage(size=160, batch=32, share=0.15),
        Stage(size=224, batch=32, share=0.25),
    )
    peak_rate: float = 8e-4
    warm_up: float = 0.02
    weight_decay: float = 0.05
    beta2: float = 0.98
    clip: float = 10.0
    average_images: int = 10_000
    calibration_images: int = 2_048
    validate_minutes: float = 6.0
    save_minutes: float = 5.0
    validation_images: int = 256
    seed: int = 1
    variant: str = "paper"
    bf16: bool = True
    loss: LossWeights = field(default_factory=LossWeights)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.minutes is not None and self.images is not None:
            raise ConfigError("set minutes or images, not both")
        if not self.stages or abs(sum(stage.share for stage in self.stages) - 1) > 1e-6:
            raise ConfigError("the shares of the stages must sum to 1")
        for stage in self.stages:
            if stage.size % 32 or stage.size <= 0 or stage.batch <= 0 or stage.share < 0:
                raise ConfigError(f"no such stage: {stage}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values only."""
        plain = asdict(self)
        plain["stages"] = [asdict(stage) for stage in self.stages]
        return plain


def read_config(path: str | Path | None) -> RNetConfig:
    """Defaults overridden by a YAML file, or just the defaults.

    Raises:
        ConfigError: the file has unknown settings or values of the wrong type.
        FileNotFoundError: no such file.
    """
    if path is None:
        return RNetConfig()
    content = yaml.safe_load(Path(path).read_text()) or {}
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path}: expected a mapping of settings")
    values = dict(content)
    if "stages" in values:
        if not isinstance(values["stages"], list):
            raise ConfigError("stages must be a list")
        values["stages"] = tuple(
            _override(Stage(32, 1, 0.0), "stages", stage) for stage in values["stages"]
        )
    return _override(RNetConfig(), "", values)


def _override(base: Any, prefix: str, values: Any) -> Any:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix}: expected a mapping of settings")
    known = {f.name for f in fields(base)}
    changes: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if key not in known:
            raise ConfigError(f"{name}: unknown setting; known are {', '.join(sorted(known))}")
        old = getattr(base, key)
        if is_dataclass(old):
            changes[key] = _override(old, name, value)
        elif isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
            changes[key] = float(value)
        elif old is not None and not isinstance(value, type(old)):
            raise ConfigError(f"{name}: expected {type(old).__name__}, got {value!r}")
        else:
            changes[key] = value
    return replace(base, **changes)
