"""The loader for license holders, on a small synthetic file of the form it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from facewright.models.model_file import FaceModelFileError
from facewright.models.morphable_model import MorphableModel
from facewright.models.normals import vertex_normals
from facewright.training.face_model.basel import read_front, read_split, read_template
from tests.models.conftest import build_model
from tests.released_files import write_basel

OFFSET = np.array([0.02, -0.31, 0.47])


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return build_model()


@pytest.fixture(scope="module")
def content(model: MorphableModel) -> dict[str, Any]:
    """What the released preprocessing writes: units of 100 mm, colors 0-255, 1-based."""
    rng = np.random.default_rng(0)
    size = 3 * model.n_vertices
    return {
        "meanshape": (model.mean_vertices.astype(np.float64) / 100 + OFFSET).reshape(1, size),
        "idBase": rng.standard_normal((size, 80)).astype(np.float32) * 0.02,
        "exBase": rng.standard_normal((size, 64)).astype(np.float32) * 0.01,
        "meantex": rng.uniform(0, 255, (1, size)),
        "texBase": rng.standard_normal((size, 80)) * 5,
        "tri": model.triangles + 1.0,
        "point_buf": np.ones((model.n_vertices, 8)),
        "keypoints": (model.landmarks[None] + 1).astype(np.uint16),
        "tri_mask2": np.ones((5, 1)),
        "frontmask2_idx": np.ones((5, 1)),
        "skinmask": model.skin_region[None].astype(np.float64),
    }


@pytest.fixture(scope="module")
def path(content: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("basel") / "BFM_model_front.mat"
    savemat(path, content)
    return path


@pytest.fixture(scope="module")
def basel(path: Path) -> MorphableModel:
    return read_front(path)


def test_units_are_millimeters_about_the_mean(basel: MorphableModel, model: MorphableModel) -> None:
    expected = model.mean_vertices - model.mean_vertices.mean(axis=0)
    np.testing.assert_allclose(basel.mean_vertices, expected, atol=1e-4)
    assert basel.subdivision is None
    assert basel.metadata["units"] == "mm"
    assert "non-commercial" in basel.metadata["licence"]


def test_a_coefficient_moves_the_vertices_of_its_column(
    basel: MorphableModel, content: dict[str, Any]
) -> None:
    identity, expression = np.zeros((1, 80)), np.zeros((1, 64))
    identity[0, 7], expression[0, 3] = 2.0, -1.0
    moved = basel.shape(identity, expression)[0] - basel.mean_vertices
    for vertex in (0, 11, basel.n_vertices - 1):
        for axis in range(3):
            row = 3 * vertex + axis
            expected = 200 * content["idBase"][row, 7] - 100 * content["exBase"][row, 3]
            assert moved[vertex, axis] == pytest.approx(expected, abs=1e-4)


def test_colors_are_fractions(basel: MorphableModel, content: dict[str, Any]) -> None:
    albedo = np.zeros((1, 80))
    albedo[0, 2] = 1.5
    expected = (content["meantex"][0] + 1.5 * content["texBase"][:, 2]) / 255
    np.testing.assert_allclose(basel.albedo(albedo).reshape(-1), expected.clip(0, 1), atol=1e-6)


def test_indices_are_from_zero(basel: MorphableModel, model: MorphableModel) -> None:
    np.testing.assert_array_equal(basel.triangles, model.triangles)
    np.testing.assert_array_equal(basel.landmarks, model.landmarks)
    np.testing.assert_array_equal(basel.skin_region, model.skin_region)
    normals = vertex_normals(basel.mean_vertices[None], basel.triangles)
    assert normals[0, :, 2].mean() > 0.5


def test_mirror_pairs_are_found_by_position(basel: MorphableModel, model: MorphableModel) -> None:
    np.testing.assert_array_equal(basel.mirror, model.mirror)


def test_texture_coordinates_are_upright_and_one_to_one(basel: MorphableModel) -> None:
    x, y, _ = basel.mean_vertices.T
    assert np.corrcoef(x, basel.uv[:, 0])[0, 1] > 0.9
    assert np.corrcoef(y, basel.uv[:, 1])[0, 1] > 0.9
    a, b, c = (basel.uv[basel.triangles[:, k]].astype(np.float64) for k in range(3))
    areas = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert areas.min() > 0


def test_it_has_no_named_blendshapes_and_goes_through_our_file(
    basel: MorphableModel, tmp_path: Path
) -> None:
    assert basel.expression_units == ()
    basel.save(tmp_path / "basel.npz", exact=True)
    loaded = MorphableModel.load(tmp_path / "basel.npz")
    for name in ("mean_shape", "identity_basis", "expression_basis", "albedo_basis", "uv"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(basel, name))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"idBase": None}, "lacks idBase"),
        ({"skinmask": None, "tri": None}, "lacks tri, skinmask"),
        ({"idBase": np.zeros((9, 80))}, "does not fit"),
        ({"idBase": np.zeros((525 * 3, 79))}, "80 modes"),
        ({"keypoints": np.ones((1, 67))}, "landmarks"),
        ({"tri": np.zeros((4, 3), np.uint8)}, "does not exist"),
        ({"meanshape": np.zeros((1, 10))}, "not a sound"),
        ({"texBase": "text"}, "not a sound"),
    ],
)
def test_other_content_is_refused(
    content: dict[str, Any], tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    changed = {k: v for k, v in (content | change).items() if v is not None}
    savemat(tmp_path / "other.mat", changed)
    with pytest.raises(FaceModelFileError, match=reason) as caught:
        read_front(tmp_path / "other.mat")
    assert "other.mat" in str(caught.value)


@pytest.mark.parametrize("junk", [b"", b"junk", b"\x89HDF\r\n\x1a\n" + bytes(600)])
def test_other_files_are_refused(junk: bytes, tmp_path: Path) -> None:
    (tmp_path / "junk.mat").write_bytes(junk)
    with pytest.raises(FaceModelFileError, match="MATLAB"):
        read_front(tmp_path / "junk.mat")


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_front(tmp_path / "none.mat")


def test_the_split_gives_what_the_front_file_has(tmp_path: Path) -> None:
    write_basel(tmp_path, side=25)
    whole, split = read_front(tmp_path / "BFM_model_front.mat"), read_split(tmp_path)
    for name in ("mean_shape", "identity_basis", "expression_basis", "mean_albedo", "albedo_basis"):
        np.testing.assert_allclose(getattr(split, name), getattr(whole, name), atol=1e-5)
    for name in ("triangles", "landmarks", "skin_region"):
        np.testing.assert_array_equal(getattr(split, name), getattr(whole, name))


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("01_MorphableModel.mat", None, "No such file"),
        ("Exp_Pca.bin", b"junk", "Exp_Pca.bin: 4 bytes"),
        ("std_exp.txt", b"1 2 three", "std_exp.txt: no list"),
        ("std_exp.txt", b"1 2", "std_exp.txt: 2 deviations"),
        ("BFM_front_idx.mat", b"junk", "BFM_front_idx.mat: not a readable"),
        ("similarity_Lm3D_all.mat", b"junk", "similarity_Lm3D_all.mat: not a readable"),
    ],
)
def test_a_split_with_another_file_is_refused(
    tmp_path: Path, file: str, content: bytes | None, reason: str
) -> None:
    write_basel(tmp_path, side=25)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises((FaceModelFileError, OSError), match=reason):
        read_template(tmp_path / file) if "Lm3D" in file else read_split(tmp_path)


def test_the_template_has_the_middles_of_eyes_in_mm(tmp_path: Path) -> None:
    landmarks = write_basel(tmp_path, side=25)
    five = read_template(tmp_path / "similarity_Lm3D_all.mat")
    np.testing.assert_allclose(five[0], 50 * (landmarks[36] + landmarks[39]), atol=1e-4)
    np.testing.assert_allclose(five[1], 50 * (landmarks[42] + landmarks[45]), atol=1e-4)
    np.testing.assert_allclose(five[2:], 100 * landmarks[[30, 48, 54]], atol=1e-4)
