"""Traces: what is in them, what is not, and that nothing of it is there when they are off."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from facewright.service.api.app import create_app
from facewright.service.errors import ConfigurationError
from facewright.service.settings import Settings
from facewright.service.telemetry.tracing import Tracing, tracing_from

ROOT = Path(__file__).resolve().parents[3]
PATH = "/v1/reconstruct"
ALBUM = "/v1/albums/reconstruct"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
SECRET = "jane-doe"


class Traced:
    """An application in this process, and the spans that it has made."""

    def __init__(self, client: TestClient, exporter: InMemorySpanExporter, flush: Any) -> None:
        self.client = client
        self._exporter = exporter
        self._flush = flush

    def spans(self) -> list[Any]:
        self._flush()
        spans = list(self._exporter.get_finished_spans())
        self._exporter.clear()
        return spans


@pytest.fixture(scope="module")
def traced(assets: Any) -> Iterator[Traced]:
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter)
    settings = Settings(
        face_model=assets.face_model, weights=assets.weights, inference_threads=1, drain_seconds=0
    )
    app = create_app(settings, tracing=tracing)
    with TestClient(app, raise_server_exceptions=False) as client:
        while client.get("/readyz").status_code != 200:
            threading.Event().wait(0.05)
        yield Traced(client, exporter, tracing._provider.force_flush)


def seconds(span: Any) -> float:
    return (span.end_time - span.start_time) / 1e9


def test_a_request_is_a_span_with_one_for_each_stage(traced: Traced, group_jpeg: bytes) -> None:
    traced.spans()
    answer = traced.client.post(
        PATH + "?include=mesh,overlay",
        files={"image": group_jpeg},
        headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "X-Request-ID": "seven"},
    )
    assert answer.status_code == 200
    *stages, request = traced.spans()
    assert request.name == f"POST {PATH}"
    assert request.kind is SpanKind.SERVER
    assert f"{request.context.trace_id:032x}" == "ab" * 16
    assert f"{request.parent.span_id:016x}" == "cd" * 8
    assert dict(request.attributes) == {
        "http.request.method": "POST",
        "http.route": PATH,
        "http.response.status_code": 200,
        "url.scheme": "http",
        "facewright.request_id": "seven",
        "facewright.photo_bytes": len(group_jpeg),
        "facewright.faces": 3,
    }
    assert request.status.status_code is StatusCode.UNSET
    timing = dict(re.findall(r"(\w+);dur=([\d.]+)", answer.headers["server-timing"]))
    assert {span.name for span in stages} == set(timing)
    by_id = {span.context.span_id: span for span in stages}
    for name in {"decode", "detect", "regress", "mesh", "overlay"}:
        # The clock starts before the span and stops after it; the header is rounded.
        spent = sum(seconds(span) for span in stages if span.name == name)
        assert 0 < 1000 * spent <= float(timing[name]) + 0.1
    inside = {span.name: by_id.get(span.parent.span_id, request).name for span in stages}
    assert inside["regress"] == "reconstruct"
    assert inside["decode"] == inside["mesh"] == request.name


def test_an_albums_photos_are_in_its_trace(
    traced: Traced, portrait_jpeg: bytes, mirrored_jpeg: bytes
) -> None:
    traced.spans()
    files = [("images", portrait_jpeg), ("images", mirrored_jpeg)]
    assert traced.client.post(ALBUM, files=files).status_code == 200
    *stages, request = traced.spans()
    assert request.attributes["http.route"] == ALBUM
    assert request.attributes["facewright.photos_used"] == 2
    assert {span.context.trace_id for span in stages} == {request.context.trace_id}
    names = [span.name for span in stages]
    assert [names.count(name) for name in ("decode", "detect", "regress")] == [2, 2, 2]


def test_nothing_of_a_photo_or_its_sender_is_in_a_span(
    traced: Traced, portrait_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced.spans()
    secret = {"image": (f"{SECRET}.jpg", portrait_jpeg)}
    headers = {"X-API-Key": SECRET, "User-Agent": SECRET, "X-Request-ID": f"{SECRET} !"}
    calls = [
        traced.client.post(PATH, files=secret, headers=headers),
        traced.client.post(f"{PATH}?faces={SECRET}", files=secret, headers=headers),
        traced.client.post(PATH, files={"image": (SECRET, SECRET.encode())}, headers=headers),
        traced.client.get(f"/{SECRET}", headers=headers),
        traced.client.request(SECRET.upper(), "/", headers=headers),
    ]
    monkeypatch.setattr("facewright.service.api.routes.models.describe_models", _fail)
    calls.append(traced.client.get("/v1/models", headers=headers))
    assert [call.status_code for call in calls] == [200, 422, 415, 404, 405, 500]
    spans = traced.spans()
    text = "\n".join(span.to_json() for span in spans)
    assert SECRET not in text.lower()
    for part in calls[0].json()["faces"][0]["coefficients"].values():
        assert not [number for number in map(str, part) if len(number) > 7 and number in text]
    requests = [span for span in spans if span.kind is SpanKind.SERVER]
    assert [span.status.status_code for span in requests] == [StatusCode.UNSET] * 5 + [
        StatusCode.ERROR
    ]
    assert requests[-1].attributes["error.type"] == "RuntimeError"
    assert not [span.events for span in spans if span.events]


def _fail(*_: Any) -> Any:
    raise RuntimeError(SECRET)


def test_probes_are_not_traced(traced: Traced) -> None:
    traced.spans()
    for path in ("/livez", "/readyz", "/metrics"):
        assert traced.client.get(path).status_code == 200
    assert traced.spans() == []


# --- the environment --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {ENDPOINT: ""},
        {ENDPOINT: "http://x:4318", "OTEL_TRACES_EXPORTER": "none"},
        {ENDPOINT: "http://x:4318", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_traces_are_off_unless_asked_for(environment: dict[str, str]) -> None:
    assert tracing_from(environment) is None


@pytest.mark.parametrize(
    "more", [{"OTEL_TRACES_EXPORTER": "zipkin"}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}]
)
def test_other_ways_out_are_refused(more: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="http/protobuf only"):
        tracing_from({ENDPOINT: "http://x:4318", **more})


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigurationError, match=r"facewright\[otel\]"):
        tracing_from({ENDPOINT: "http://x:4318"})


def test_nothing_is_imported_when_traces_are_off() -> None:
    code = (
        "import sys; from facewright.service.api.app import create_app; create_app();"
        "print([m for m in sys.modules if m.startswith(('opentelemetry.sdk',"
        " 'opentelemetry.exporter'))])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


# --- the wire ---------------------------------------------------------------------------------


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A receiver of OTLP over HTTP: its address, and the paths and bodies it was sent."""
    received: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()


def test_a_server_sends_its_spans_to_a_collector(
    start_server: Callable[..., Any],
    collector: tuple[str, list[tuple[str, bytes]]],
    portrait_jpeg: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    url, received = collector
    monkeypatch.setenv(ENDPOINT, url)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    # The framework has traces, metrics and logs of its own, which stay off.
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    with start_server() as server:
        with server.client() as client:
            secret = {"image": (f"{SECRET}.jpg", portrait_jpeg)}
            assert client.post(PATH, files=secret).status_code == 200
            assert client.get(f"/{SECRET}").status_code == 404
        server.process.terminate()
        server.process.wait(60)
        assert '"trace_id"' in server.log()
    assert {path for path, _ in received} == {"/v1/traces"}
    assert SECRET.encode() not in b"".join(body for _, body in received)
    sent = [ExportTraceServiceRequest.FromString(body) for _, body in received]
    resources = [resource for one in sent for resource in one.resource_spans]
    attributes = {a.key: a.value.string_value for a in resources[0].resource.attributes}
    assert attributes["service.name"] == "facewright"
    assert attributes["deployment.environment.name"] == "test"
    names = [span.name for r in resources for scope in r.scope_spans for span in scope.spans]
    assert {f"POST {PATH}", "decode", "detect", "regress", "encode", "GET"} <= set(names)


def test_a_collector_that_is_away_costs_no_request(
    serve_here: Callable[..., Any], portrait_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")  # nobody listens on "discard"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with serve_here() as server, server.client() as client:
        assert client.post(PATH, files={"image": portrait_jpeg}).status_code == 200
        assert client.get("/livez").status_code == 200
