"""Bulk runs against their networks alone, and under kills: `python benchmarks/bench_bulk.py`.

Makes photos of docs/images/portraits, each encoded differently, and breaks some.  A worker's parts
take turns with a bare loop of the same networks on one photo after the other.  Then
`facewright bulk` works on the same photos and is killed at random moments, with all of its
processes or only the one that drives it, and the table is held against the undisturbed one.
Prints Markdown.
"""

from __future__ import annotations

import facewright.service  # noqa: F401  before NumPy: it sets the threads of linear algebra

# isort: split

import argparse
import io
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from facewright.service.bench.floor import Floor
from facewright.service.bulk.manifest import BulkOptions, Run, open_run
from facewright.service.bulk.worker import PartWorker
from facewright.service.options import ReconstructOptions
from facewright.service.runtime.processors import usable_processors
from facewright.service.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PORTRAITS = sorted((ROOT / "docs" / "images" / "portraits").glob("*.png"))
FAILED = 1
"""Exit code of a run with broken photos."""


def make_photos(directory: Path, count: int, broken: float, side: int) -> list[bytes]:
    """Photos in `directory`; returns one sound one of each portrait."""
    chance = random.Random(1)
    portraits = [Image.open(path).convert("RGB") for path in PORTRAITS]
    sound: dict[int, bytes] = {}
    for number in range(count):
        person = number % len(portraits)
        size = chance.randint(side * 3 // 4, side)
        file = io.BytesIO()
        picture = portraits[person].resize((size, size))
        picture.save(file, "JPEG", quality=chance.randint(60, 95))
        data = file.getvalue()
        sound.setdefault(person, data)
        if chance.random() < broken:
            data = chance.choice([data[: len(data) // 2], b"", b"no photo"])
        (directory / f"{number:06d}.jpg").write_bytes(data)
    return list(sound.values())


def resident() -> float:
    """MB that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def per_photo(work: Callable[[], object], photos: int) -> tuple[float, float]:
    """Seconds, and seconds of processors, that `work` takes for each of its photos."""
    began, computed = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - began) / photos, (time.process_time() - computed) / photos


def ask(floors: Sequence[Floor], rounds: int) -> None:
    """The networks alone, one photo after the other."""
    for _ in range(rounds):
        for floor in floors:
            floor.once()


def undisturbed(run: Run, photos: list[bytes]) -> None:
    """Work on all parts here, in turns with the networks alone, and print both."""
    processors = usable_processors()
    worker = PartWorker(run, processors)
    floors = [Floor(worker.engine, photo) for photo in photos]
    size = run.options.part_size
    bulk: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    memory: list[float] = []
    for part in range(run.parts):
        count = min(size, run.photos - part * size)
        bulk.append(per_photo(lambda part=part: worker.work(part), count))
        memory.append(resident())
        rounds = max(1, count // (4 * len(floors)))
        bare.append(per_photo(lambda n=rounds: ask(floors, n), rounds * len(floors)))
    print("| | photos/s, best | photos/s, median | processor ms per photo, least |")
    print("|---|---|---|---|")
    for name, taken in (("a worker", bulk), ("its networks alone", bare)):
        wall = [seconds for seconds, _ in taken]
        least = 1e3 * min(seconds for _, seconds in taken)
        print(f"| {name} | {1 / min(wall):.1f} | {1 / np.median(wall):.1f} | {least:.1f} |")
    shares = np.min(bare, axis=0) / np.min(bulk, axis=0)
    median = float(np.median(np.array(bare)[:, 0]) / np.median(np.array(bulk)[:, 0]))
    print(f"| share | {shares[0]:.2f} | {median:.2f} | {shares[1]:.2f} |\n")
    quarters = [memory[len(memory) * k // 4 : len(memory) * (k + 1) // 4] for k in range(4)]
    told = ", ".join(f"{max(quarter):.0f}" for quarter in quarters if quarter)
    print(f"Memory of a worker over {run.photos} photos, MB, greatest of each quarter: {told}\n")


def start(options: BulkOptions) -> subprocess.Popen[bytes]:
    """`facewright bulk`, in a process group of its own."""
    arguments = [options.source, options.out, "--faces", options.answer.faces]
    arguments += ["--part-size", str(options.part_size)]
    return subprocess.Popen(
        [sys.executable, "-m", "facewright", "bulk", *arguments], start_new_session=True
    )


def killed(options: BulkOptions, kills: int) -> None:
    """Start and kill a run at random moments, then let it come to its end."""
    chance = random.Random(2)
    faces = Path(options.out) / "faces"
    for number in range(kills):
        running = start(options)
        before = len(list(faces.glob("part-*")))
        while len(list(faces.glob("part-*"))) <= before and running.poll() is None:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 10))
        everything = number % 2 == 1
        (os.killpg if everything else os.kill)(running.pid, signal.SIGKILL)
        running.wait()
        done = len(list(faces.glob("part-*")))
        print(f"- killed {'with its processes' if everything else 'alone'}: {done} parts done")
    assert start(options).wait() == FAILED


def compare(one: Path, other: Path) -> None:
    """Print how two tables differ."""
    tables = [pq.read_table(path / "faces").to_pylist() for path in (one, other)]
    left, right = tables
    exact = ("photo_index", "photo", "photo_sha256", "code", "face", "width", "height")
    alike = [[[row[name] for name in exact] for row in rows] for rows in tables]
    print(
        f"\nRows: {len(left)} and {len(right)}, {'the same' if alike[0] == alike[1] else 'OTHERS'}"
    )
    codes = [row["code"] for row in left if row["code"]]
    print(f"Failed: { ({code: codes.count(code) for code in sorted(set(codes))}) }")
    noise: dict[str, float] = {}
    for mine, theirs in zip(left, right, strict=True):
        for name in ("coefficients", "confidences", "landmarks"):
            if mine[name] is not None:
                apart = float(np.abs(np.subtract(mine[name], theirs[name])).max())
                noise[name] = max(noise.get(name, 0.0), apart)
    print("Greatest difference: " + ", ".join(f"{k} {v:.1e}" for k, v in noise.items()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--broken", type=float, default=0.03)
    parser.add_argument("--side", type=int, default=512, help="pixels of the largest photo")
    parser.add_argument("--part-size", type=int, default=64)
    parser.add_argument("--kills", type=int, default=3)
    asked: Any = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        source, one, other = (Path(name) / part for part in ("photos", "one", "other"))
        source.mkdir()
        photos = make_photos(source, asked.photos, asked.broken, asked.side)
        # One face of each photo, which is what the networks alone are asked for.
        largest = ReconstructOptions(faces="largest")
        options = BulkOptions(str(source), str(one), answer=largest, part_size=asked.part_size)
        undisturbed(open_run(options, Settings()), photos)
        print(f"Load average {os.getloadavg()[0]:.1f}\n", flush=True)
        if asked.kills:
            killed(replace(options, out=str(other)), asked.kills)
            compare(one, other)


if __name__ == "__main__":
    main()
