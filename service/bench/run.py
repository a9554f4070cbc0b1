"""The standard set of measurements, and what is told of them."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort

from facewright.models.arrays import ByteArray
from facewright.service.bench.floor import Floor
from facewright.service.bench.load import Answered, Client, closed_load, open_load
from facewright.service.bench.portrait import render_portrait
from facewright.service.bench.server import BenchServer, bare_server, bench_server
from facewright.service.errors import FacewrightError
from facewright.service.formats.media_types import GLB
from facewright.service.options import Texture
from facewright.service.pipeline.engine import Engine
from facewright.service.pipeline.job import Job
from facewright.service.runtime.processors import usable_processors
from facewright.service.settings import Settings

ROUNDS = 3
"""The floor and the load that is held against it take turns, so that both see the same machine."""

CONCURRENCIES = (2, 4, 16)
"""Beside 1 and 8, which are held against the floor."""

MEGAPIXELS = (0.25, 4, 12)
"""Beside 1, the photo of everything else."""

OVERLOAD = 4.0
"""Requests a second under overload, in multiples of the peak throughput."""

_BEGIN, _END = "<!-- bench -->", "<!-- /bench -->"
"""Between them a page holds the tables."""


@dataclass
class _Load:
    """A load and its answers."""

    answers: list[Answered] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def add(self, answers: list[Answered], cpu_seconds: float) -> None:
        self.answers += answers
        self.seconds += max(answer.ended for answer in answers)
        self.cpu_seconds += cpu_seconds

    def summary(self) -> dict[str, float]:
        waits = [1000 * answer.seconds for answer in self.answers]
        p50, p95, p99 = np.percentile(waits, (50, 95, 99))
        return {
            "requests": len(waits),
            "throughput": len(waits) / self.seconds,
            "p50_ms": p50,
            "p95_ms": p95,
            "p99_ms": p99,
            "cores": self.cpu_seconds / self.seconds,
        }


class Bench:
    """One run of the standard set.

    Args:
        photo: bytes of a JPEG; a 1-MP rendered portrait of the face model when left out.
        seconds: length of one measurement.
        memory_requests: how many requests the server is sent to see whether it grows; 0: none
            beside those of the other measurements.

    Raises `ModelError`, and `BadPhoto` or `NoFaceFound` for a photo that is of no use.
    """

    def __init__(self, photo: bytes | None, seconds: float, memory_requests: int = 0) -> None:
        self._settings = Settings()
        engine = Engine(self._settings)
        if photo is None:
            pixels = render_portrait(engine.model)
            self._photo = _jpeg(pixels, 1)
        else:
            pixels = engine.decode(photo, Job())
            self._photo = photo
        self._sizes = {size: _jpeg(pixels, size) for size in MEGAPIXELS}
        self._floor = Floor(engine, self._photo)
        self._engine = engine
        self._seconds = seconds
        self._memory_requests = memory_requests
        self._loads: dict[int, _Load] = {}

    def run(self) -> dict[str, Any]:
        """Measure; everything that was measured, ready for JSON."""
        floor: list[tuple[float, float]] = []
        observed: list[float] = []
        with bench_server() as server:
            self._closed(server, 1, self._seconds / 4)  # warms up; not counted
            self._loads.clear()
            begun_with = server.resident_bytes()
            before = server.batches()
            for _ in range(ROUNDS):
                floor += self._floor.run(self._seconds / 2)
                observed += self._photo_to_coefficients(self._seconds / 4)
                self._closed(server, 1, self._seconds)
                self._closed(server, 8, self._seconds)
            for clients in CONCURRENCIES:
                self._closed(server, clients, self._seconds)
            batches = _batch_sizes(before, server.batches())
            sizes = {f"{size} MP": self._alone(server, self._sizes[size]) for size in MEGAPIXELS}
            textured = self._alone(server, self._photo, "photo")
            peak = max(load.summary()["throughput"] for load in self._loads.values())
            overload = self._overload(server, peak)
            memory = self._memory(server, begun_with)
            answer_bytes = self._answer_bytes(server)
        with bare_server(answer_bytes) as bare:
            http = self._alone(bare, self._photo)
        photo_to_coefficients = 1000 * float(np.median(observed))
        self._engine.close()
        closed = {str(n): self._loads[n].summary() for n in sorted(self._loads)}
        detection, regression = np.median(floor, axis=0)
        floor_seconds = float(np.median(np.sum(floor, axis=1)))
        alone = closed["1"]["p50_ms"]
        return {
            "throughput_over_floor": closed["8"]["throughput"]
            * float(np.mean(np.sum(floor, axis=1))),
            "p50_over_floor": alone / (1000 * floor_seconds),
            "non_network_ms": alone - 1000 * floor_seconds,
            "overload_goodput_over_peak": overload["goodput"] / peak,
            "memory_growth": memory["growth"],
            "floor_ms": 1000 * floor_seconds,
            "detection_over_regression": float(detection / regression),
            "photo_to_coefficients_ms": photo_to_coefficients,
            "http_ms": http["p50_ms"],
            "peak_throughput": peak,
            "closed": closed,
            "sizes": sizes,
            "textured": textured,
            "stages_ms": _stages(self._loads[1].answers),
            "overload": overload,
            "memory": memory,
            "batch_sizes": batches,
            "machine": {
                "cores": usable_processors(),
                "architecture": platform.machine(),
                "load_average": os.getloadavg()[0],
                "onnxruntime": ort.__version__,
                "photo_bytes": len(self._photo),
                "answer_bytes": answer_bytes,
                "seconds": self._seconds,
            },
        }

    def _photo_to_coefficients(self, seconds: float) -> list[float]:
        """Seconds from the photo's bytes to the coefficients of its largest face, in process."""
        times: list[float] = []
        while sum(times) < seconds:
            began = time.perf_counter()
            self._engine.observe(self._photo, "largest", Job())
            times.append(time.perf_counter() - began)
        return times

    def _client(self, server: BenchServer, photo: bytes, texture: Texture = "albedo") -> Client:
        return Client(server.url, photo, GLB, texture)

    def _answer_bytes(self, server: BenchServer) -> int:
        client = self._client(server, self._photo)
        client.send()
        client.close()
        return client.answer_bytes

    def _closed(self, server: BenchServer, clients: int, seconds: float) -> None:
        load = self._loads.setdefault(clients, _Load())
        before = server.cpu_seconds()
        answers = closed_load(lambda: self._client(server, self._photo), clients, seconds)
        _all_well(answers)
        load.add(answers, server.cpu_seconds() - before)

    def _alone(
        self, server: BenchServer, photo: bytes, texture: Texture = "albedo"
    ) -> dict[str, float]:
        load = _Load()
        before = server.cpu_seconds()
        answers = closed_load(lambda: self._client(server, photo, texture), 1, self._seconds / 2)
        _all_well(answers)
        load.add(answers, server.cpu_seconds() - before)
        return load.summary()

    def _overload(self, server: BenchServer, peak: float) -> dict[str, float]:
        seconds = 3 * self._seconds
        answers = open_load(lambda: self._client(server, self._photo), OVERLOAD * peak, seconds)
        good = [a for a in answers if a.status == 200]
        refused = [1000 * a.seconds for a in answers if a.status == 429]
        # The first answers come when the queue has filled, the last ones after the load.
        settled = [a for a in good if seconds / 3 <= a.ended < seconds]
        return {
            "rate": OVERLOAD * peak,
            "requests": len(answers),
            "goodput": len(settled) / (seconds * 2 / 3),
            "accepted_p99_ms": _percentile([1000 * a.seconds for a in good], 99),
            "deadline_ms": 1000 * self._settings.request_timeout,
            "refused": len(refused),
            "refused_p50_ms": _percentile(refused, 50),
            "refused_p99_ms": _percentile(refused, 99),
            "other": len(answers) - len(good) - len(refused),
        }

    def _memory(self, server: BenchServer, begun_with: int) -> dict[str, float]:
        """Growth of the server: after the first tenth of the requests, until the last."""
        if not self._memory_requests:
            return {"growth": server.resident_bytes() / begun_with - 1, "requests": 0}
        tenth = 0
        sent = 0
        while sent < self._memory_requests:
            sent += len(closed_load(lambda: self._client(server, self._photo), 8, self._seconds))
            if not tenth and sent >= self._memory_requests / 10:
                tenth = server.resident_bytes()
        return {"growth": server.resident_bytes() / tenth - 1, "requests": sent}


def run_bench(
    photo: Path | None,
    seconds: float,
    json_file: Path | None,
    page: Path | None,
    memory_requests: int,
) -> int:
    """Measure and print Markdown tables; write all figures and a page if they are asked for.

    Raises as `Bench` does.
    """
    data = photo.read_bytes() if photo else None
    result = Bench(data, seconds, memory_requests).run()
    tables = markdown(result)
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=2) + "\n")
    if page is not None:
        head, _, rest = page.read_text("utf-8").partition(_BEGIN)
        page.write_text(f"{head}{_BEGIN}\n{tables}\n{_END}{rest.partition(_END)[2]}", "utf-8")
    print(tables)
    return 0


def markdown(result: dict[str, Any]) -> str:
    """The tables of the documentation."""
    machine, overload, memory = result["machine"], result["overload"], result["memory"]
    grown_over = f" over {memory['requests']} requests" if memory["requests"] else ""
    lines = [
        f"{machine['cores']} cores ({machine['architecture']}), ONNX Runtime "
        f"{machine['onnxruntime']}, load average {machine['load_average']:.1f} at the end; photo "
        f"of {machine['photo_bytes']} bytes, answers in GLB, {machine['answer_bytes']} bytes; "
        f"{machine['seconds']:g} s per measurement.",
        "",
        "| measure | value |",
        "|---|---|",
        f"| networks alone (the floor), ms | {result['floor_ms']:.1f} |",
        f"| detector's networks / regression network | {result['detection_over_regression']:.2f} |",
        "| from a photo's bytes to its coefficients in process, ms | "
        f"{result['photo_to_coefficients_ms']:.1f} |",
        f"| throughput at concurrency 8 / floor | {result['throughput_over_floor']:.2f} |",
        f"| p50 at concurrency 1 / floor | {result['p50_over_floor']:.2f} |",
        f"| not in a network, ms per request | {result['non_network_ms']:.1f} |",
        f"| p50 of HTTP alone, the same bytes to and fro, ms | {result['http_ms']:.1f} |",
        f"| goodput at {OVERLOAD:g} x overload / peak | "
        f"{result['overload_goodput_over_peak']:.2f} |",
        f"| p99 of the accepted under overload, ms (deadline {overload['deadline_ms']:.0f}) | "
        f"{overload['accepted_p99_ms']:.0f} |",
        f"| p50, p99 of the refused under overload, ms | {overload['refused_p50_ms']:.1f}, "
        f"{overload['refused_p99_ms']:.1f} |",
        f"| memory growth{grown_over} | {memory['growth']:+.1%} |",
        "",
        "| load | photos/s | p50 ms | p95 ms | p99 ms | cores used |",
        "|---|---|---|---|---|---|",
    ]
    rows = {f"concurrency {n}": row for n, row in result["closed"].items()}
    rows |= {f"concurrency 1, {size}": row for size, row in result["sizes"].items()}
    rows["concurrency 1, `texture=photo`"] = result["textured"]
    lines += [
        f"| {name} | {row['throughput']:.2f} | {row['p50_ms']:.0f} | {row['p95_ms']:.0f} | "
        f"{row['p99_ms']:.0f} | {row['cores']:.2f} |"
        for name, row in rows.items()
    ]
    stages = result["stages_ms"]
    lines += ["", "| stage at concurrency 1 | " + " | ".join(stages) + " |"]
    lines += ["|---" * (len(stages) + 1) + "|"]
    lines += ["| median ms | " + " | ".join(f"{ms:.1f}" for ms in stages.values()) + " |", ""]
    for network, sizes in result["batch_sizes"].items():
        shares = ", ".join(f"{count} of {size}" for size, count in sizes.items() if count)
        lines.append(f"Batches ({network}, up to the size): {shares}.")
    return "\n".join(lines)


def _all_well(answers: list[Answered]) -> None:
    if wrong := [answer.status for answer in answers if answer.status != 200]:
        raise FacewrightError(
            f"{len(wrong)} of {len(answers)} answers were not 200 but {set(wrong)}"
        )


def _percentile(values: list[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else 0.0


def _stages(answers: list[Answered]) -> dict[str, float]:
    """Median milliseconds of each stage, from `Server-Timing`."""
    seen: dict[str, list[float]] = {}
    for answer in answers:
        for name, milliseconds in re.findall(r"(\w+);dur=([\d.]+)", answer.server_timing):
            seen.setdefault(name, []).append(float(milliseconds))
    return {name: float(np.median(values)) for name, values in seen.items()}


def _batch_sizes(
    before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]
) -> dict[str, dict[str, int]]:
    """For each network: how many batches fell between one bucket's size and the last one's."""
    sizes: dict[str, dict[str, int]] = {}
    for network, buckets in after.items():
        smaller = 0
        for size, count in buckets.items():
            until_here = count - before.get(network, {}).get(size, 0)
            sizes.setdefault(network, {})[size] = until_here - smaller
            smaller = until_here
    return sizes


def _jpeg(rgb_u8: ByteArray, megapixels: float) -> bytes:
    """The photo (H, W, 3) at so many megapixels."""
    scale = (megapixels * 1e6 / (rgb_u8.shape[0] * rgb_u8.shape[1])) ** 0.5
    bgr = cv2.cvtColor(rgb_u8, cv2.COLOR_RGB2BGR)
    bgr = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", bgr)[1].tobytes()
