"""The built image, run the way a cluster runs it: `make image-test`, not part of the normal run.

ENGINE is the command line of docker or podman, RUN_OPTIONS what its `run` needs on this machine,
IMAGE the image's name.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from facewright import __version__

pytestmark = pytest.mark.image

ROOT = Path(__file__).resolve().parents[2]
PORTRAIT = ROOT / "docs" / "images" / "portraits" / "3_calm.png"
IMAGE = os.environ.get("IMAGE", "localhost/facewright:test")
ENGINE = shlex.split(os.environ.get("ENGINE", "docker"))
RUN_OPTIONS = shlex.split(os.environ.get("RUN_OPTIONS", ""))

RESTRICTED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
"""What the manifests ask for: no capability, nothing of the image writable."""

OFFLINE = "--network=none"

POST = """
import sys, urllib.request as r
request = r.Request('http://127.0.0.1:8000/v1/reconstruct', sys.stdin.buffer.read(),
                    {'Content-Type': 'image/png', 'Accept': 'model/gltf-binary'})
sys.stdout.buffer.write(r.urlopen(request, timeout=60).read())
"""


def engine(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    options = {"capture_output": True, "timeout": 200, "check": True, **options}
    return subprocess.run([*ENGINE, *arguments], **options)


def in_image(code: str) -> str:
    """What a line of Python prints inside the image."""
    done = engine("run", "--rm", OFFLINE, *RUN_OPTIONS, "--entrypoint=python3", IMAGE, "-c", code)
    return done.stdout.decode().strip()


class Container:
    """A running container."""

    def __init__(self, identifier: str) -> None:
        self.id = identifier

    def exec(self, *command: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        return engine("exec", "-i", self.id, *command, **options)

    def post(self, photo: bytes) -> bytes:
        return self.exec("python3", "-c", POST, input=photo).stdout

    def healthy(self) -> bool:
        """What the image's own health check says now."""
        (about,) = json.loads(engine("image", "inspect", IMAGE).stdout)
        check = (about["Config"].get("Healthcheck") or about["Healthcheck"])["Test"]
        assert check[0] == "CMD"
        return self.exec(*check[1:], check=False).returncode == 0

    def running(self) -> bool:
        state = engine("inspect", "--format={{.State.Running}}", self.id).stdout
        return state.strip() == b"true"

    def exit_code(self) -> int:
        wait_until(lambda: not self.running())
        return int(engine("inspect", "--format={{.State.ExitCode}}", self.id).stdout)

    def log(self) -> str:
        done = engine(
            "logs", self.id, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, capture_output=False
        )
        return done.stdout.decode()


@pytest.fixture
def start() -> Iterator[Callable[..., Container]]:
    """Start a container of the image: options of `run`, then what follows the image's name."""
    with contextlib.ExitStack() as stack:

        def run(*options: str, command: tuple[str, ...] = ()) -> Container:
            done = engine("run", "-d", *RUN_OPTIONS, *options, IMAGE, *command)
            container = Container(done.stdout.decode().strip())
            stack.callback(engine, "rm", "-f", container.id, check=False)
            return container

        yield run


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    patience = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < patience, "waited in vain"
        time.sleep(0.3)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A client of one running container, restricted but for its network."""
    port = free_port()
    options = ("--network=host", *RESTRICTED, "--tmpfs=/tmp", f"--env=FACEWRIGHT_PORT={port}")
    done = engine("run", "-d", *RUN_OPTIONS, *options, IMAGE)
    container = Container(done.stdout.decode().strip())
    try:
        wait_until(container.healthy)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            yield client
    finally:
        engine("rm", "-f", container.id, check=False)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


MAGIC = {
    "application/json": b"{",
    "application/zip": b"PK\x03\x04",
    "image/jpeg": b"\xff\xd8\xff",
    "image/png": b"\x89PNG",
    "model/gltf-binary": b"glTF",
    "model/obj": b"#",
}
"""How each form of an answer begins."""


@pytest.mark.parametrize("texture", ["albedo", "photo"])
@pytest.mark.parametrize("accept", MAGIC)
@pytest.mark.parametrize("route", ["/v1/reconstruct", "/v1/albums/reconstruct"])
def test_nothing_that_was_taken_out_is_missed(
    client: httpx.Client, route: str, accept: str, texture: str
) -> None:
    part, count = ("images", 2) if "albums" in route else ("image", 1)
    answer = client.post(
        route,
        params={"texture": texture},
        headers={"Accept": accept},
        files=[(part, PORTRAIT.read_bytes())] * count,
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == accept
    assert answer.content.startswith(MAGIC[accept])


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_every_kind_of_photo_is_read(client: httpx.Client, kind: str) -> None:
    photo = io.BytesIO()
    Image.open(PORTRAIT).convert("RGB").save(photo, kind)
    answer = client.post("/v1/reconstruct", files={"image": photo.getvalue()})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["faces"]) == 1


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/v1/models", "/metrics"])
def test_its_pages_are_there(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert "facewright" in answer.text


def test_its_other_commands_are_there(tmp_path: Path) -> None:
    shared = (f"--volume={PORTRAIT.parent}:/photos:ro", f"--volume={tmp_path}:/out")
    tmp_path.chmod(0o777)
    engine("run", "--rm", OFFLINE, *RUN_OPTIONS, IMAGE, "--help")
    photo = f"/photos/{PORTRAIT.name}"
    command = ("reconstruct", photo, "--mesh-format", "glb,obj", "-o", "/out/made")
    engine("run", "--rm", OFFLINE, *RUN_OPTIONS, *shared, IMAGE, *command)
    assert {path.suffix for path in (tmp_path / "made").rglob("*")} >= {".glb", ".obj", ".jpg"}


@pytest.mark.parametrize("writable", [("--tmpfs=/tmp",), ()], ids=["tmp", "nothing writable"])
def test_it_starts_offline_without_rights(
    start: Callable[..., Container], writable: tuple[str, ...]
) -> None:
    if not writable and "podman" in ENGINE[0]:  # podman gives one unasked
        writable = ("--read-only-tmpfs=false",)
    container = start(OFFLINE, *RESTRICTED, *writable)
    wait_until(container.healthy)
    assert container.post(PORTRAIT.read_bytes())[:4] == b"glTF"
    status = container.exec("cat", "/proc/1/status").stdout.decode()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Name"] == "tini"
    assert set(fields["Uid"].split()) == set(fields["Gid"].split()) == {"10001"}
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert container.exec("touch", "/opt/x", check=False).returncode != 0


def test_several_processes_add_up_their_numbers(start: Callable[..., Container]) -> None:
    container = start(OFFLINE, *RESTRICTED, "--tmpfs=/tmp", command=("serve", "--workers", "2"))
    wait_until(container.healthy)
    get = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/metrics').read().decode())"

    def ready() -> bool:
        return "facewright_ready 2.0" in container.exec("python3", "-c", get).stdout.decode()

    wait_until(ready)


def test_sigterm_finishes_what_was_accepted(start: Callable[..., Container]) -> None:
    container = start(OFFLINE, *RESTRICTED, "--env=FACEWRIGHT_DRAIN_SECONDS=4")
    wait_until(container.healthy)
    engine("kill", "--signal=TERM", container.id)
    wait_until(lambda: "draining" in container.log())
    assert not container.healthy()
    assert container.post(PORTRAIT.read_bytes())[:4] == b"glTF"
    assert container.exit_code() == 128 + 15
    assert '"message": "stopped"' in container.log()


def test_sigterm_ends_it_before_python_has_a_handler(start: Callable[..., Container]) -> None:
    container = start(OFFLINE, *RESTRICTED)
    engine("kill", "--signal=TERM", container.id)
    assert container.exit_code() == 128 + 15
    assert "draining" not in container.log()


def test_it_holds_no_torch_no_compiler_no_training() -> None:
    modules = (
        "torch facewright.training pip setuptools scipy facewright.models.rnet_torch lightning"
    )
    commands = "gcc cc g++ clang ld strip make pip pip3 facewright-train"
    found = in_image(
        "import shutil, importlib.util as u\n"
        f"print(*(m for m in '{modules}'.split() if u.find_spec(m)),"
        f"*(c for c in '{commands}'.split() if shutil.which(c)))"
    )
    assert found == ""


def test_its_label_is_the_version_of_its_code() -> None:
    (about,) = json.loads(engine("image", "inspect", IMAGE).stdout)
    labels = about["Config"]["Labels"]
    prefix = "org.opencontainers.image."
    assert labels[prefix + "version"] == __version__
    assert labels[prefix + "title"] == "facewright"
    assert labels[prefix + "licenses"] == "MIT"
    assert in_image("import importlib.metadata as m; print(m.version('facewright'))") == __version__


def test_it_is_no_larger_than_said() -> None:
    (about,) = json.loads(engine("image", "inspect", IMAGE).stdout)
    assert about["Size"] <= 700_000_000


def test_a_change_of_code_is_a_small_layer() -> None:
    """Newest first: the code, under it the models, under these the packages."""
    history = engine("history", "--format={{.Size}}", IMAGE).stdout.decode()
    units = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}
    found = re.findall(r"^([\d.]+) ?([kMG]?B)$", history, re.MULTILINE)
    sizes = [size for number, unit in found if (size := float(number) * units[unit])]
    assert sizes[0] < 5_000_000 < 50_000_000 < sizes[1] < sizes[2]
