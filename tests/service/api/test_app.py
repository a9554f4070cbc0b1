"""The application in this process: what needs an engine that fails or waits on command."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient

from facewright.models.texture.baking import DEFAULT_TEXTURE_SIZE, TEXTURE_SIZES
from facewright.service.api.app import create_app
from facewright.service.api.problems import Problem
from facewright.service.errors import QueueFull
from facewright.service.options import AlbumOptions, ReconstructOptions, TextureSize
from facewright.service.pipeline.job import Job
from facewright.service.settings import Settings
from facewright.service.telemetry.logging import JsonFormatter, TextFormatter

PHOTO = {"image": b"\xff\xd8"}
PATH = "/v1/reconstruct"


class FakeEngine:
    """Raises or runs what a test tells it to."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.started = threading.Event()
        self.ended = threading.Event()
        self.stop = threading.Event()
        self.closed = False
        self.alive = True
        self.call_seconds = 0.0

    def reconstruct(self, data: bytes, faces: str, job: Job, **_: Any) -> Any:
        self.started.set()
        try:
            if self.error is not None:
                raise self.error
            while True:  # until nobody waits any more
                job.check()
                if self.stop.is_set():
                    job.deadline.cancel()
        finally:
            self.ended.set()

    def models(self) -> list[tuple[str, str, str, str]]:
        return []

    def close(self, timeout: float | None = None) -> None:
        self.closed = True


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(engine: FakeEngine) -> Iterator[TestClient]:
    app = create_app(Settings(), load=lambda settings, observer: engine)  # type: ignore[arg-type,return-value]
    with TestClient(app, raise_server_exceptions=False) as client:
        while client.get("/readyz").status_code != 200:
            pass
        yield client


def test_500_tells_nothing_and_logs_everything_but_the_photo(
    client: TestClient, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.error = RuntimeError("inner secret")
    response = client.post(PATH, files=PHOTO, headers={"X-Request-ID": "five"})
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(response.content)
    assert (problem.code, problem.request_id) == ("internal_error", "five")
    assert "secret" not in response.text
    (record,) = [r for r in caplog.records if r.exc_info]
    assert "inner secret" in caplog.text
    assert "Traceback" in JsonFormatter().format(record)
    assert 'status="500"' in client.get("/metrics").text
    assert client.get("/livez").status_code == 200


def test_invented_methods_share_one_series(client: TestClient) -> None:
    for method in ("FOO", "BAR"):
        assert client.request(method, "/livez").status_code == 405
    text = client.get("/metrics").text
    assert 'facewright_requests_total{method="other",route="/livez",status="405"} 2.0' in text
    assert "FOO" not in text


def test_head_is_answered_wherever_get_is(client: TestClient) -> None:
    for path in ("/", "/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/nothing", PATH):
        got, head = client.get(path), client.head(path)
        assert head.status_code == got.status_code
        assert head.content == b""
        assert head.headers["content-type"] == got.headers["content-type"]
        if path != "/metrics":
            assert head.headers["content-length"] == got.headers["content-length"]
    assert client.put("/livez").headers["allow"] == "GET, HEAD"
    assert client.head(PATH).headers["allow"] == "POST"
    assert 'method="HEAD",route="/livez",status="200"' in client.get("/metrics").text


def test_the_viewer_loads_nothing_from_elsewhere(client: TestClient) -> None:
    response = client.get("/docs")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    places = re.findall(r"""(?:src|href)=["']([^"']+)""", response.text)
    assert len(places) == 3
    for place in places:
        assert place.startswith("/docs/static/")
        found = client.get(place)
        assert found.status_code == 200
        assert len(found.content) > 1000
    assert not re.search("https?://", response.text)


@pytest.mark.parametrize(
    ("query", "parameter", "message"),
    [
        ("faces=some", "faces", "must be one of all, largest"),
        ("include=mesh,nothing", "include", "must be a list of some of mesh, overlay"),
        ("expression=smile", "expression", "must be one of keep, neutral"),
        ("pose=", "pose", "must be one of canonical, camera"),
        ("mesh_format=fbx", "mesh_format", "must be one of glb, obj"),
        ("texture=skin", "texture", "must be one of albedo, photo"),
        ("texture_size=77", "texture_size", "must be one of 256, 512, 1024, 2048"),
        ("texture=photo&texture_size=4096", "texture_size", "must be one of 256"),
        ("texture_size=", "texture_size", "must be one of 256"),
        ("texture_size=512.0", "texture_size", "must be one of 256"),
        ("texture_size=99999999999999999999", "texture_size", "must be one of 256"),
        ("landmarks=perhaps", "landmarks", "must be true or false"),
        ("detail=ultra", "detail", "must be one of low, medium, high"),
        ("nothing=1", "nothing", "is not known; known are "),
        ("faces=all&faces=largest", "faces", "is there more than once"),
        ("x=1&x=1", "x", "is there more than once"),
    ],
)
def test_messages_are_made_for_people(
    client: TestClient, query: str, parameter: str, message: str
) -> None:
    response = client.post(f"{PATH}?{query}", files=PHOTO)
    assert response.status_code == 422
    problem = response.json()
    assert problem["code"] == "invalid_parameter"
    (field,) = problem["errors"]
    assert field["parameter"] == parameter
    assert field["message"].startswith(message)
    assert problem["detail"] == f"{parameter} {field['message']}"
    for value in ("some", "nothing", "smile", "fbx", "skin", "perhaps"):
        assert f"={value}" not in query or value not in field["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"faces": "all"}, "faces is in the query and in the body"),
        ({"expression": "glad"}, "expression must be one of keep, neutral"),
        ({"landmarks": 1}, "landmarks must be true or false"),
        ({"landmarks": "true"}, "landmarks must be true or false"),
        ({"texture_size": True}, "texture_size must be one of 256"),
        ({"include": {"mesh": True}}, "include must be a list"),
        ({"include": [["mesh"]]}, "include must be a list"),
        ({"pose": None}, "pose must be one of"),
        ({"url": "x"}, "url is not known; known are"),
    ],
)
def test_options_in_json_are_checked_as_in_the_query(
    client: TestClient, body: dict[str, Any], message: str
) -> None:
    response = client.post(f"{PATH}?faces=all", json={"image": "AAAA", **body})
    assert response.status_code == 422
    assert response.json()["detail"].startswith(message)


def test_options_in_a_form_are_checked_as_in_the_query(client: TestClient) -> None:
    for data, message in (
        ({"expression": "glad"}, "expression must be one of keep, neutral"),
        ({"faces": "all"}, "faces is in the query and in the body"),
        ({"landmarks": "2"}, "landmarks must be true or false"),
    ):
        response = client.post(f"{PATH}?faces=all", files=PHOTO, data=data)
        assert response.status_code == 422
        assert response.json()["detail"].startswith(message)


def test_an_accept_that_cannot_be_parsed_is_malformed(client: TestClient) -> None:
    response = client.post(PATH, files=PHOTO, headers={"Accept": "model/obj;q=high"})
    assert response.status_code == 400
    assert response.json()["code"] == "malformed_request"


def test_a_slash_at_the_end_is_no_redirect(client: TestClient) -> None:
    """It would make clients of a proxy with TLS send the photo again without."""
    response = client.post(PATH + "/", files=PHOTO, follow_redirects=False)
    assert response.status_code == 404
    assert response.json()["code"] == "not_found"


def test_a_full_queue_inside_says_when_to_come_back(client: TestClient, engine: FakeEngine) -> None:
    engine.error = QueueFull("full", retry_after=7)
    response = client.post(PATH, files=PHOTO)
    assert response.status_code == 429
    assert response.headers["retry-after"] == "7"


def test_503_until_the_models_are_loaded(engine: FakeEngine) -> None:
    gate = threading.Event()

    def load(settings: Any, observer: Any) -> FakeEngine:
        assert gate.wait(10)
        return engine

    with TestClient(create_app(Settings(), load=load)) as client:  # type: ignore[arg-type]
        assert client.get("/livez").status_code == 200
        for response in (
            client.get("/readyz"),
            client.get("/v1/models"),
            client.post(PATH, files=PHOTO),
        ):
            assert response.status_code == 503
            assert response.json()["code"] == "not_ready"
            assert int(response.headers["retry-after"]) >= 1
        assert client.get("/").status_code == 200
        assert "facewright_ready 0.0" in client.get("/metrics").text
        gate.set()
        while client.get("/readyz").status_code != 200:
            pass
        assert "facewright_ready 1.0" in client.get("/metrics").text
    assert engine.closed


def test_livez_fails_when_nothing_serves_the_queue(client: TestClient, engine: FakeEngine) -> None:
    assert client.get("/livez").status_code == 200
    engine.alive = False
    response = client.get("/livez")
    assert response.status_code == 503
    assert response.json()["code"] == "not_ready"


def test_a_network_that_hangs_is_seen_by_the_probes(client: TestClient, engine: FakeEngine) -> None:
    """The default patience is 60 seconds; five times that, and only a new start will help."""
    for seconds, ready, alive in ((59, 200, 200), (61, 503, 200), (301, 503, 503), (0, 200, 200)):
        engine.call_seconds = seconds
        assert client.get("/readyz").status_code == ready
        assert client.get("/livez").status_code == alive


def test_a_full_house_refuses_before_the_upload(engine: FakeEngine) -> None:
    settings = Settings(request_timeout=20, concurrency=1, max_waiting=0)
    app = create_app(settings, load=lambda *_: engine)  # type: ignore[arg-type,return-value]
    with TestClient(app) as client, ThreadPoolExecutor(1) as pool:
        while client.get("/readyz").status_code != 200:
            pass
        first = pool.submit(client.post, PATH, files=PHOTO)
        assert engine.started.wait(5)
        # Its body would be refused with 415 if it were looked at.
        response = client.post(PATH, content=b"text", headers={"Content-Type": "text/plain"})
        engine.stop.set()
        assert first.result(5).status_code == 504
        assert response.status_code == 429
        assert response.json()["code"] == "queue_full"


def test_work_ends_when_the_time_is_over(engine: FakeEngine) -> None:
    settings = Settings(request_timeout=0.05, concurrency=1, max_waiting=0)
    app = create_app(settings, load=lambda *_: engine)  # type: ignore[arg-type,return-value]
    with TestClient(app) as client:
        while client.get("/readyz").status_code != 200:
            pass
        response = client.post(PATH, files=PHOTO)
        assert response.status_code == 504
        assert engine.ended.wait(5)


def test_work_ends_when_the_client_goes_away(
    engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    app = create_app(Settings(), load=lambda *_: engine)  # type: ignore[arg-type,return-value]
    messages = [{"type": "http.request", "body": b"\xff\xd8", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await asyncio.to_thread(engine.started.wait, 10)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    async def call() -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": PATH,
            "query_string": b"",
            "headers": [(b"content-type", b"image/jpeg")],
            "app": app,
        }
        async with app.router.lifespan_context(app):
            while app.state.server.lifecycle.state.value != "ready":
                await asyncio.sleep(0.01)
            await asyncio.wait_for(app(scope, receive, send), 10)
            assert await asyncio.to_thread(engine.ended.wait, 5)

    asyncio.run(call())
    (entry,) = [r for r in caplog.records if r.name == "facewright.access"]
    assert entry.status == 499  # type: ignore[attr-defined]


# --- the page -------------------------------------------------------------------------------


def test_the_page_is_whole_and_keeps_to_itself(client: TestClient) -> None:
    response = client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    page = response.text
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)
    assert "http" not in page
    body = page.partition("<script>")[0]
    named = re.findall(r"<label.*?</label>", body, re.DOTALL)
    named += re.findall(r"<input[^>]*aria-label=[^>]*>", body)
    assert len(re.findall(r"<input", body)) == len(named) > 15
    assert all(len(re.findall(r"<input", control)) == 1 for control in named)
    assert '<html lang="en">' in page
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert policy.count("'sha256-") == page.count("<script>") + page.count("<style>") == 4


def test_the_page_asks_for_what_the_api_knows(client: TestClient) -> None:
    page = client.get("/").text
    offered: dict[str, dict[str, set[str]]] = {"photo": {}, "album": {}, "any": {}}
    for kind, group in re.findall(r'<fieldset data-for="(\w+)">(.*?)</fieldset>', page, re.DOTALL):
        ((name, *_), values) = zip(
            *re.findall(r'name="(\w+)[:\w]*" value="(\w+)"', group), strict=True
        )
        offered[kind][name] = set(values)
    assert offered == {
        "photo": {"faces": {"all", "largest"}, "expression": {"keep", "neutral"}},
        "album": {
            "faces": {"largest", "consistent"},
            "outliers": {"flag", "drop"},
            "strategy": {"confidence", "mean", "best"},
        },
        "any": {
            "mesh": {"face", "head"},
            "texture": {"albedo", "photo"},
            "landmarks": {"false", "true"},
        },
    }
    (include,) = set(re.findall(r'"include", "([\w]+,[\w,]+)"', page))
    formats = re.findall(r'data-formats="([\w ]+)"', page)[0].split()
    assert formats[0] == "glb"
    for options, kind in ((ReconstructOptions, "photo"), (AlbumOptions, "album")):
        for name, values in (offered[kind] | offered["any"] | {"mesh_format": formats}).items():
            for value in values:
                options.model_validate({name: value, "include": include})


def test_the_api_offers_the_sizes_that_can_be_baked() -> None:
    assert get_args(TextureSize) == TEXTURE_SIZES
    assert ReconstructOptions().texture_size == DEFAULT_TEXTURE_SIZE


def test_what_the_page_links_to_is_there(client: TestClient) -> None:
    links = set(re.findall(r'<a href="([^"]*)"', client.get("/").text))
    assert links == {"docs", "openapi.json", "v1/models"}
    assert client.get("/docs").status_code == 200
    assert "/v1/models" in client.get("/openapi.json").json()["paths"]


# --- OpenAPI --------------------------------------------------------------------------------


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def test_openapi_describes_every_answer(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert client.get("/openapi.json").json() == schema
    schemas = schema["components"]["schemas"]
    for reference in _references(schema):
        assert reference.startswith("#/components/schemas/")
        assert reference.rpartition("/")[2] in schemas, reference
    others = {"/v1/albums/reconstruct", "/v1/models", "/livez", "/readyz", "/metrics"}
    assert set(schema["paths"]) == {PATH, *others}
    operation = schema["paths"][PATH]["post"]
    assert set(operation["responses"]) == set(
        ["200", "400", "401", "406", "408", "413", "415", "422", "429", "500", "503", "504"]
    )
    assert set(operation["responses"]["200"]["content"]) == {
        "application/json",
        "model/gltf-binary",
        "model/obj",
        "model/ply",
        "model/stl",
        "image/jpeg",
        "image/png",
        "application/zip",
    }
    assert "multipart/form-data" in operation["requestBody"]["content"]
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert names == {
        "faces",
        "include",
        "expression",
        "pose",
        "mesh_format",
        "landmarks",
        "texture",
        "texture_size",
        "mesh",
        "detail",
        "targets",
        "compression",
    }
    assert all(parameter["description"] for parameter in operation["parameters"])
    assert "HTTPValidationError" not in json.dumps(schema["paths"])
    for status, answer in operation["responses"].items():
        if status != "200":
            examples = answer["content"]["application/problem+json"]["examples"]
            for code, example in examples.items():
                problem = Problem.model_validate(example["value"])
                assert (str(problem.status), problem.code) == (status, code)


def test_every_field_of_the_answers_is_described(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    named_for_themselves = {"name", "version", "license", "source"}
    album = ("AlbumPhoto", "AlbumIdentity", "Likeness", "PhotoProblem")
    for name in ("Face", "FacePose", "Problem", "CoefficientGroups", "File", *album):
        for field, about in schemas[name]["properties"].items():
            if "$ref" not in about and field not in named_for_themselves:
                assert "description" in about or "examples" in about, (name, field)


# --- log entries ----------------------------------------------------------------------------


def _record(**extra: object) -> logging.LogRecord:
    record = logging.makeLogRecord(
        {"name": "n", "levelno": 20, "levelname": "INFO", "msg": "a %s", "args": ("b",)}
    )
    vars(record).update(extra)
    return record


def test_json_lines_hold_the_extra_fields() -> None:
    line = JsonFormatter().format(_record(status=200, text="two\nlines"))
    assert "\n" not in line
    entry = json.loads(line)
    assert entry["message"] == "a b"
    assert (entry["status"], entry["text"], entry["level"]) == (200, "two\nlines", "info")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["time"])


def test_text_lines_are_for_people() -> None:
    assert re.fullmatch(r"\d\d:\d\d:\d\d info    a b x=1", TextFormatter().format(_record(x=1)))


def test_what_libraries_put_into_records_is_no_field() -> None:
    record = _record(x=1, _ray_timestamp_ns=5)
    assert TextFormatter().format(record).endswith(" a b x=1")
    assert "_ray_timestamp_ns" not in json.loads(JsonFormatter().format(record))


def test_text_lines_cannot_be_forged() -> None:
    line = TextFormatter().format(_record(path="/x\n12:00:00 error forged\x1b[2J\u2028"))
    assert "\\n12:00:00" in line
    assert line.isprintable()
