"""An experiment: every setting of a training run, read from YAML and checked.

The defaults are the paper's (Deng et al. 2019, arXiv 1903.08527, sections 3 and 5), so that
`paper.yaml` says nothing else; other experiments name what they change.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from facewright.models.resnet_torch import Variant
from facewright.training.data.shards import MARGIN
from facewright.training.experiment_files import Lasting, Settings, read_settings
from facewright.training.losses.hybrid import HybridWeights
from facewright.training.trainer.optimizer import Count, Interval, Optimizer, Share, Weight

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


class Stage(Settings):
    """A part of the run with batches of one make.

    Attributes:
        size: side of the network's images in px, a multiple of 32; the 224 px crop is shrunk to it.
        portraits, photos: per worker and step, each kind under its own loss.
        share: of the whole run.
        portrait_weight, photo_weight: factors on the two losses.
    """

    size: Annotated[int, Field(gt=0, multiple_of=32)] = 224
    portraits: Count = 0
    photos: Count = 0
    share: Share = 1.0
    portrait_weight: Weight = 1.0
    photo_weight: Weight = 1.0

    @property
    def batch(self) -> int:
        """Pictures per worker and step."""
        return self.portraits + self.photos

    @model_validator(mode="after")
    def _some_pictures(self) -> Stage:
        if not self.batch:
            raise ValueError("a stage needs portraits or photos")
        return self


class LossWeights(Settings):
    """Factors of the terms on portraits; see `rnet.losses.RNetLoss` for units."""

    identity: Weight = 0.5
    expression: Weight = 0.5
    identity_normal: Weight = 1.0
    shape_normal: Weight = 1.0
    identity_sigma: Weight = 1.0
    landmarks: Weight = 0.25
    landmarks_true_pose: Weight = 0.25
    rotation: Weight = 3.0
    translation: Weight = 5.0
    depth: Weight = 5.0
    albedo: Weight = 3.0
    light: Weight = 1.0
    views: Weight = 0.0


class Augmentation(Settings):
    """How pictures are varied on the fly; probabilities are per picture.

    Shift and mirror image move the targets along. Everything else is seen by the network alone,
    but for the gain of portraits, which is more light.

    Attributes:
        shift: largest shift of the crop to each side, px.
        mirror: probability of a mirror image.
        gamma, gain, tint, contrast: standard deviations of the logarithms of the exponent, of
            the common factor, of the factors of the color channels and of the spread around mid
            gray.
        gray: probability of removing the color.
        coarse: probability of losing resolution, down to `coarsest` of the side.
        noise: probability of noise, of up to `noise_sigma` gray levels.
        cutout: probability of a rectangle of one color, up to `cutout_side` of the side.
    """

    shift: Annotated[int, Field(ge=0, le=MARGIN)] = 0
    mirror: Share = 0.0
    gamma: Weight = 0.0
    gain: Weight = 0.0
    tint: Weight = 0.0
    contrast: Weight = 0.0
    gray: Share = 0.0
    coarse: Share = 0.0
    coarsest: Annotated[float, Field(gt=0, le=0.9)] = 0.35
    noise: Share = 0.0
    noise_sigma: Annotated[float, Field(ge=1)] = 8.0
    cutout: Share = 0.0
    cutout_side: Annotated[float, Field(ge=0.1, le=0.9)] = 0.38


class Experiment(Lasting):
    """A training run.

    Attributes:
        images: length of the run, see `Lasting`.
        stages: one after the other; shares sum to 1.
        optimizer: see `Optimizer`.
        average_images: window of the exponential moving average of the weights, in images; none
            keeps the newest weights.
        calibration_images: that set the batch-norm statistics of the averaged weights at the end;
            0 keeps the running ones.
        portrait_loss: factors of the supervised loss.
        photo_loss: factors of the hybrid loss.
        recognizer: network of the perceptual loss: "dlib", or a path of a .dat or .onnx file.
        render_size: side of the pictures that the hybrid loss compares, px.
        portrait_augmentation, photo_augmentation: see `Augmentation`.
        validate_minutes, save_minutes: intervals.
        validation_portraits, validation_photos: of a validation, the first of the held-out ones.
        imagenet: the experiment is meant to start from ImageNet weights.
        portraits_per_person, photos_per_person: that stand together in a batch where a person
            has so many.
        seed: of everything random.
        variant: stride layout of R-Net.
        bf16: run the convolutions in bfloat16 where the hardware has it.
    """

    counted: ClassVar[str] = "images"
    images: Annotated[int, Field(gt=0)] | None = None
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = (Stage(photos=5),)
    optimizer: Optimizer = Optimizer()
    average_images: Annotated[int, Field(gt=0)] | None = None
    calibration_images: Count = 0
    portrait_loss: LossWeights = LossWeights()
    photo_loss: HybridWeights = HybridWeights()
    recognizer: str | None = "dlib"
    render_size: Annotated[int, Field(ge=32, le=224)] = 224
    portrait_augmentation: Augmentation = Augmentation()
    photo_augmentation: Augmentation = Augmentation()
    validate_minutes: Interval = 6.0
    save_minutes: Interval = 5.0
    validation_portraits: Count = 256
    validation_photos: Count = 64
    imagenet: bool = False
    portraits_per_person: Annotated[int, Field(ge=1)] = 1
    photos_per_person: Annotated[int, Field(ge=1)] = 1
    seed: Count = 1
    variant: Variant = "paper"
    bf16: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        if abs(sum(stage.share for stage in self.stages) - 1) > 1e-6:
            raise ValueError("the shares of the stages must sum to 1")
        if self.uses_photos and self.compares_people and self.recognizer is None:
            raise ValueError("the perceptual loss needs a recognizer; or set its weight to 0")
        return self

    @property
    def uses_portraits(self) -> bool:
        """Whether any stage trains on portraits."""
        return any(stage.portraits for stage in self.stages)

    @property
    def uses_photos(self) -> bool:
        """Whether any stage trains on photographs."""
        return any(stage.photos for stage in self.stages)

    @property
    def compares_people(self) -> bool:
        """Whether the loss on photographs asks a recognition network."""
        return self.photo_loss.perceptual > 0 or self.photo_loss.affinity > 0

    @property
    def input_size(self) -> int:
        """Side of the images that the trained network sees, px: the last stage's."""
        return self.stages[-1].size

    def stage_at(self, progress: float) -> Stage:
        """The stage of the run at `progress`, 0 to 1."""
        end = 0.0
        for stage in self.stages:
            end += stage.share
            if progress < end:
                return stage
        return self.stages[-1]


def read_experiment(source: str) -> Experiment:
    """The experiment of a name (`paper`, `cpu`, …) or of a YAML file.

    Raises:
        ExperimentError: see `experiment_files.read_settings`.
    """
    return read_settings(Experiment, source, EXPERIMENTS)
