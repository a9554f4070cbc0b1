"""The clock of a run: how far it is and what is due, decided once for all workers."""

from __future__ import annotations

import time
from collections.abc import Callable

from facewright.training.rnet.experiment import Experiment
from facewright.training.rnet.workers import Workers


class Clock:
    """Measures the run and says after each step what is due.

    The first process decides, the others hear from it, so that all validate, save and stop
    after the same step.

    Args:
        experiment: length of the run and intervals.
        workers: of the run.
        should_stop: whether to end the run early; asked in the first process.

    Attributes:
        seconds: that the run has taken, over all its parts.
        validate, save, stop: what is due after this step.
    """

    def __init__(
        self, experiment: Experiment, workers: Workers, should_stop: Callable[[], bool]
    ) -> None:
        self._experiment = experiment
        self._workers = workers
        self._should_stop = should_stop
        self.seconds = 0.0
        self.validate = self.save = self.stop = False
        self._last = self._validated = self._saved = 0.0

    def progress(self, images: int) -> float:
        """Part of the run that is done after so many images, 0 to 1."""
        return self._experiment.progress(images, self.seconds)

    def start(self) -> None:
        """Start to measure."""
        self._last = self._validated = self._saved = time.monotonic()

    def tick(self) -> None:
        """Decide, after a step, what is due."""
        now = time.monotonic()
        mine = (
            self.seconds + now - self._last,
            now - self._validated > 60 * self._experiment.validate_minutes,
            now - self._saved > 60 * self._experiment.save_minutes,
            self._workers.is_first and self._should_stop(),
        )
        self._last = now
        self.seconds, self.validate, self.save, self.stop = self._workers.of_first(mine)
        if self.validate:
            self._validated = now
        if self.save:
            self._saved = now
