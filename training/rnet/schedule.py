"""What happens when in a run, as functions of its progress from 0 to 1."""

from __future__ import annotations

from facewright.training.rnet.experiment import Experiment, Stage


def progress_of(experiment: Experiment, images: int, seconds: float) -> float:
    """Part of the run that is done, by images or by time; 1 or more at its end."""
    if experiment.images is not None:
        return images / experiment.images
    assert experiment.minutes is not None
    return seconds / (60 * experiment.minutes)


def stage_at(experiment: Experiment, progress: float) -> Stage:
    """The stage of the run at `progress`."""
    end = 0.0
    for stage in experiment.stages:
        end += stage.share
        if progress < end:
            return stage
    return experiment.stages[-1]


def average_weight(window_images: int | None, step: int, images: int) -> float:
    """Weight of the newest parameters in the moving average after a step of `images` images.

    Early on the window is a tenth of the steps so far, so that the random start is forgotten.
    Without a window the average is the newest parameters.
    """
    if window_images is None:
        return 1.0
    return max(min(images / window_images, 1.0), 9.0 / (10.0 + step))
