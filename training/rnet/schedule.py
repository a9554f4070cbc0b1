"""What happens when in a run, as functions of its progress from 0 to 1."""

from __future__ import annotations

import math

from training.rnet.config import RNetConfig, Stage


def stage_at(config: RNetConfig, progress: float) -> Stage:
    """The stage of the run at ``progress``."""
    end = 0.0
    for stage in config.stages:
        end += stage.share
        if progress < end:
            return stage
    return config.stages[-1]


def rate_at(config: RNetConfig, progress: float) -> float:
    """Learning rate: linear warm-up, then half a cosine down to zero."""
    if progress < config.warm_up:
        # Not zero in the first step, which would be lost.
        return config.peak_rate * max(progress / config.warm_up, 0.01)
    falling = (progress - config.warm_up) / (1 - config.warm_up)
    return config.peak_rate * 0.5 * (1 + math.cos(math.pi * min(falling, 1.0)))


def average_weight(config: RNetConfig, step: int, images: int) -> float:
    """Weight of the newest parameters in the moving average after a step of ``images`` images.

    Early on the window is a tenth of the steps so far, so that the random start is forgotten.
    """
    return max(min(images / config.average_images, 1.0), 9.0 / (10.0 + step))
