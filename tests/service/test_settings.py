"""Settings: from the environment, checked, and every one of them documented."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from facewright.service.settings import ENV_PREFIX, Settings, settings_table

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(ENV_PREFIX + name.upper(), raising=False)


def test_the_document_holds_the_table_as_it_is() -> None:
    assert settings_table() in DOCUMENT.read_text("utf-8"), (
        "docs/settings.md is out of date: `python -m facewright.service.settings` prints its table"
    )


def test_every_setting_has_a_meaning() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEWRIGHT_MAX_UPLOAD_BYTES", "1234")
    monkeypatch.setenv("FACEWRIGHT_FACE_MODEL", "/models/own.npz")
    monkeypatch.setenv("FACEWRIGHT_DEVICE", "cuda")
    settings = Settings()
    assert settings.max_upload_bytes == 1234
    assert settings.face_model == Path("/models/own.npz")
    assert settings.device == "cuda"
    assert settings.weights is None
    assert settings.model_fields_set == {"max_upload_bytes", "face_model", "device"}


def test_what_is_given_precedes_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEWRIGHT_PORT", "1")
    assert Settings(port=2).port == 2


def test_the_variable_of_a_kubernetes_service_link_is_not_a_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FACEWRIGHT_PORT", "tcp://10.96.0.7:8000")
    assert Settings().port == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "99999"),
        ("WORKERS", "0"),
        ("MAX_FACES", "65"),
        ("MAX_PIXELS", "200000000"),
        ("CONCURRENCY", "none"),
        ("REQUEST_TIMEOUT", "0"),
        ("DETECTOR", "magic"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_values_out_of_range_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(ENV_PREFIX + name, value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files and charts pass on variables that nobody set."""
    monkeypatch.setenv("FACEWRIGHT_FACE_MODEL", "")
    monkeypatch.setenv("FACEWRIGHT_PORT", "")
    assert (Settings().face_model, Settings().port) == (None, 8000)


def test_an_unknown_keyword_is_refused() -> None:
    with pytest.raises(ValidationError):
        Settings(color="blue")  # type: ignore[call-arg]
