"""The loader for licence holders, on a small synthetic file of the form it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from facewright.models.basel import load_bfm_model_front
from facewright.models.model_file import FaceModelFileError
from facewright.models.morphable_model import MorphableModel
from facewright.models.normals import vertex_normals

OFFSET = np.array([0.02, -0.31, 0.47])


@pytest.fixture(scope="module")
def content(model: MorphableModel) -> dict[str, Any]:
    """What the released preprocessing writes: units of 100 mm, colours 0-255, 1-based."""
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
    return load_bfm_model_front(path)


def test_units_are_millimetres_about_the_mean(basel: MorphableModel, model: MorphableModel) -> None:
    expected = model.mean_vertices - model.mean_vertices.mean(axis=0)
    np.testing.assert_allclose(basel.mean_vertices, expected, atol=1e-4)
    assert basel.subdivision is None
    assert basel.metadata["units"] == "mm"
    assert "non-commercial" in basel.metadata["licence"]
    assert len(basel.sha256) == 64


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


def test_colours_are_fractions(basel: MorphableModel, content: dict[str, Any]) -> None:
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


def test_texture_coordinates_unroll_the_face(basel: MorphableModel) -> None:
    np.testing.assert_allclose(basel.uv.min(axis=0), 0, atol=1e-7)
    np.testing.assert_allclose(basel.uv.max(axis=0), 1, atol=1e-7)
    x, y, _ = basel.mean_vertices.T
    assert np.corrcoef(x, basel.uv[:, 0])[0, 1] > 0.9
    assert np.corrcoef(y, basel.uv[:, 1])[0, 1] > 0.9
    np.testing.assert_allclose(basel.uv[basel.mirror, 0], 1 - basel.uv[:, 0], atol=1e-5)


def test_it_has_no_named_blendshapes_and_goes_through_our_file(
    basel: MorphableModel, tmp_path: Path
) -> None:
    assert basel.expression_units == ()
    basel.save(tmp_path / "basel.npz")
    loaded = MorphableModel.load(tmp_path / "basel.npz")
    zeros = np.zeros((1, 80)), np.zeros((1, 64))
    np.testing.assert_array_equal(loaded.shape(*zeros), basel.shape(*zeros))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"idBase": None}, "lacks idBase"),
        ({"skinmask": None, "tri": None}, "lacks tri, skinmask"),
        ({"idBase": np.zeros((9, 80))}, "does not fit"),
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
    with pytest.raises(FaceModelFileError, match=reason):
        load_bfm_model_front(tmp_path / "other.mat")


@pytest.mark.parametrize("junk", [b"", b"junk", b"\x89HDF\r\n\x1a\n" + bytes(600)])
def test_other_files_are_refused(junk: bytes, tmp_path: Path) -> None:
    (tmp_path / "junk.mat").write_bytes(junk)
    with pytest.raises(FaceModelFileError, match="MATLAB"):
        load_bfm_model_front(tmp_path / "junk.mat")


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_bfm_model_front(tmp_path / "none.mat")
