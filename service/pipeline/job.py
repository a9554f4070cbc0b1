"""What every step of one request's work is given: until when, and where its time is noted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from facewright.service.runtime.deadline import Deadline
from facewright.service.telemetry.stages import SharedClock, StageClock


@dataclass(frozen=True)
class Job:
    """The deadline and the clock of work on one photo.  `Job()` may take any time."""

    deadline: Deadline = field(default_factory=Deadline)
    clock: StageClock = field(default_factory=StageClock)

    def check(self) -> None:
        """Raise `DeadlinePassed` when no time is left."""
        self.deadline.check()

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Add the time inside the `with` block to the stage `name`."""
        return self.clock.stage(name)


@dataclass(frozen=True)
class SharedJob(Job):
    """A job of many photos that are worked on side by side."""

    clock: SharedClock = field(default_factory=SharedClock)

    @contextmanager
    def child(self) -> Iterator[Job]:
        """The job of one of the photos, with a clock of its own."""
        with self.clock.child() as clock:
            yield Job(self.deadline, clock)
