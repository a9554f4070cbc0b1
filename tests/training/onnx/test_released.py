"""Released checkpoints become files to serve: their decoding derived once more, and refusals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from scipy.io import savemat
from typer.testing import CliRunner

from facewright.models.alignment import FixedAlignment
from facewright.models.camera import pose_points, project
from facewright.models.checkpoints_torch import CheckpointInfo, load_checkpoint, save_checkpoint
from facewright.models.layout import LAYOUT_257
from facewright.models.light import shade
from facewright.models.morphable_model import MorphableModel
from facewright.models.rnet_torch import RNet
from facewright.training.cli import app
from facewright.training.onnx import export as export_module
from tests.released_files import (
    FRONT_VERTICES,
    FULL_SIDE,
    HEADS,
    front_arrays,
    write_basel,
    write_checkpoint,
)

pytestmark = pytest.mark.slow


class Imported(NamedTuple):
    arrays: dict[str, Any]
    checkpoint: Path
    directory: Path
    output: str


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module", autouse=True)
def _one_crop() -> Iterator[None]:
    """The graph is held against the checkpoint's own heads below; `import` need not do much."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_module, "NOISE_CROPS", 1)
        yield


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """Files in exactly the released shapes."""
    folder = tmp_path_factory.mktemp("released")
    arrays = front_arrays(FULL_SIDE, FRONT_VERTICES)
    savemat(folder / "BFM_model_front.mat", arrays)
    write_checkpoint(folder / "epoch_20.pth")
    result = run(
        "import", folder / "epoch_20.pth", "--layout", 257,
        "--face-model", folder / "BFM_model_front.mat", "-o", folder / "own",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return Imported(arrays, folder / "epoch_20.pth", folder / "own", result.output)


def total(weights: Any, numbers: Any) -> float:
    return sum(float(a) * float(b) for a, b in zip(weights, numbers, strict=True))


def slow_face(
    arrays: dict[str, Any], x: np.ndarray, vertex: int, normal: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a vertex is (100 mm), where it is seen (px) and its color, number by number.

    Written from the conventions of the released code alone, in its own order and units.
    """
    identity, expression, texture = x[:80], x[80:144], x[144:224]
    pitch, yaw, roll = x[224:227]
    gamma = x[227:254].reshape(3, 9)
    translation = x[254:257]
    mean = arrays["meanshape"].astype(np.float64).reshape(-1, 3)
    point, color = np.zeros(3), np.zeros(3)
    for axis in range(3):
        row = 3 * vertex + axis
        point[axis] = mean[vertex, axis] - mean[:, axis].mean()
        point[axis] += sum(
            float(a) * float(b) for a, b in zip(arrays["idBase"][row], identity, strict=True)
        )
        point[axis] += sum(
            float(a) * float(b) for a, b in zip(arrays["exBase"][row], expression, strict=True)
        )
        color[axis] = arrays["meantex"][0, row]
        color[axis] += sum(
            float(a) * float(b) for a, b in zip(arrays["texBase"][row], texture, strict=True)
        )
    color = np.clip(color / 255, 0, 1)
    c, s = np.cos, np.sin
    about_x = np.array([[1, 0, 0], [0, c(pitch), -s(pitch)], [0, s(pitch), c(pitch)]])
    about_y = np.array([[c(yaw), 0, s(yaw)], [0, 1, 0], [-s(yaw), 0, c(yaw)]])
    about_z = np.array([[c(roll), -s(roll), 0], [s(roll), c(roll), 0], [0, 0, 1]])
    placed = point @ (about_z @ about_y @ about_x).T + translation
    away = 10.0 - placed[2]
    seen = np.array([112 + 1015 * placed[0] / away, 112 - 1015 * placed[1] / away])
    a = np.pi, 2 * np.pi / np.sqrt(3), 2 * np.pi / np.sqrt(8)
    b = (
        1 / np.sqrt(4 * np.pi),
        np.sqrt(3) / np.sqrt(4 * np.pi),
        3 * np.sqrt(5) / np.sqrt(12 * np.pi),
    )
    nx, ny, nz = normal
    harmonics = [
        a[0] * b[0], -a[1] * b[1] * ny, a[1] * b[1] * nz, -a[1] * b[1] * nx,
        a[2] * b[2] * nx * ny, -a[2] * b[2] * ny * nz,
        a[2] * b[2] * 0.5 / np.sqrt(3) * (3 * nz**2 - 1),
        -a[2] * b[2] * nx * nz, a[2] * b[2] * 0.5 * (nx**2 - ny**2),
    ]  # fmt: skip
    for channel in range(3):
        light = gamma[channel] + [0.8, 0, 0, 0, 0, 0, 0, 0, 0]
        color[channel] *= total(light, harmonics)
    return point, seen, color


def test_the_decoding_agrees_with_a_second_derivation(imported: Imported) -> None:
    model = MorphableModel.load(imported.directory / "face_model.npz")
    assert model.n_vertices == FRONT_VERTICES
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (1, 257))
    x[:, 224:227] *= 0.3
    x[:, 227:254] *= 0.2
    x[:, 254:257] *= 0.2
    parts = LAYOUT_257.split(x)
    shape = model.shape(parts.identity, parts.expression)
    pixels = project(pose_points(shape.astype(np.float64), parts.rotation, parts.translation))
    normals = rng.normal(size=(1, FRONT_VERTICES, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    colors = shade(model.albedo(parts.albedo), normals, parts.light)
    chosen = [*rng.choice(FRONT_VERTICES, 40, replace=False), *model.landmarks[::8]]
    for vertex in map(int, chosen):
        point, seen, color = slow_face(imported.arrays, x[0], vertex, normals[0, vertex])
        np.testing.assert_allclose(shape[0, vertex] / 100, point, atol=1e-6)
        np.testing.assert_allclose(pixels[0, vertex], seen, atol=1e-4)
        np.testing.assert_allclose(colors[0, vertex], color, atol=1e-4)
    np.testing.assert_array_equal(model.landmarks, imported.arrays["keypoints"][0] - 1)


def test_texture_coordinates_are_one_to_one_around_a_mouth(imported: Imported) -> None:
    model = MorphableModel.load(imported.directory / "face_model.npz")
    a, b, c = (model.uv[model.triangles[:, k]].astype(np.float64) for k in range(3))
    areas = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (areas > 0).mean() > 0.9999  # float32 leaves slivers at the rim
    assert areas.min() > -1e-9
    x, y, _ = model.mean_vertices.T
    assert np.corrcoef(x, model.uv[:, 0])[0, 1] > 0.9
    assert np.corrcoef(y, model.uv[:, 1])[0, 1] > 0.9


def test_the_weights_give_what_the_heads_of_the_checkpoint_give(imported: Imported) -> None:
    session = onnxruntime.InferenceSession(
        imported.directory / "weights.onnx", providers=["CPUExecutionProvider"]
    )
    crops = np.random.default_rng(0).random((2, 3, 224, 224), np.float32)
    coefficients, confidences = session.run(None, {"crops": crops})
    state = torch.load(imported.checkpoint, weights_only=True)["net_recon"]
    rnet, _, _ = load_checkpoint(imported.checkpoint)
    with torch.no_grad():
        pooled = rnet.features(torch.from_numpy(crops))[1][..., None, None]
        heads = [
            torch.nn.functional.conv2d(
                pooled, state[f"final_layers.{k}.weight"], state[f"final_layers.{k}.bias"]
            ).flatten(1)
            for k in range(len(HEADS))
        ]
    # As the released code concatenates them: identity, expression, texture, angles, light, shift.
    np.testing.assert_allclose(coefficients, torch.cat(heads, dim=1).numpy(), atol=1e-4)
    assert (confidences == 1).all()
    assert confidences.shape == (2, 80)
    about = session.get_modelmeta().custom_metadata_map
    assert (about["layout"], about["confidences"]) == ("257", "none")
    assert FixedAlignment.from_text(about["alignment"]).template.shape == (5, 3)
    assert "mean face" in imported.output


def test_the_template_beside_the_face_model_is_taken(tmp_path: Path) -> None:
    landmarks = write_basel(tmp_path, side=25)
    write_checkpoint(tmp_path / "x.pth")
    result = run(
        "import", tmp_path / "x.pth", "--layout", 257,
        "--face-model", tmp_path / "BFM_model_front.mat", "-o", tmp_path,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "similarity_Lm3D_all.mat" in result.output
    _, _, info = load_checkpoint(tmp_path / "rnet.pt")
    template = FixedAlignment.from_text(info.alignment).template
    np.testing.assert_allclose(template[2], 100 * landmarks[30], atol=1e-4)
    assert info.face_model_sha256 == MorphableModel.load(tmp_path / "face_model.npz").sha256


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refused")
    write_basel(folder, side=25)
    write_checkpoint(folder / "x.pth")
    torch.save({"model": {}}, folder / "other.pth")
    info = CheckpointInfo("239", "paper", "", 0, 0)
    save_checkpoint(folder / "own.pt", RNet(), None, info)
    (folder / "junk.mat").write_bytes(b"junk")
    arrays = front_arrays(25)
    savemat(folder / "wide.mat", arrays | {"idBase": np.zeros((1875, 199))})
    return folder


class TestRefusals:
    @pytest.mark.parametrize(
        ("source", "face_model", "layout", "named"),
        [
            ("x.pth", "BFM_model_front.mat", "239", ("x.pth", "257, not 239")),
            ("other.pth", "BFM_model_front.mat", "257", ("other.pth", "not a checkpoint")),
            ("own.pt", "BFM_model_front.mat", "257", ("own.pt", "layout 239")),
            ("none.pth", "BFM_model_front.mat", "257", ("none.pth", "no weights file")),
            ("x.pth", "junk.mat", "257", ("x.pth", "junk.mat", "MATLAB")),
            ("x.pth", "wide.mat", "257", ("x.pth", "wide.mat", "80 modes")),
            ("x.pth", "similarity_Lm3D_all.mat", "257", ("similarity_Lm3D_all.mat", "lacks")),
            ("x.pth", "none.mat", "257", ("x.pth", "none.mat")),
            ("x.pth", "x.pth", "257", ("no face model for", "x.pth")),
            ("x.pth", None, "257", ("x.pth", "face_model.npz")),
            ("x.pth", None, None, ("x.pth", "--layout")),
        ],
    )
    def test_one_line_names_the_files(
        self,
        folder: Path,
        source: str,
        face_model: str | None,
        layout: str | None,
        named: tuple[str, ...],
    ) -> None:
        arguments: list[object] = ["import", folder / source, "-o", folder / "out"]
        if layout is not None:
            arguments += ["--layout", layout]
        if face_model is not None:
            arguments += ["--face-model", folder / face_model]
        result = run(*arguments)
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
        for text in named:
            assert text in result.stderr
        assert not (folder / "out" / "weights.onnx").exists()

    def test_a_face_model_of_other_modes(self, folder: Path, tmp_path: Path) -> None:
        from tests.models.conftest import build_model

        build_model(n_identity=60).save(tmp_path / "small.npz")
        result = run(
            "import", folder / "x.pth", "--layout", 257,
            "--face-model", tmp_path / "small.npz", "-o", tmp_path,
        )  # fmt: skip
        assert "small.npz has 60 identity modes" in result.stderr
        assert "x.pth predicts 80" in result.stderr
