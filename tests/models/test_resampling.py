from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewright.models.resampling import area_weights, cut_square, halve, shrink


@given(st.integers(1, 60), st.integers(0, 60))
def test_area_weights_shrink_as_opencv_does(target: int, more: int) -> None:
    source = target + more
    image = np.random.default_rng(source).random((source, source), np.float32)
    weights = area_weights(source, target)
    expected = cv2.resize(image, (target, target), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(
        weights @ image @ weights.T, expected.reshape(target, target), atol=2e-6
    )
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("target", [0, -1, 11])
def test_area_weights_refuse_to_enlarge(target: int) -> None:
    with pytest.raises(ValueError, match="cannot shrink"):
        area_weights(10, target)


@given(
    st.tuples(st.integers(1, 40), st.integers(0, 90)),
    st.tuples(st.integers(1, 40), st.integers(0, 90)),
    st.sampled_from([np.uint8, np.float32]),
)
@settings(deadline=None)
def test_shrinking_is_opencvs(tall: tuple[int, int], wide: tuple[int, int], dtype: type) -> None:
    random = np.random.default_rng(tall + wide)
    image = random.integers(0, 256, (sum(tall), sum(wide), 3)).astype(dtype)
    image.setflags(write=bool(random.integers(2)))
    small = shrink(image, tall[0], wide[0])
    expected = cv2.resize(image.copy(), (wide[0], tall[0]), interpolation=cv2.INTER_AREA)
    assert small.dtype == dtype
    # A sum of many float32 may fall on the other side of a half.
    np.testing.assert_allclose(
        small.astype(np.float64), expected, rtol=0, atol=1.0 if dtype is np.uint8 else 1e-3
    )


def test_shrinking_rounds_as_opencv_does() -> None:
    image = np.random.default_rng(0).integers(0, 256, (356, 331, 3)).astype(np.uint8)
    expected = cv2.resize(image, (224, 228), interpolation=cv2.INTER_AREA)
    assert (shrink(image, 228, 224) != expected).mean() < 0.001


def test_a_part_of_an_image_shrinks_like_a_copy_of_it() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3)).astype(np.uint8)
    part = image[7:40, 11:50]
    np.testing.assert_array_equal(shrink(part, 20, 30), shrink(part.copy(), 20, 30))
    assert image.flags.writeable


@pytest.mark.parametrize(
    ("by", "factor"), [(0.5, 1), (1.9, 1), (2, 2), (3.99, 2), (4, 4), (9, 8), (1e9, 64)]
)
def test_halving_stops_short_of_the_size_asked_for(by: float, factor: int) -> None:
    image = np.zeros((64, 100, 3), np.uint8)
    smaller, shrunk = halve(image, by)
    assert shrunk == factor
    assert smaller.shape == (64 // factor, 100 // factor, 3)
    assert smaller.dtype == np.uint8


def test_halving_averages_two_by_two_and_drops_the_odd_row() -> None:
    image = np.random.default_rng(0).random((9, 12, 3)).astype(np.float32)
    smaller, _ = halve(image, 2)
    expected = image[:8].reshape(4, 2, 6, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(smaller, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "part",
    [np.s_[:], np.s_[7:40, 11:50], np.s_[:, 100:], np.s_[::-1], np.s_[:, ::-1], np.s_[:3, :5]],
)
def test_halving_rounds_like_opencv(part: tuple[slice, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (61, 131, 3)).astype(np.uint8)[part]
    height, width = image.shape[0] // 2, image.shape[1] // 2
    even = np.ascontiguousarray(image[: 2 * height, : 2 * width])
    expected = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(halve(image, 2)[0], expected)


@pytest.mark.parametrize("scale", [0.9, 0.45, 0.2, 0.06])
def test_a_shrunk_square_is_where_the_map_says(scale: float) -> None:
    """A ramp keeps its values: halving shifts nothing."""
    ramp = np.zeros((1000, 1400, 3), np.float32)
    ramp[..., 0] = np.arange(1400) + 0.5
    ramp[..., 1] = (np.arange(1000) + 0.5)[:, None]
    side = 40
    transform = np.array([[scale, 0, -scale * 321.3], [0, scale, -scale * 111.7]])
    square = cut_square(ramp, transform, side)
    centers = (np.arange(side) + 0.5) / scale
    inside = slice(1, -1)  # the outermost pixels may touch the photo's border
    reach = int(min(side, (1000 - 111.7) * scale)) - 2
    np.testing.assert_allclose(square[1:reach, inside, 0][0], centers[inside] + 321.3, atol=0.5)
    np.testing.assert_allclose(square[1:reach, 5, 1], centers[1:reach] + 111.7, atol=0.5)
