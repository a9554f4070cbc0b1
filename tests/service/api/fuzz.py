"""Fuzzing the real server: no 500, no hang, no growth.

Cases are made from their numbers, and one that fails is told by its number.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from tests.service.api.hostile import hostile_file, hostile_form

PATIENCE = 20.0
"""Seconds within which every answer has to be there."""

UNAVAILABLE = {429, 503}
PROBLEM = "application/problem+json"


def fuzz(
    url: str, sound: bytes, cases: range, growth: Callable[[], int] | None = None
) -> Counter[str]:
    """Send every case of `cases` to the server at `url`; counts of kinds and of statuses.

    Raises AssertionError with the number of the first case whose answer is not what the
    OpenAPI document promises.  `growth` says how many bytes the server has: after the
    first tenth of the cases it may grow by 5% and 50 MB (allocators are not exact); both
    figures are printed.
    """
    seen: Counter[str] = Counter()
    baseline = 0
    with httpx.Client(base_url=url, timeout=PATIENCE) as client:
        paths: dict[str, Any] = client.get("/openapi.json").json()["paths"]
        for number in cases:
            dice = random.Random(number)
            kind, status = (
                _photo(client, paths, dice, sound)
                if dice.random() < 0.8
                else _call(client, paths, dice)
            )
            assert status in UNAVAILABLE or status < 500, f"case {number}: {status} ({kind})"
            seen[kind] += 1
            seen[str(status)] += 1
            if growth is not None and number - cases.start == len(cases) // 10:
                baseline = growth()
    if growth is not None:
        now = growth()
        print(
            f"{len(cases)} cases: {baseline / 1e6:.0f} MB after a tenth of them, "
            f"{now / 1e6:.0f} MB at the end"
        )
        assert now <= 1.05 * baseline + 50e6, f"grew from {baseline} to {now} bytes"
    return seen


def _photo(
    client: httpx.Client, paths: dict[str, Any], dice: random.Random, sound: bytes
) -> tuple[str, int]:
    kind, data = hostile_file(dice, sound)
    body, content_type = (data, "image/jpeg")
    if dice.random() < 0.4:
        kind, (body, content_type) = "form of " + kind, hostile_form(dice, data)
    headers = {"Content-Type": content_type.encode("utf-8"), "Accept": _accept(dice)}
    path = "/v1/reconstruct"
    response = client.post(path + _query(paths[path]["post"], dice), content=body, headers=headers)
    _check(response, paths[path]["post"])
    return kind, response.status_code


def _call(client: httpx.Client, paths: dict[str, Any], dice: random.Random) -> tuple[str, int]:
    """Any method on any path, with parameters and a body that nobody asked for."""
    path = dice.choice([*paths, "/", "/docs", "/v1/", "//", "/v1/reconstruct/", "/%00", "/é"])
    method = dice.choice(("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "ODD"))
    operation = paths.get(path, {}).get(method.lower(), {})
    response = client.request(
        method,
        quote(path) + _query(operation, dice),
        content=dice.randbytes(dice.choice((0, 0, 10, 1000))),
        headers={"Accept": _accept(dice), "X-Request-ID": _word(dice)},
    )
    if operation:
        _check(response, operation)
    return f"{method} {path}", response.status_code


def _check(response: httpx.Response, operation: dict[str, Any]) -> None:
    """Status and content type are among those that the document names."""
    described = operation["responses"].get(str(response.status_code))
    assert described is not None, f"{response.status_code} is not described"
    kind = response.headers.get("content-type", "").partition(";")[0]
    assert kind in described.get("content", {kind: None}), f"{kind} is not described"
    if kind == PROBLEM:
        assert response.json()["status"] == response.status_code


def _query(operation: dict[str, Any], dice: random.Random) -> str:
    """Parameters of the document with values in and out of range, and others."""
    pairs = []
    for parameter in operation.get("parameters", []):
        if dice.random() < 0.2:
            schema = parameter["schema"]
            known = schema.get("enum") or schema.get("items", {}).get("enum") or ["true"]
            pairs.append((parameter["name"], dice.choice([*known, _word(dice)])))
    if dice.random() < 0.05:
        pairs.append((_word(dice), _word(dice)))
    return (
        "?" + "&".join(f"{quote(name)}={quote(str(value))}" for name, value in pairs)
        if pairs
        else ""
    )


def _word(dice: random.Random) -> str:
    return dice.choice(("", "0", "-1", "1e999", "null", "%", "a" * 3000, "<b>", "mesh,", "NaN"))


def _accept(dice: random.Random) -> str:
    return dice.choice(
        ("*/*", "*/*", "model/gltf-binary", "image/png", "application/zip", "model/obj",
         "application/json", "text/html", ";q=", "a/b;q=2", ",", "*/*;q=0")
    )  # fmt: skip


def resident_bytes(pid: int) -> int:
    """Memory of a process, from `/proc`."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096
