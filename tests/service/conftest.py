"""A small face model and network with the real signatures, and the real server on them."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy.spatial import Delaunay
from skimage import data as pictures

from facewright.models.layout import LAYOUT_239
from facewright.models.morphable_model import MorphableModel
from facewright.service.settings import Settings
from tests.face_models import face_model
from tests.service.running import ROOT, Listening, Local, serving


def _landmark_positions() -> npt.NDArray[np.float64]:
    """(68, 2) mm: a schematic frontal face in the order of iBUG, the nose tip near (0, 0)."""
    turn = np.linspace(0, np.pi, 17)
    jaw = np.stack([-70 * np.cos(turn), 30 - 105 * np.sin(turn)], 1)
    along = np.linspace(-1, 1, 5)
    brow = np.stack([15 * along, 6 * (1 - along**2)], 1)
    brows = [brow + (-32, 52), brow + (32, 52)]
    bridge = np.stack([np.zeros(4), np.linspace(33, 0, 4)], 1)
    nostrils = np.stack([np.linspace(-14, 14, 5), [-11, -13, -14, -13, -11]], 1)
    eye = np.array([[-14, 0], [-5, 5], [5, 5], [14, 0], [5, -5], [-5, -5]], float)
    eyes = [eye + (-31, 33), eye + (31, 33)]
    around = np.linspace(np.pi, -np.pi, 13)[:-1]
    lips = np.stack([25 * np.cos(around), 10 * np.sin(around)], 1) + (0, -38)
    around = np.linspace(np.pi, -np.pi, 9)[:-1]
    inner = np.stack([18 * np.cos(around), 4 * np.sin(around)], 1) + (0, -38)
    return np.concatenate([jaw, *brows, bridge, nostrils, *eyes, lips, inner])


def _build_model() -> MorphableModel:
    """A smooth mask of some 700 vertices that a grown-up's face would fit into."""
    grid = np.stack(np.meshgrid(np.linspace(-72, 72, 24), np.linspace(-78, 80, 26)), -1)
    grid = grid.reshape(-1, 2)
    grid = grid[np.hypot(grid[:, 0] / 73, grid[:, 1] / 82) < 1]
    flat = np.concatenate([_landmark_positions(), grid])
    height = 75 * np.sqrt(
        np.clip(1.1 - (flat[:, 0] / 80) ** 2 - (flat[:, 1] / 95) ** 2, 0.02, None)
    )
    height += 18 * np.exp(-((flat[:, 0] / 12) ** 2) - ((flat[:, 1] - 4) / 16) ** 2)
    triangles = Delaunay(flat).simplices.astype(np.int32)
    sides = flat[triangles[:, 1:]] - flat[triangles[:, :1]]
    clockwise = sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0] < 0
    triangles[clockwise] = triangles[clockwise][:, ::-1]
    shape = np.concatenate([flat, height[:, None]], 1)
    shape -= shape.mean(0)
    random = np.random.default_rng(0)
    count = len(shape)
    return face_model(
        shape,
        triangles,
        np.arange(68),
        identity=random.normal(0, 0.1, (80, count, 3)),
        expression=random.normal(0, 0.1, (64, count, 3)),
        albedo=random.normal(0, 0.01, (80, count, 3)),
        mean_albedo=np.tile([0.7, 0.55, 0.45], (count, 1)),
        uv=(flat - flat.min(0)) / np.ptp(flat, axis=0),
        metadata={"name": "schematic", "source": "made for tests"},
    )


def _write_network(
    path: Path,
    face_model_sha256: str,
    identity_slope: float = 1.0,
    confidence_slopes: tuple[float, float] = (-1, 1),
    describes: bool = False,
) -> None:
    """An ONNX graph of R-Net's signature: the brightness of a crop decides its coefficients.

    With `describes` its hue decides descriptors.
    """
    pose = np.zeros(239, np.float32)
    pose[LAYOUT_239.light] = [0.8, 0, 0.3, 0, 0, 0, 0, 0, 0]
    pose[LAYOUT_239.rotation] = [0.02, -0.05, 0.03]
    slope = np.zeros(239, np.float32)
    slope[LAYOUT_239.identity] = identity_slope * np.linspace(-1, 1, 80)
    slope[LAYOUT_239.expression] = np.linspace(1, -1, 64)
    constants = {
        "pose": pose[None],
        "slope": slope[None],
        "spread": np.linspace(*confidence_slopes, 80, dtype=np.float32)[None],
        "pixels": np.array([1, 2, 3], np.int64),
        "as_column": np.array([-1, 1], np.int64),
    }
    nodes = [
        helper.make_node("ReduceMean", ["crops", "pixels"], ["means"], keepdims=0),
        helper.make_node("Reshape", ["means", "as_column"], ["brightness"]),
        helper.make_node("MatMul", ["brightness", "slope"], ["change"]),
        helper.make_node("Add", ["change", "pose"], ["coefficients"]),
        helper.make_node("MatMul", ["brightness", "spread"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["confidences"]),
    ]
    outputs = {"coefficients": 239, "confidences": 80}
    if describes:
        outputs["descriptors"] = 3
        constants |= {"within": np.array([2, 3], np.int64), "across": np.array([1], np.int64)}
        constants["little"] = np.array(1e-9, np.float32)
        nodes += [
            helper.make_node("ReduceMean", ["crops", "within"], ["color"], keepdims=0),
            helper.make_node("ReduceMean", ["color", "across"], ["gray"], keepdims=1),
            helper.make_node("Sub", ["color", "gray"], ["hue"]),
            helper.make_node("ReduceL2", ["hue", "across"], ["length"], keepdims=1),
            helper.make_node("Add", ["length", "little"], ["divisor"]),
            helper.make_node("Div", ["hue", "divisor"], ["descriptors"]),
        ]
    graph = helper.make_graph(
        nodes,
        "rnet",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["N", 3, 224, 224])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
            for name, size in outputs.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    about = {
        "name": "brightness",
        "version": "1",
        "licence": "MIT",
        "layout": "239",
        "stranger_distance": "2.5",
        "face_model": face_model_sha256,
    }
    if describes:
        about["stranger_cosine"] = "0.35"
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    onnx.save(model, path)


@dataclass(frozen=True)
class Assets:
    """Files that a server of the tests is set up with."""

    face_model: Path
    weights: Path
    model: MorphableModel

    @property
    def environment(self) -> dict[str, str]:
        return {
            "FACEWRIGHT_FACE_MODEL": str(self.face_model),
            "FACEWRIGHT_WEIGHTS": str(self.weights),
        }


@pytest.fixture(scope="session")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Assets:
    directory = tmp_path_factory.mktemp("assets")
    face_model, weights = directory / "model.npz", directory / "network.onnx"
    _build_model().save(face_model)
    model = MorphableModel.load(face_model)
    _write_network(weights, model.sha256)
    return Assets(face_model, weights, model)


@pytest.fixture(scope="session")
def telling_weights(assets: Assets) -> Path:
    """A network like that of `assets`, but a darker photo is somebody else's to it."""
    weights = assets.weights.with_name("telling.onnx")
    _write_network(weights, assets.model.sha256, identity_slope=6.0, confidence_slopes=(-1, 3))
    return weights


@pytest.fixture(scope="session")
def describing_weights(assets: Assets) -> Path:
    """A network like that of `telling_weights` that tells people apart by their hue."""
    weights = assets.weights.with_name("describing.onnx")
    _write_network(weights, assets.model.sha256, 6.0, (-1, 3), describes=True)
    return weights


def _encode(rgb_u8: npt.NDArray[Any], extension: str) -> bytes:
    return cv2.imencode(extension, cv2.cvtColor(rgb_u8, cv2.COLOR_RGB2BGR))[1].tobytes()


@pytest.fixture(scope="session")
def portrait_jpeg() -> bytes:
    """A real person's photo, 512x512 (NASA, public domain)."""
    return _encode(pictures.astronaut(), ".jpg")


@pytest.fixture(scope="session")
def group_jpeg() -> bytes:
    """The same person three times in one photo, the second time larger, the third mirrored."""
    astronaut = pictures.astronaut()
    small = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    photo = np.full((512, 1024, 3), 128, np.uint8)
    photo[128:384, :256] = small
    photo[:, 256:768] = astronaut
    photo[128:384, 768:] = small[:, ::-1]
    return _encode(photo, ".jpg")


@pytest.fixture(scope="session")
def faceless_jpeg() -> bytes:
    """A photo without a face (a coffee cup, CC0)."""
    return _encode(pictures.coffee(), ".jpg")


@pytest.fixture(scope="session")
def mirrored_jpeg() -> bytes:
    """The portrait mirrored, in another size."""
    mirrored = np.ascontiguousarray(pictures.astronaut()[:, ::-1])
    return _encode(cv2.resize(mirrored, (400, 400), interpolation=cv2.INTER_AREA), ".jpg")


@pytest.fixture(scope="session")
def stranger_jpeg() -> bytes:
    """The portrait at night: somebody else to the network of `telling_weights`."""
    return _encode((pictures.astronaut() * 0.5).astype(np.uint8), ".jpg")


@dataclass
class Server(Listening):
    """A running server process."""

    process: subprocess.Popen[bytes]
    log_path: Path

    def log(self) -> str:
        return self.log_path.read_text()


@pytest.fixture(scope="session")
def start_server(assets: Assets, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """A context manager: the real server on a free port; keywords are settings.

    It runs on the small models of these tests, or on the shipped ones if asked to.
    """

    @contextmanager
    def start(
        *, wait_ready: bool = True, shipped: bool = False, **settings: object
    ) -> Iterator[Server]:
        log_path = tmp_path_factory.mktemp("server") / "log"
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("FACEWRIGHT_")},
            **({} if shipped else assets.environment),
            "FACEWRIGHT_INFERENCE_THREADS": "1",
            "FACEWRIGHT_DRAIN_SECONDS": "0",
            **{f"FACEWRIGHT_{name.upper()}": str(value) for name, value in settings.items()},
        }
        with log_path.open("wb") as log_file:
            process = subprocess.Popen(
                [sys.executable, "-m", "facewright", "serve", "--port", str(port)],
                cwd=ROOT,
                env=environment,
                stdout=log_file,
                stderr=subprocess.STDOUT,
            )
        try:
            yield _await_server(Server(url, process, log_path), wait_ready)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    return start


# Below the ports that the system gives to clients, and others in every process of pytest-xdist:
# none is taken between the look and the server's start.
_PORTS = itertools.count(20_000 + 500 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]))


def _free_port() -> int:
    for port in _PORTS:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError


def _await_server(server: Server, wait_ready: bool) -> Server:
    patience = time.monotonic() + 90
    while time.monotonic() < patience and server.process.poll() is None:
        if _answers(server.url, wait_ready):
            return server
        time.sleep(0.05)
    raise AssertionError(f"the server did not start:\n{server.log()}")


def _answers(url: str, ready: bool) -> bool:
    try:
        return not ready or httpx.get(f"{url}/readyz").status_code == 200
    except httpx.ConnectError:  # worker processes listen only once they have started
        return False


@pytest.fixture(scope="session")
def serve_here(assets: Assets) -> Callable[..., Any]:
    """A context manager: the server in a thread of this process; keywords are settings.

    It takes a fraction of the time of one that is started, and has no log of its own.
    """

    def serve(**settings: Any) -> AbstractContextManager[Local]:
        files = {"face_model": assets.face_model, "weights": assets.weights}
        return serving(
            Settings(**{"inference_threads": 1, "drain_seconds": 0, **files, **settings})
        )

    return serve


@pytest.fixture(scope="session")
def server(start_server: Callable[..., Any]) -> Iterator[Server]:
    """The server with its default settings, shared by the tests."""
    with start_server() as running:
        yield running


@pytest.fixture(scope="session")
def shipped_server(start_server: Callable[..., Any]) -> Iterator[Server]:
    """The server on the shipped models; tests that ask it run in one process (`tests/conftest`)."""
    with start_server(shipped=True) as running:
        yield running


@pytest.fixture(scope="session")
def shipped_client(shipped_server: Server) -> Iterator[httpx.Client]:
    with shipped_server.client() as client:
        yield client


@pytest.fixture(scope="session")
def validate_gltf() -> Callable[[Path], dict[str, Any]]:
    """The Khronos validator: a GLB file's `issues`.

    It is left out where node is not installed, but not in continuous integration (`CI` is set).
    """
    script = ROOT / "tests" / "service" / "gltf_validate.mjs"
    validator = ROOT / "tests" / "node_modules" / "gltf-validator"
    if shutil.which("node") is None or not validator.is_dir():
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("needs node and `npm ci` in tests/")

    def validate(file: Path) -> dict[str, Any]:
        run = subprocess.run(
            ["node", str(script), str(file)], capture_output=True, text=True, check=True, timeout=60
        )
        issues: dict[str, Any] = json.loads(run.stdout)
        return issues

    return validate
