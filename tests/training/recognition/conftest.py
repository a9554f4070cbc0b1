"""A writer of dlib's network format, and a network of dlib's architecture with random weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

Write = Callable[..., bytes]
TAG, RELU, ADD_PREVIOUS = "tag", "relu", "add_prev"


class Convolution(NamedTuple):
    weight: np.ndarray
    bias: np.ndarray
    stride: tuple[int, int]
    padding: tuple[int, int]


class Affine(NamedTuple):
    scale: np.ndarray
    offset: np.ndarray


class Pool(NamedTuple):
    largest: bool
    window: tuple[int, int]
    stride: tuple[int, int]


class FullyConnected(NamedTuple):
    weight: np.ndarray


def integer(value: int) -> bytes:
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def real(value: float) -> bytes:
    mantissa, exponent = math.frexp(value)
    return integer(int(math.ldexp(mantissa, 53))) + integer(exponent - 53)


def text(value: str) -> bytes:
    return integer(len(value)) + value.encode()


def alias(*sizes: int) -> bytes:
    return b"".join(map(integer, (1, *sizes)))


def tensor(values: np.ndarray, *sizes: int) -> bytes:
    return b"".join(map(integer, (2, *sizes))) + values.astype("<f4").tobytes()


EMPTY = tensor(np.zeros(0), 0, 0, 0, 0)
STATE = b"110" + 3 * EMPTY


def layer(content: Any) -> bytes:
    if isinstance(content, Convolution):
        filters, channels, rows, columns = content.weight.shape
        values = np.concatenate([content.weight.ravel(), content.bias])
        numbers = (filters, rows, columns, *content.stride, *content.padding)
        return (
            text("con_4")
            + tensor(values, values.size, 1, 1, 1)
            + b"".join(map(integer, numbers))
            + alias(filters, channels, rows, columns)
            + alias(1, filters, 1, 1)
            + 4 * real(1.0)
        )
    if isinstance(content, Affine):
        channels = len(content.scale)
        values = np.concatenate([content.scale, content.offset])
        parts = 2 * alias(1, channels, 1, 1)
        return text("affine_") + tensor(values, values.size, 1, 1, 1) + parts + integer(0)
    if isinstance(content, Pool):
        name = "max_pool_2" if content.largest else "avg_pool_2"
        numbers = (*content.window, *content.stride, 0, 0)
        return text(name) + b"".join(map(integer, numbers))
    if isinstance(content, FullyConnected):
        inputs, outputs = content.weight.shape
        return (
            text("fc_2")
            + integer(outputs)
            + integer(inputs)
            + tensor(content.weight, inputs, outputs, 1, 1)
            + alias(inputs, outputs, 1, 1)
            + alias(0, 0, 0, 0)
            + integer(1)
            + 4 * real(1.0)
        )
    return text(content + "_")


def network(
    layers: Sequence[Any],
    mean_rgb: Sequence[float] = (122.782, 117.001, 104.298),
    size: tuple[int, int] = (150, 150),
) -> bytes:
    kinds = [1 if content is TAG else 2 for content in layers]
    kinds[0] = 3
    contents = [layer(c) + STATE for c in layers if c is not TAG]
    contents[0] += integer(1)
    return (
        integer(1)
        + text("loss_metric_2")
        + real(0.04)
        + real(0.6)
        + b"".join(map(integer, reversed(kinds)))
        + text("input_rgb_image_sized")
        + b"".join(map(real, mean_rgb))
        + integer(size[0])
        + integer(size[1])
        + b"".join(contents)
    )


@pytest.fixture(scope="session")
def write_dlib() -> Write:
    return network


def random_convolution(
    rng: np.random.Generator, channels: int, filters: int, window: int, stride: int, padding: int
) -> Convolution:
    spread = (2 / (channels * window**2)) ** 0.5
    return Convolution(
        rng.normal(0, spread, (filters, channels, window, window)).astype(np.float32),
        rng.normal(0, 0.1, filters).astype(np.float32),
        (stride, stride),
        (padding, padding),
    )


def random_affine(rng: np.random.Generator, channels: int) -> Affine:
    return Affine(
        rng.uniform(0.5, 1.0, channels).astype(np.float32),
        rng.normal(0, 0.1, channels).astype(np.float32),
    )


@pytest.fixture(scope="session")
def dlib_layers() -> list[Any]:
    """Dlib's face recognition, written down from its definition, with random weights."""
    rng = np.random.default_rng(5)
    layers: list[Any] = [random_convolution(rng, 3, 32, 7, 2, 0), random_affine(rng, 32)]
    layers += [RELU, Pool(True, (3, 3), (2, 2))]
    channels = 32
    plan = "32 32 32 64/ 64 64 64 128/ 128 128 256/ 256 256 256/"
    for unit in plan.split():
        filters, halves = int(unit.rstrip("/")), unit.endswith("/")
        stride, padding = (2, 0) if halves else (1, 1)
        layers += [TAG, random_convolution(rng, channels, filters, 3, stride, padding)]
        layers += [random_affine(rng, filters), RELU]
        layers += [random_convolution(rng, filters, filters, 3, 1, 1), random_affine(rng, filters)]
        if halves:
            layers += [TAG, TAG, Pool(False, (2, 2), (2, 2))]
        layers += [ADD_PREVIOUS, RELU]
        channels = filters
    weight = rng.normal(0, 0.1, (256, 128)).astype(np.float32)
    return [*layers, Pool(False, (0, 0), (1, 1)), FullyConnected(weight)]


@pytest.fixture(scope="session")
def dlib_path(
    tmp_path_factory: pytest.TempPathFactory, write_dlib: Write, dlib_layers: list[Any]
) -> Path:
    path = tmp_path_factory.mktemp("dlib") / "random.dat"
    path.write_bytes(write_dlib(dlib_layers))
    return path
