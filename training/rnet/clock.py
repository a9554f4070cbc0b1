"""The clock of a run: how far it is and what is due, decided once for all workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as lightning

from facewright.training.rnet.data import RNetData
from facewright.training.rnet.experiment import Experiment
from facewright.training.rnet.schedule import progress_of


class Clock(lightning.Callback):
    """Measures the run and says after each step what is due; the first of the callbacks.

    The first process decides, the others hear from it, so that all validate, save and stop
    after the same step.

    Args:
        experiment: length of the run and intervals.
        should_stop: whether to end the run early; asked in the first process.

    Attributes:
        seconds: that the run has taken, over all its parts.
        validate, save, stop: what is due after this step.
    """

    def __init__(self, experiment: Experiment, should_stop: Callable[[], bool]) -> None:
        self._experiment = experiment
        self._should_stop = should_stop
        self.seconds = 0.0
        self.validate = self.save = self.stop = False
        self._last = self._validated = self._saved = 0.0

    def progress(self, images: int) -> float:
        """Part of the run that is done after so many images, 0 to 1."""
        return progress_of(self._experiment, images, self.seconds)

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Start to measure."""
        self._last = self._validated = self._saved = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move the run's cursor on and decide what is due."""
        data: RNetData = trainer.datamodule  # type: ignore[attr-defined]
        data.cursor = batch.step.after
        now = time.monotonic()
        mine = (
            self.seconds + now - self._last,
            now - self._validated > 60 * self._experiment.validate_minutes,
            now - self._saved > 60 * self._experiment.save_minutes,
            trainer.is_global_zero and self._should_stop(),
        )
        self._last = now
        self.seconds, self.validate, self.save, self.stop = trainer.strategy.broadcast(mine)
        if self.validate:
            self._validated = now
        if self.save:
            self._saved = now
        if self.stop:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Time so far."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.seconds = state_dict["seconds"]
