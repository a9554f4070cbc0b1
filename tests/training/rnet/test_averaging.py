import numpy as np
import pytest
import torch
from torch import nn

from facewright.models.mirror import mirror_matrices
from facewright.training.data.shards import ShardSet
from facewright.training.rnet.averaging import WeightAverage, average_weight
from facewright.training.rnet.batches import BatchMaker
from facewright.training.rnet.experiment import Experiment, Stage
from facewright.training.rnet.plan import Cursor, plan_step
from facewright.training.rnet.run import prepare_run, train
from facewright.training.rnet.workers import Workers

pytestmark = pytest.mark.slow


def test_the_average_is_that_of_the_newest_weights(run_paths, small, small_net, monkeypatch):
    """Recomputed in NumPy from the weights after every step."""
    steps = []

    original = WeightAverage.update

    def note(self, newest, step):
        steps.append((step, newest.fc.weight.detach().numpy().copy()))
        original(self, newest, step)

    monkeypatch.setattr(WeightAverage, "update", note)
    torch.manual_seed(small.seed)
    start = small_net(small).fc.weight.detach().numpy()
    stock = prepare_run(small, run_paths)
    _, average = train(small, run_paths, stock, make_net=small_net)
    expected = start.astype(np.float64)
    for step, weights in steps:
        newest = average_weight(small.average_images, step.cursor.step, step.images)
        expected += newest * (weights - expected)
    assert len(steps) > 40
    np.testing.assert_allclose(average.net.fc.weight.numpy(), expected, atol=1e-5)
    assert abs(weights - expected).max() > 1e-4


def test_without_a_window_the_newest_weights_are_kept(run_paths, small, small_net):
    plain = small.model_copy(update={"average_images": None, "calibration_images": 0})
    module, average = train(plain, run_paths, prepare_run(plain, run_paths), make_net=small_net)
    for one, other in zip(
        [*module.net.parameters(), *module.net.buffers()],
        [*average.net.parameters(), *average.net.buffers()],
        strict=True,
    ):
        if one.is_floating_point():
            torch.testing.assert_close(one, other, rtol=0, atol=0, check_stride=True)


def test_calibration_is_the_mean_over_fresh_batches(shard_directory, face_model, small_net):
    stage = Stage(size=32, portraits=6)
    settings = Experiment(stages=(stage,), images=1)
    shards = ShardSet(shard_directory)
    make = BatchMaker(settings, shards, None, mirror_matrices(face_model), 0)
    batches, cursor = [], Cursor()
    for _ in range(4):
        step = plan_step(cursor, stage, 0.0, 1, len(shards), 0)
        batches.append(make(step))
        cursor = step.after
    average = WeightAverage(small_net(settings), None)
    average.calibrate(batches, Workers.join(0, 1), bf16=False)
    convolution, norm, *_ = average.net.convolutions
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.momentum == 0.1
    assert not norm.training
    features = [convolution(batch.crops).detach() for batch in batches]
    means = torch.stack([f.mean((0, 2, 3)) for f in features]).mean(0)
    variances = torch.stack([f.var((0, 2, 3)) for f in features]).mean(0)
    torch.testing.assert_close(norm.running_mean, means, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, variances, rtol=1e-4, atol=1e-5)
