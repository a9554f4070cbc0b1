"""Every setting of the service: one table of name, default and meaning.

Values come from environment variables, `FACEWRIGHT_` followed by the name in capitals.
`python -m facewright.service.settings` prints the table as the documentation shows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "FACEWRIGHT_"

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class Settings(BaseSettings):
    """What the server, the command line and the benchmark can be told.

    Raises `pydantic.ValidationError` for a value out of range or an unknown keyword.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on."""
    workers: Count = 1
    """Server processes, each with models of its own; they only help on many cores."""

    face_model: Path | None = None
    """Face model (.npz) to use in place of the shipped one."""
    weights: Path | None = None
    """Regression network (.onnx) to use in place of the shipped one."""
    detector: Literal["blazeface", "centerface", "insightface"] = "blazeface"
    """Face detector; insightface needs the extra and a model pack."""
    insightface_pack: str = "buffalo_l"
    """insightface model pack (licensed by its makers)."""
    insightface_root: Path = Path("~/.insightface")
    """Directory that holds `models/<pack>`."""
    recognizer: Path | None = None
    """Recognition network (.onnx, ArcFace's input) that tells people of an album apart, in place of
    the weights' descriptors."""
    device: Literal["auto", "cpu", "cuda", "tensorrt"] = "auto"
    """Where the networks run; auto takes a GPU through CUDA if there is one. With tensorrt the
    detector runs on CUDA."""
    tensorrt_fp16: bool = False
    """Let TensorRT compute in 16 bits where that is faster."""
    inference_threads: int = Field(default=0, ge=0)
    """Threads of one network call on the CPU; 0: one per core, or what the container's quota
    allows."""

    api_keys_file: Path | None = None
    """File of accepted API keys, one per line; calls below /v1/ then need one in `X-API-Key`."""
    cors_origins: str = ""
    """Origins whose pages may call the API, separated by commas, such as `https://example.org`; `*`
    for all."""

    max_upload_bytes: Count = 20_000_000
    """Largest photo in bytes; more is refused while it arrives."""
    max_pixels: int = Field(default=50_000_000, ge=1, le=178_000_000)  # beyond it Pillow refuses
    """Largest photo in pixels; known before decoding. 178 million at most."""
    max_faces: int = Field(default=32, ge=1, le=64)
    """Faces of one photo that are reconstructed, the largest first; 64 at most."""

    max_album_photos: int = Field(default=64, ge=2, le=64)
    """Photos of one album; 64 at most."""
    max_album_bytes: Count = 300_000_000
    """Largest album in bytes, all photos together."""

    concurrency: Count = 4
    """Photos worked on at the same time, one thread each."""
    max_waiting: int = Field(default=32, ge=0)
    """Photos that may wait for a thread; more are answered 429."""
    max_uploads: Count = 64
    """Photos that may arrive at the same time; more are answered 429."""
    request_timeout: Seconds = 30.0
    """Seconds for an answer once the photo has arrived, then 504."""
    upload_timeout: Seconds = 30.0
    """Seconds in which a photo has to arrive, then 408."""
    header_timeout: Seconds = 10.0
    """Seconds in which the head of a request, or the rest of a refused body, has to arrive; then
    the connection is cut."""
    keep_alive_timeout: int = Field(default=5, ge=1, le=3600)
    """Seconds until an idle connection is closed; longer than a load balancer in front keeps its
    own."""
    download_timeout: Seconds = 60.0
    """Seconds in which a client has to take an answer; then the connection is cut."""
    max_albums: Count = 2
    """Albums that may arrive or be worked on at the same time; more are answered 429."""
    album_concurrency: Count = 2
    """Photos of one album worked on at the same time, on the threads of all photos."""
    album_timeout: Seconds = 120.0
    """Seconds for an answer once an album has arrived, then 504."""
    album_upload_timeout: Seconds = 60.0
    """Seconds in which an album has to arrive, then 408."""
    batch_size: Count = 8
    """Most faces in one call of a network."""
    batch_delay_ms: float = Field(default=0.0, ge=0, le=10_000)
    """Milliseconds that a face waits for others while the network is free; while it is busy,
    batches form by themselves."""
    queue_size: Count = 128
    """Faces that may wait for a network; more are answered 429."""
    queue_bytes: Count = 200_000_000
    """Bytes of images that may wait for a network; more are answered 429."""
    stall_seconds: float = Field(default=60.0, gt=0)
    """After one call of a network has taken that long, /readyz answers 503; after five times as
    long so does /livez."""
    drain_seconds: float = Field(default=3.0, ge=0, le=3600)
    """Seconds after SIGTERM in which requests are still taken while /readyz answers 503; then the
    work in hand is finished."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log entries to write."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """One JSON object per line, or lines for people; auto: for people on a terminal, JSON
    elsewhere."""

    @property
    def longest_request(self) -> float:
        """Seconds within which everything that was accepted has arrived and been answered."""
        return max(
            self.upload_timeout + self.request_timeout,
            self.album_upload_timeout + self.album_timeout,
        )

    @field_validator("port", mode="before")
    @classmethod
    def _ignore_service_link(cls, value: Any) -> Any:
        # Kubernetes gives the pods beside a Service named "facewright" a variable
        # FACEWRIGHT_PORT=tcp://10.0.0.1:8000 that is not meant for us.
        if isinstance(value, str) and value.startswith("tcp://"):
            return cls.model_fields["port"].default
        return value


def settings_table() -> str:
    """Return the settings as a Markdown table: variable, default, meaning."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        meaning = " ".join((field.description or "").split())
        lines.append(f"| `{ENV_PREFIX}{name.upper()}` | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(settings_table(), end="")
