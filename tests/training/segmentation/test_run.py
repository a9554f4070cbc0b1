from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from facewright.models.assets import WEIGHTS, asset_path
from facewright.models.segmentation import CLASSES, INPUT, OUTPUT
from facewright.models.segmentation_torch import SegmentationNet
from facewright.training.onnx.importing import ImportRefused
from facewright.training.onnx.segmentation import export_segmentation, import_segmentation
from facewright.training.segmentation import dataset, run
from facewright.training.segmentation.evaluation import check_crops, held_out_iou
from facewright.training.synthetic.generate import PortraitGenerator
from facewright.training.synthetic.head import Head

pytestmark = pytest.mark.slow

FACTS = {
    "training": {"steps": 1, "images": 2},
    "figures": {"portraits": 3, "intersection_over_union": {"hair": 0.5}},
}
STORY = {"data": "D.", "procedure": "P.", "photographs": ["Ph."], "limits": ["Blind."]}


@pytest.fixture(scope="module")
def shards(toy_head, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("segmentation")
    generator = PortraitGenerator(Head.build(toy_head.data, toy_head.model), classes=True)
    seen: list[int] = []
    dataset.write_portraits(generator, directory, 5, 20, seen.append)
    dataset.write_portraits(generator, directory, 5, 20, seen.append)
    assert sum(seen) == 40
    with pytest.raises(ValueError, match="other settings"):
        dataset.write_portraits(generator, directory, 6, 20, seen.append)
    return directory


def test_a_run_learns_stops_and_goes_on(shards: Path, tmp_path: Path) -> None:
    paths = run.RunPaths(shards, (), tmp_path)
    rows: list[float] = []
    steps = iter(range(1000))

    def report(part: float, figures: object) -> None:
        rows.append(part)

    assert not run.train(paths, 10.0, 1, lambda: next(steps) == 2, report)
    _, done, images = run.load_network(tmp_path / run.CHECKPOINT)
    assert (done, images) == (3, 3 * run.BATCH)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_REPORT_STEPS", 1)
        assert run.train(paths, 0.002, 1, lambda: False, report)
    net, done, _ = run.load_network(tmp_path / run.FINAL)
    assert done >= 3
    iou = held_out_iou(net, dataset.SegmentationShards(shards))
    assert set(iou) == set(CLASSES)


def test_photographs_take_the_classes_that_are_sure() -> None:
    class Sure(torch.nn.Module):
        def forward(self, crops: torch.Tensor) -> torch.Tensor:
            logits = torch.zeros(len(crops), len(CLASSES), *crops.shape[2:])
            logits[:, 1] = 20 * (crops.mean(1) - 0.5)
            return logits

    images = np.zeros((1, 240, 240, 3), np.uint8)
    images[:, :120] = 255
    shares = run.predicted(Sure(), images)
    assert shares[0, 1, :100].min() > run.SURE
    assert shares[0, :, 140:].max() < run.SURE


def test_the_file_gives_what_the_network_gives(shards: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    net = SegmentationNet()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    net.eval()
    crops = check_crops(dataset.SegmentationShards(shards))[:3]
    path = tmp_path / "own.onnx"
    record = export_segmentation(net, path, version="7", crops_nchw=crops, facts=FACTS, story=STORY)
    assert record["size_bytes"] == path.stat().st_size < 1_000_000
    card = path.with_suffix(".md").read_text()
    assert record["sha256"] in card
    assert "| hair | 0.500 |" in card
    assert card.endswith("- Blind.\n")
    session = onnxruntime.InferenceSession(path)
    with torch.inference_mode():
        expected = net(torch.from_numpy(crops)).softmax(1).numpy()
    (shares,) = session.run([OUTPUT], {INPUT: crops})
    assert shares == pytest.approx(expected, abs=0.03)
    again = import_segmentation(path, torch.from_numpy(crops))
    with torch.inference_mode():
        assert again(torch.from_numpy(crops)).softmax(1).numpy() == pytest.approx(shares, abs=1e-4)
    # Normalized anew with what was measured, it is nearly the same.
    with torch.no_grad():
        trained = again.train()(torch.from_numpy(crops)).softmax(1).numpy()
    assert trained == pytest.approx(shares, abs=0.05)
    paths = run.RunPaths(shards, (), tmp_path, path)
    assert not run.train(paths, 10.0, 1, lambda: True, lambda *_: None)
    with pytest.raises(ImportRefused, match="missing"):
        import_segmentation(asset_path(WEIGHTS), torch.from_numpy(crops))
