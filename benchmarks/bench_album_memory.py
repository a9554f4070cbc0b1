"""Peak memory of a server that answers an album of large photos, and its processor time.

    python benchmarks/bench_album_memory.py [--photos 64] [--megapixels 20] [--accept TYPE ...]
        [--texture albedo|photo]

The photos are a portrait of the face model, enlarged and grainy, as JPEG files of some 4 MB; the
server is a process of its own with its default settings and the shipped models.  Its peak resident
memory (VmHWM of Linux) is read after every answer.  Of the processor time the stages tell what it
went to: the answer's `Server-Timing`, which is time of waiting as well where processors are busy.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import httpx
import numpy as np

from facewright.models.assets import FACE_MODEL, asset_path
from facewright.models.morphable_model import MorphableModel
from facewright.service.bench.portrait import render_portrait

ROOT = Path(__file__).resolve().parents[1]
PATH = "/v1/albums/reconstruct"
FORMS = ("application/json", "model/gltf-binary", "image/jpeg", "application/zip")


def large_photo(megapixels: float) -> bytes:
    """A portrait of about as many megapixels and a fifth of that in MB, as a JPEG file."""
    portrait = render_portrait(MorphableModel.load(asset_path(FACE_MODEL)))
    scale = np.sqrt(megapixels * 1e6 / (portrait.shape[0] * portrait.shape[1]))
    photo = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    grain = np.random.default_rng(0).integers(0, 18, photo.shape[:2], np.uint8)
    photo = cv2.add(photo, np.repeat(grain[..., None], 3, axis=2))
    return cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def peak_mb(process: int) -> float:
    """Peak resident memory of a process so far."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1000


def processor_seconds(process: int) -> float:
    """Processor time of a process so far, all its threads."""
    # After the name in brackets, from the state on: fields 14 and 15 of proc(5).
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def await_url(log: Path, patience: float = 120) -> str:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if (found := re.search(r"ready: (http://\S+)", log.read_text())) and (
            httpx.get(f"{found[1]}/readyz").status_code == 200
        ):
            return found[1]
        time.sleep(0.1)
    raise SystemExit(f"the server did not start:\n{log.read_text()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--megapixels", type=float, default=20)
    parser.add_argument("--accept", nargs="+", default=FORMS)
    parser.add_argument("--texture", choices=("albedo", "photo"), default="albedo")
    options = parser.parse_args()
    photo = large_photo(options.megapixels)
    print(
        f"{options.photos} photos of {len(photo) / 1e6:.1f} MB, {options.megapixels:g} megapixels"
    )
    files = [("images", ("photo.jpg", photo, "image/jpeg"))] * options.photos
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "log")
        with log.open("wb") as output:
            server = subprocess.Popen(
                [sys.executable, "-m", "facewright", "serve", "--port", "0"],
                cwd=ROOT,
                env={**os.environ, "FACEWRIGHT_ALBUM_TIMEOUT": "3600"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            url = await_url(log)
            print(f"{'':43} {peak_mb(server.pid):7.0f} MB")
            for accept in options.accept:
                query = {"texture": options.texture}
                if accept.endswith("json"):
                    query["include"] = "overlay,confidences,mesh"
                started, used = time.perf_counter(), processor_seconds(server.pid)
                answer = httpx.post(
                    url + PATH,
                    params=query,
                    files=files,
                    headers={"accept": accept},
                    timeout=3600,
                )
                answer.raise_for_status()
                seconds = time.perf_counter() - started
                used = processor_seconds(server.pid) - used
                print(
                    f"{accept:20} {seconds:8.1f} s {used:6.1f} CPU s {peak_mb(server.pid):7.0f} MB"
                )
                print(f"    {answer.headers['server-timing']}", flush=True)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
