from __future__ import annotations

import numpy as np
import pytest
import torch

from facewright.models.layout import LAYOUT_239, LAYOUT_257, CoefficientLayout, layout_of


def columns(layout: CoefficientLayout) -> np.ndarray:
    return np.arange(2 * layout.size, dtype=np.float32).reshape(2, -1)


def test_the_papers_layout_has_its_columns_in_the_papers_order() -> None:
    parts = LAYOUT_239.split(columns(LAYOUT_239))
    assert LAYOUT_239.size == 239
    np.testing.assert_array_equal(parts.identity[0], np.arange(80))
    np.testing.assert_array_equal(parts.expression[0], np.arange(80, 144))
    np.testing.assert_array_equal(parts.albedo[0], np.arange(144, 224))
    np.testing.assert_array_equal(parts.light[0], np.arange(224, 233)[None])
    np.testing.assert_array_equal(parts.rotation[0], [233, 234, 235])
    np.testing.assert_array_equal(parts.translation[1], [239 + 236, 239 + 237, 239 + 238])


def test_the_released_layout_has_angles_before_rgb_light() -> None:
    parts = LAYOUT_257.split(columns(LAYOUT_257))
    assert LAYOUT_257.size == 257
    np.testing.assert_array_equal(parts.rotation[0], [224, 225, 226])
    np.testing.assert_array_equal(parts.translation[0], [254, 255, 256])
    light = np.arange(227, 254, dtype=np.float32).reshape(3, 9)
    light[:, 0] += np.float32(0.8)
    np.testing.assert_array_equal(parts.light[0], light)


@pytest.mark.parametrize("layout", [LAYOUT_239, LAYOUT_257], ids=lambda layout: layout.name)
def test_columns_are_used_exactly_once(layout: CoefficientLayout) -> None:
    names = ("identity", "expression", "albedo", "light", "rotation", "translation")
    used = np.concatenate([np.arange(layout.size)[getattr(layout, name)] for name in names])
    np.testing.assert_array_equal(np.sort(used), np.arange(layout.size))


@pytest.mark.parametrize("layout", [LAYOUT_239, LAYOUT_257], ids=lambda layout: layout.name)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_join_undoes_split_and_neither_changes_its_argument(
    layout: CoefficientLayout, library: str
) -> None:
    x = np.random.default_rng(1).standard_normal((5, layout.size)).astype(np.float32)
    given = torch.from_numpy(x.copy()) if library == "torch" else x.copy()
    parts = layout.split(given)
    light = np.asarray(parts.light).copy()
    joined = layout.join(parts)
    assert type(joined) is type(given)
    assert joined.dtype == given.dtype
    np.testing.assert_allclose(np.asarray(joined), x, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(given), x)
    np.testing.assert_array_equal(np.asarray(parts.light), light)


@pytest.mark.parametrize("layout", [LAYOUT_239, LAYOUT_257], ids=lambda layout: layout.name)
def test_gradients_pass_through_split_and_join(layout: CoefficientLayout) -> None:
    x = torch.zeros((2, layout.size), requires_grad=True)
    weights = torch.arange(2.0 * layout.size).reshape(2, -1)
    (layout.join(layout.split(x)) * weights).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, weights)


@pytest.mark.parametrize("shape", [(239,), (1, 240), (1, 1, 239)])
def test_other_sizes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        LAYOUT_239.split(np.zeros(shape, np.float32))


def test_parts_of_another_layout_are_refused() -> None:
    parts = LAYOUT_257.split(np.zeros((1, 257), np.float32))
    with pytest.raises(ValueError, match="light"):
        LAYOUT_239.join(parts)


def test_the_length_of_a_vector_tells_its_layout() -> None:
    assert layout_of(np.zeros(239)) is LAYOUT_239
    assert layout_of(np.zeros((3, 257))) is LAYOUT_257
    with pytest.raises(ValueError, match="240"):
        layout_of(np.zeros(240))
