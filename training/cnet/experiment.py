"""Every setting of a training run of C-Net, read from YAML and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from facewright.training.experiment_files import Lasting, Settings, read_settings
from facewright.training.losses.hybrid import HybridWeights
from facewright.training.trainer.optimizer import Count, Interval, Optimizer, Share, Weight

EXPERIMENTS = Path(__file__).parents[1] / "experiments" / "cnet"
# The paper's weights of eq. 8; it names no others.
PAPER = HybridWeights(perceptual=0.1, coefficients=0.0, albedo_flattening=0.0)


class ShapeWeights(Settings):
    """Factors of the terms of `cnet.losses.ShapeLoss`.

    Attributes:
        normal: of the aggregated identity, mm along normals.
        sigma: of the aggregated identity's coefficients, standard deviations.
        likelihood: of the single photos' errors if confidences were their inverse variances.
    """

    normal: Weight = 0.0
    sigma: Weight = 0.0
    likelihood: Weight = 0.0


class CNetExperiment(Lasting):
    """A training run.

    Attributes:
        channels, hidden: widths of the network; the paper's are 256 and 512.
        steps: length of the run, see `Lasting`.
        photos_per_set: of one person; fewer where a person has fewer, at least two.
        portrait_sets, photo_sets: per step, of each kind of pictures.
        shape: loss of portraits' sets by their known shape.
        weak: factor of the hybrid loss of sets of both kinds (eq. 8).
        hybrid: weights of its terms.
        level: factor of `cnet.losses.level`.
        recognizer: network of its perceptual term: "dlib", or a path of a .dat or .onnx file.
        render_size: side of the pictures that it compares, px.
        degraded_copies: of every picture, made once.
        degraded_sets: share of the sets in which one or two photos are degraded.
        held_out: share of the people whose sets only measure.
        measure_sets: of held-out people, in one measurement.
        optimizer: see `trainer.optimizer.Optimizer`.
        feature_gb: limit of the features kept on disk.
        save_minutes, measure_minutes: intervals.
        seed: of everything random.
    """

    counted: ClassVar[str] = "steps"
    channels: Annotated[int, Field(ge=1)] = 64
    hidden: Annotated[int, Field(ge=1)] = 128
    steps: Annotated[int, Field(gt=0)] | None = None
    photos_per_set: Annotated[int, Field(ge=2)] = 5
    portrait_sets: Count = 0
    photo_sets: Count = 0
    shape: ShapeWeights = ShapeWeights()
    weak: Weight = 0.0
    hybrid: HybridWeights = PAPER
    level: Weight = 10.0
    recognizer: str | None = "dlib"
    render_size: Annotated[int, Field(ge=32, le=224)] = 128
    degraded_copies: Annotated[int, Field(ge=1)] = 2
    degraded_sets: Share = 0.5
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    measure_sets: Annotated[int, Field(ge=1)] = 64
    optimizer: Optimizer = Optimizer(rate=2e-5)
    feature_gb: Annotated[float, Field(gt=0)] = 20.0
    save_minutes: Interval = 5.0
    measure_minutes: Interval = 2.0
    seed: Count = 1

    @model_validator(mode="after")
    def _consistent(self) -> CNetExperiment:
        if not self.portrait_sets + self.photo_sets:
            raise ValueError("a step needs sets of portraits or photographs")
        if not (self.weak or any(self.shape.model_dump().values())):
            raise ValueError("every loss has weight 0")
        if self.photo_sets and not self.weak:
            raise ValueError("sets of photographs need the weak loss")
        if self.weak and self.hybrid.perceptual and self.recognizer is None:
            raise ValueError("the perceptual loss needs a recognizer; or set its weight to 0")
        return self


def read_cnet_experiment(source: str) -> CNetExperiment:
    """The experiment of a name (`weak`, `shape`, `both`) or of a YAML file.

    Raises:
        ExperimentError: see `experiment_files.read_settings`.
    """
    return read_settings(CNetExperiment, source, EXPERIMENTS)
