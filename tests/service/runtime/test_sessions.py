"""Running networks: the providers of each device, and inputs bound to a device's memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from facewright.service.networks.centerface_graph import centerface_graph
from facewright.service.networks.regression import INPUT, OUTPUTS
from facewright.service.runtime.sessions import (
    CPU_PROVIDERS,
    CUDA,
    TENSORRT,
    BoundInputs,
    nchw,
    open_session,
    provider_name,
    providers_of,
    runner,
)
from facewright.service.settings import Settings


def test_every_device_falls_back_on_the_cpu_for_what_it_cannot_do() -> None:
    names = {
        device: [provider_name(provider) for provider in providers_of(device)]
        for device in ("cpu", "cuda", "tensorrt")
    }
    cpu = CPU_PROVIDERS[0]
    assert names == {"cpu": [cpu], "cuda": [CUDA, cpu], "tensorrt": [TENSORRT, CUDA, cpu]}
    for half in (False, True):
        assert providers_of("tensorrt", half=half)[0] == (TENSORRT, {"trt_fp16_enable": half})


def test_images_become_planes() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 6, 9, 3)).astype(np.uint8)
    expected = images.transpose(0, 3, 1, 2).astype(np.float32)
    for given in (images, list(images), images[:, ::-1][:, ::-1]):
        planes = nchw(given)
        assert planes.flags.c_contiguous
        np.testing.assert_array_equal(planes, expected)


def test_on_the_cpu_nothing_is_bound(assets: Any) -> None:
    session = open_session(assets.weights)
    assert runner(session) == session.run


def test_bound_inputs_give_the_same_answers(assets: Any) -> None:
    """Shape after shape, so that every buffer is used again; callers keep their arrays."""
    session = open_session(assets.weights)
    bound = BoundInputs(session, "cpu")
    random = np.random.default_rng(0)
    given = []
    for count in (1, 3, 1, 3, 3):
        crops = random.random((count, 3, 224, 224), np.float32)
        given.append((crops, crops.copy(), bound(OUTPUTS, {INPUT: crops})))
    for crops, untouched, answers in given:
        np.testing.assert_array_equal(crops, untouched)
        for answer, expected in zip(answers, session.run(OUTPUTS, {INPUT: crops}), strict=True):
            np.testing.assert_array_equal(answer, expected)


def test_bound_inputs_keep_callers_apart() -> None:
    session = ort.InferenceSession(centerface_graph(), providers=CPU_PROVIDERS)
    bound = BoundInputs(session, "cpu")
    photos = [np.full((1, 3, 64, 64), 8 * value, np.float32) for value in range(24)]

    def ask(photo: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.array(bound(["heatmap"], {"photo": photo})[0])

    with ThreadPoolExecutor(4) as pool:
        for photo, heatmap in zip(photos, pool.map(ask, photos), strict=True):
            expected = session.run(["heatmap"], {"photo": photo})[0]
            np.testing.assert_allclose(heatmap, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_settings_can_name_the_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setenv("FACEWRIGHT_DEVICE", device)
    assert Settings().device == device
