"""What the server counts and times, for Prometheus."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from pathlib import Path
from typing import NamedTuple

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
    multiprocess,
)
from prometheus_client.metrics import MetricWrapperBase

from facewright.service.runtime.batch_events import DropReason
from facewright.service.telemetry.stages import StageClock

CONTENT_TYPE = CONTENT_TYPE_LATEST
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""With several server processes: the directory through which they add up their numbers."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_STAGE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_COUNTS = (1, 2, 4, 8, 16, 32, 64)


class Series(NamedTuple):
    """What the table of metrics tells of one."""

    family: str
    """The name without the suffix that counters and histograms add."""
    kind: str
    meaning: str
    labels: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name as documents give it: counters end with `_total`."""
        return self.family + ("_total" if self.kind == "counter" else "")


class Metrics:
    """All series of one server process; also the observer of the batchers."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        counter = partial(Counter, registry=self._registry)
        gauge = partial(Gauge, registry=self._registry, multiprocess_mode="livesum")
        histogram = partial(Histogram, registry=self._registry)
        self.requests = counter(
            "facewright_requests_total", "Answered requests.", ["method", "route", "status"]
        )
        self.request_seconds = histogram(
            "facewright_request_seconds",
            "Time from a request's head to the end of its answer.",
            ["route", "status"],
            buckets=_SECONDS,
        )
        self.uploads = gauge("facewright_uploads_in_flight", "Photos being uploaded.")
        self.in_flight = gauge("facewright_photos_in_flight", "Photos waiting or worked on.")
        self.albums = gauge("facewright_albums_in_flight", "Albums being uploaded or worked on.")
        self.album_photos = histogram(
            "facewright_photos_per_album", "Photos of one album.", buckets=_COUNTS
        )
        self._stage_seconds = histogram(
            "facewright_stage_seconds",
            "Time in one stage of one photo's reconstruction.",
            ["stage"],
            buckets=_STAGE_SECONDS,
        )
        self.faces = histogram(
            "facewright_faces_per_photo", "Faces reconstructed in one photo.", buckets=_COUNTS
        )
        self._batch_size = histogram(
            "facewright_batch_size", "Images in one call of a network.", ["stage"], buckets=_COUNTS
        )
        self._batch_seconds = histogram(
            "facewright_batch_seconds",
            "Time of one call of a network.",
            ["stage"],
            buckets=_STAGE_SECONDS,
        )
        self._queue_depth = gauge(
            "facewright_queue_depth", "Images that wait for a network.", ["stage"]
        )
        self._dropped = counter(
            "facewright_dropped_total",
            "Images that no network was asked about: cancelled, late, or refused by a full queue.",
            ["stage", "reason"],
        )
        self.ready = gauge("facewright_ready", "1 while the server takes requests.")
        self._model = gauge(
            "facewright_model_info",
            "1 for each model that is loaded.",
            ["kind", "name", "version", "sha256"],
            multiprocess_mode="max",
        )
        ProcessCollector(registry=self._registry)

    def series(self) -> list[Series]:
        """Everything that is counted, in the order of the table."""
        return [
            Series(family.name, family.type, family.documentation, metric._labelnames)
            for metric in vars(self).values()
            if isinstance(metric, MetricWrapperBase)
            for family in metric.describe()
        ]

    def model_loaded(self, kind: str, name: str, version: str, sha256: str) -> None:
        """Note a model; `kind` is `face_model`, `weights` or `detector`."""
        self._model.labels(kind, name, version, sha256).set(1)

    def observe_stages(self, clock: StageClock) -> None:
        """Count the stages that one photo went through."""
        for stage, seconds in clock.seconds.items():
            self._stage_seconds.labels(stage).observe(seconds)

    def batch_done(self, stage: str, size: int, seconds: float) -> None:
        """Count one call of a network."""
        self._batch_size.labels(stage).observe(size)
        self._batch_seconds.labels(stage).observe(seconds)

    def queue_depth(self, stage: str, items: int) -> None:
        """Note how many images wait."""
        self._queue_depth.labels(stage).set(items)

    def dropped(self, stage: str, reason: DropReason, items: int) -> None:
        """Count images that never ran."""
        self._dropped.labels(stage, reason).inc(items)

    def render(self) -> bytes:
        """The text that `/metrics` answers with, of all processes together."""
        if MULTIPROCESS_VARIABLE not in os.environ:
            return generate_latest(self._registry)
        forget_ended_processes(Path(os.environ[MULTIPROCESS_VARIABLE]))
        everything = CollectorRegistry()
        multiprocess.MultiProcessCollector(everything)
        return generate_latest(everything)


def forget_ended_processes(directory: Path) -> None:
    """Drop what ended processes last said of the present; what they counted stays.

    Nobody tells when a server process ends, least of all itself, so each answer of `/metrics`
    looks for those that are gone.
    """
    for pid in {int(file.stem.rpartition("_")[2]) for file in directory.glob("gauge_live*.db")}:
        try:
            os.kill(pid, 0)
        except OSError:  # none of that number, or somebody else's
            with contextlib.suppress(FileNotFoundError):  # another process was quicker
                multiprocess.mark_process_dead(pid, str(directory))
