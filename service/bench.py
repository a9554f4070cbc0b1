"""`facewright bench`: how long a photo takes, stage by stage, and how many a second."""

from __future__ import annotations

import platform
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
from rich.console import Console
from rich.progress import track
from rich.table import Table

from service.answers import JSON, AnswerWriter
from service.deadline import Deadline
from service.engine import Engine
from service.portrait import render_portrait
from service.processors import usable_processors
from service.schemas import ReconstructOptions
from service.settings import Settings
from service.stages import STAGES, StageClock

_OPTIONS = ReconstructOptions(faces="largest", include=["mesh", "overlay"])
_WARM_UP = 2


def run_bench(photo: Path | None, count: int) -> int:
    """Measure and print; the photo is a rendered portrait of the face model when left out.

    Each of `count` rounds makes what `POST /v1/reconstruct?include=mesh,overlay` answers:
    first one after the other for the stage times, then on all threads for the throughput.

    Raises:
        BadPhoto, NoFaceFound: the photo is of no use.
        ModelError: the models cannot be loaded.
    """
    console = Console()
    settings = Settings()
    engine = Engine(settings)
    data = photo.read_bytes() if photo else _portrait_file(engine)

    def one_round(_: object = None) -> StageClock:
        clock = StageClock()
        deadline = Deadline()
        scene = engine.reconstruct(data, _OPTIONS.faces, deadline, clock)
        AnswerWriter(engine, scene, _OPTIONS, deadline, clock).write(JSON)
        return clock

    for _ in range(_WARM_UP):
        one_round()
    clocks = [one_round() for _ in track(range(count), "One at a time", console=console)]
    started = time.perf_counter()
    with ThreadPoolExecutor(settings.concurrency) as pool:
        list(track(pool.map(one_round, range(count)), "Together", count, console=console))
    together = time.perf_counter() - started
    engine.close()

    console.print(_stage_table(clocks))
    console.print(
        f"{count / together:.2f} photos/s with {settings.concurrency} threads; "
        f"{usable_processors()} cores, {platform.machine()}, {', '.join(engine.providers)}; "
        f"{'the given photo' if photo else 'a rendered portrait'}, {len(data)} bytes",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def _stage_table(clocks: list[StageClock]) -> Table:
    medians = {
        stage: 1000 * statistics.median(clock.seconds.get(stage, 0.0) for clock in clocks)
        for stage in STAGES
    }
    total = sum(medians.values())
    table = Table("stage", "median ms", "share", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for stage, milliseconds in [*medians.items(), ("sum", total)]:
        table.add_row(stage, f"{milliseconds:.1f}", f"{milliseconds / total:.0%}")
    return table


def _portrait_file(engine: Engine) -> bytes:
    bgr = cv2.cvtColor(render_portrait(engine.model), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr)[1].tobytes()
