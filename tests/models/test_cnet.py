from __future__ import annotations

import numpy as np
import torch

from facewright.models.cnet_torch import CNet


def count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_parameter_count_is_that_of_the_paper() -> None:
    convolutions = 3 * (256 * 256 * 3 * 3 + 256)
    fully_connected = (256 + 2048) * 512 + 512 + 512 * 80 + 80
    assert count(CNet()) == convolutions + fully_connected == 2_991_440


def test_starts_with_plain_averaging() -> None:
    with torch.no_grad():
        confidences = CNet()(torch.rand(3, 256, 28, 28), torch.rand(3, 2048))
    assert confidences.shape == (3, 80)
    assert (confidences == 0.5).all()


def numpy_conv_stride2(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """3x3, stride 2, one pixel of zeros around: (C, H, W) -> (K, H / 2, W / 2)."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    rows, columns = (x.shape[1] + 1) // 2, (x.shape[2] + 1) // 2
    out = np.empty((len(weight), rows, columns))
    for i in range(rows):
        for j in range(columns):
            patch = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            out[:, i, j] = np.tensordot(weight, patch, 3) + bias
    return out


def test_equals_numpy_derivation() -> None:
    torch.manual_seed(0)
    net = CNet()
    torch.nn.init.normal_(net.fc2.weight, std=0.1)
    torch.nn.init.normal_(net.fc2.bias, std=0.5)
    fb1, fg = torch.rand(2, 256, 28, 28), torch.rand(2, 2048)
    with torch.no_grad():
        actual = net(fb1, fg).numpy()
    w = {k: v.double().numpy() for k, v in net.state_dict().items()}
    for row in range(2):
        x = fb1[row].double().numpy()
        sides = []
        for name in ("conv1", "conv2", "conv3"):
            x = np.maximum(numpy_conv_stride2(x, w[f"{name}.weight"], w[f"{name}.bias"]), 0)
            sides.append(x.shape[1])
        assert sides == [14, 7, 4]
        joined = np.concatenate([x.mean((1, 2)), fg[row].double().numpy()])
        hidden = np.maximum(w["fc1.weight"] @ joined + w["fc1.bias"], 0)
        expected = 1 / (1 + np.exp(-(w["fc2.weight"] @ hidden + w["fc2.bias"])))
        assert expected.std() > 0.05
        np.testing.assert_allclose(actual[row], expected, atol=1e-5)


def test_last_layer_receives_a_gradient() -> None:
    net = CNet()
    net(torch.rand(1, 256, 28, 28), torch.rand(1, 2048)).sum().backward()
    assert net.fc2.weight.grad is not None
    assert net.fc2.weight.grad.abs().max() > 0
