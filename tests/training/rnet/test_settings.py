from dataclasses import replace

import pytest
import torch
from torch import nn

from training.rnet.config import ConfigError, RNetConfig, Stage, read_config
from training.rnet.parallel import FlatParameters
from training.rnet.schedule import average_weight, rate_at, stage_at


def test_a_file_overrides_single_settings(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "peak_rate: 1\nminutes: 3\nloss: {albedo: 0}\n"
        "stages: [{size: 64, batch: 8, share: 1}]\naugmentation: {mirror: 0.1}\n"
    )
    config = read_config(path)
    assert config.peak_rate == 1.0
    assert config.minutes == 3
    assert config.loss.albedo == 0.0
    assert config.loss.identity == RNetConfig().loss.identity
    assert config.stages == (Stage(64, 8, 1.0),)
    assert config.augmentation.mirror == 0.1
    assert read_config(None) == RNetConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("peek_rate: 1", "peek_rate"),
        ("loss: {albeado: 1}", "loss.albeado"),
        ("peak_rate: fast", "peak_rate"),
        ("stages: [{size: 100, batch: 8, share: 1}]", "stage"),
        ("stages: [{size: 96, batch: 8, share: 0.5}]", "sum to 1"),
        ("stages: 7", "stages"),
        ("minutes: 1\nimages: 5", "not both"),
        ("[1, 2]", "mapping"),
    ],
)
def test_bad_settings_are_named(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config(path)


def test_settings_survive_as_plain_values():
    plain = RNetConfig(minutes=1.0).as_dict()
    assert plain["stages"][0] == {"size": 96, "batch": 32, "share": 0.3}
    assert plain["loss"]["albedo"] == 3.0


def test_stages_follow_each_other():
    config = RNetConfig(stages=(Stage(32, 1, 0.25), Stage(64, 1, 0.75)))
    assert [stage_at(config, p).size for p in (0, 0.24, 0.25, 0.99, 1.0)] == [32, 32, 64, 64, 64]


def test_the_rate_rises_and_falls():
    config = replace(RNetConfig(), peak_rate=1.0, warm_up=0.1)
    rates = [rate_at(config, p) for p in (0, 0.05, 0.1, 0.55, 1.0)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 0.5, 0.0], abs=1e-9)


def test_the_average_forgets_the_start():
    config = RNetConfig(average_images=1000)
    assert average_weight(config, 0, 10) == 0.9
    assert average_weight(config, 10_000, 10) == 0.01


def test_flat_parameters_are_the_modules_own():
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)).to(memory_format=torch.channels_last)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    flat = FlatParameters(net)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)
    net(torch.randn(2, 3, 6, 6)).square().sum().backward()
    assert flat.gradients.norm() > 0
    squares = sum(float(p.grad.square().sum()) for p in net.parameters())
    assert float(flat.gradients.square().sum()) == pytest.approx(squares, rel=1e-5)
    torch.optim.SGD([flat.decayed, flat.plain], lr=1.0).step()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name] - parameter.grad)
    assert flat.decayed.numel() >= net[0].weight.numel()
    assert flat.plain.numel() >= 5 * 3
