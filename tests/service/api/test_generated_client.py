"""A client that a public generator makes of the OpenAPI document compiles and works."""

from __future__ import annotations

import base64
import compileall
import importlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RECONSTRUCT = "api.reconstruction.reconstruct_v1_reconstruct_post"


@pytest.fixture(scope="module")
def package(server: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of the package, which can be imported."""
    directory = tmp_path_factory.mktemp("generated")
    document = directory / "openapi.json"
    with server.client() as client:
        document.write_text(json.dumps(client.get("/openapi.json").json()))
    generator = Path(sys.executable).parent / "openapi-python-client"
    done = subprocess.run(
        [generator, "generate", "--path", document, "--meta", "none",
         "--output-path", directory / "face_client"],
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert compileall.compile_dir(directory / "face_client", quiet=1)
    sys.path.insert(0, str(directory))
    return "face_client"


def module(package: str, name: str) -> Any:
    return importlib.import_module(f"{package}.{name}")


def test_it_reconstructs_a_photo_from_a_form_and_from_json(
    package: str, server: Any, portrait_jpeg: bytes
) -> None:
    models = module(package, "models")
    bodies = {name: getattr(models, name) for name in dir(models) if "PostFilesBody" in name}
    form = bodies["ReconstructV1ReconstructPostFilesBody"](
        image=module(package, "types").File(io.BytesIO(portrait_jpeg), "a.jpg", "image/jpeg")
    )
    in_json = models.ReconstructV1ReconstructPostJsonPhotoInJson(
        image=base64.b64encode(portrait_jpeg).decode()
    )
    with module(package, "client").Client(base_url=server.url) as client:
        answers = [
            module(package, RECONSTRUCT).sync_detailed(client=client, body=body)
            for body in (form, in_json)
        ]
    for answer in answers:
        assert answer.status_code == 200, answer.content
        (face,) = answer.parsed.faces
        assert len(face.coefficients.identity) == 80
        assert answer.parsed.photo.width == 512


def test_it_understands_problems(package: str, server: Any) -> None:
    in_json = module(package, "models").ReconstructV1ReconstructPostJsonPhotoInJson(image="AAAA")
    with module(package, "client").Client(base_url=server.url) as client:
        answer = module(package, RECONSTRUCT).sync_detailed(client=client, body=in_json)
    assert answer.status_code == 415
    assert answer.parsed.code == "unsupported_photo_type"
