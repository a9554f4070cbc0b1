"""A training run: puts experiment, data and networks together, and the loop over its steps."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from facewright.models.checkpoints_torch import initialize
from facewright.models.layout import LAYOUT_239
from facewright.models.mirror import mirror_matrices
from facewright.models.morphable_model import MorphableModel
from facewright.models.rnet_torch import RNet
from facewright.training.data.stock import Stock, take_stock
from facewright.training.experiment_files import ExperimentError
from facewright.training.losses.hybrid import HybridLoss
from facewright.training.recognition.recognizer import FaceRecognizer, load_recognizer
from facewright.training.render import make_renderer
from facewright.training.rnet.averaging import WeightAverage
from facewright.training.rnet.checkpoints import CHECKPOINT, Checkpoints, stock_to_resume
from facewright.training.rnet.clock import Clock
from facewright.training.rnet.data import RNetData, check_stock
from facewright.training.rnet.experiment import Experiment
from facewright.training.rnet.losses import RNetLoss
from facewright.training.rnet.module import RNetModule, computes_bf16
from facewright.training.rnet.records import ReportTo, RunLog
from facewright.training.rnet.validation import Validation
from facewright.training.rnet.workers import Workers
from facewright.training.trainer.optimizer import rate_at

log = logging.getLogger(__name__)

# On a GPU, one thread cannot cut and color pictures as fast as they are trained on.
GPU_THREADS = 6


@dataclass(frozen=True)
class RunPaths:
    """Where a run reads and writes.

    Attributes:
        portraits, photos: directories of training shards.
        validation: directories of held-out shards of either kind.
        out: of the run: `checkpoint.pt`, at the end `rnet.pt`, `train.csv`,
            `validation.csv`, `train.log`, TensorBoard's files and pictures.
        face_model: file of the model whose coefficients are trained.
        init: weights that a new run starts from (ImageNet's or another run's), if any.
    """

    portraits: tuple[Path, ...]
    photos: tuple[Path, ...]
    validation: tuple[Path, ...]
    out: Path
    face_model: Path
    init: Path | None = None


def prepare_run(experiment: Experiment, paths: RunPaths) -> Stock:
    """Make the run's directory and list its shards, once for all workers.

    Shards that have appeared since the run was interrupted are taken up at the end of the pass
    over the others.

    Raises:
        ExperimentError: there are no shards where there should be, they are of another face
            model, the directory holds a run of other settings or of another face model, or the
            weights to start from or the recognition network cannot be read.
    """
    paths.out.mkdir(parents=True, exist_ok=True)
    sha256 = MorphableModel.load(paths.face_model).sha256
    known = stock_to_resume(paths.out, experiment, sha256)
    if known is None and paths.init is None and experiment.imagenet:
        log.warning("the experiment is meant to start from ImageNet weights: see --init")
    stock = take_stock(paths.portraits, paths.photos, paths.validation, known or Stock())
    check_stock(experiment, stock, sha256)
    # Every worker reads these files; here, a bad one ends in one message.
    try:
        if paths.init is not None and known is None:
            initialize(_paper_net(experiment), paths.init, sha256)
        if experiment.uses_photos:
            _recognizer(experiment)
    except (ValueError, FileNotFoundError) as error:
        raise ExperimentError(str(error)) from error
    return stock


def train(
    experiment: Experiment,
    paths: RunPaths,
    stock: Stock,
    *,
    rank: int = 0,
    workers: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
    report: ReportTo = lambda done, remark: None,
    make_net: Callable[[Experiment], nn.Module] | None = None,
) -> tuple[RNetModule, WeightAverage]:
    """One worker's part of a run, new or resumed, to its end or until `should_stop`.

    Args:
        experiment: settings; those of an interrupted run must be the same, but for its length.
        paths: of the run.
        stock: shards, see `prepare_run`.
        rank: this process's number.
        workers: number of processes; where there are more than one, the environment says how
            they meet (`MASTER_PORT`, `LOCAL_RANK`).
        should_stop: asked in the first process after every step.
        report: called in the first process every few seconds, see `records.ReportTo`.
        make_net: the network; its `features` and `fc` are used as those of `RNet`.

    Returns:
        The module as trained, and the averaged weights.

    Raises:
        FloatingPointError: the gradient is not finite any more.
    """
    torch.manual_seed(experiment.seed)
    model = MorphableModel.load(paths.face_model)
    net = (make_net or _paper_net)(experiment)
    resuming = (paths.out / CHECKPOINT).exists()
    if paths.init is not None and not resuming:
        initialize(net, paths.init, model.sha256)  # type: ignore[arg-type]
    team = Workers.join(rank, workers)
    if experiment.bf16 and not computes_bf16(team.device.type):
        log.warning("this machine has no bfloat16 arithmetic: float32 serves")
    module = RNetModule(
        net,
        experiment,
        RNetLoss(model, experiment.portrait_loss) if experiment.uses_portraits else None,
        _photo_loss(experiment, model, team.device) if experiment.uses_photos else None,
    ).to(team.device)
    optimizer = module.make_optimizer()
    clock = Clock(experiment, team, should_stop)
    data = RNetData(
        experiment,
        stock,
        model.sha256,
        mirror_matrices(model),
        rank=rank,
        workers=workers,
        progress=clock.progress,
        threads=GPU_THREADS if team.device.type == "cuda" else 1,
    )
    average = WeightAverage(module.net, experiment.average_images)
    checkpoints = Checkpoints(experiment, paths.out, model.sha256, data, average.net)
    board = SummaryWriter(paths.out / "tensorboard") if team.is_first else None
    run_log = None
    if board is not None:
        run_log = RunLog(paths.out, module.term_names, clock, report, board)
    validation = Validation(
        experiment,
        paths.out,
        team,
        data,
        model,
        clock,
        average,
        module.photo_loss,
        board,
    )
    if resuming:
        checkpoints.resume(module, optimizer, clock, run_log)
    shared = team.sharing_gradients(module)
    clock.start()
    if run_log is not None:
        run_log.start(data.cursor.images)
    if not data.cursor.step:
        validation.of_mean_face()

    def save() -> None:
        if run_log is not None:
            checkpoints.save(module, optimizer, clock, run_log)

    for batch in data.training_batches():
        step = batch.step
        rate = rate_at(experiment.optimizer, step.progress)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        output = shared(batch.to(team.device))
        output["loss"].backward()
        gradient = module.clip_gradient()
        optimizer.step()
        data.cursor = step.after
        clock.tick()
        average.update(module.net, step)
        if run_log is not None:
            totals = {"total": output["loss"].detach(), "gradient": gradient}
            run_log.take(step, totals | output["terms"], rate)
        if clock.validate:
            validation.run()
        if clock.save or clock.stop:
            save()
        if clock.stop:
            if team.is_first:
                percent = 100 * clock.progress(data.cursor.images)
                images = data.cursor.images
                log.info("stopped at %.1f %%, %d images; run again to go on", percent, images)
            break
    else:
        save()
        validation.run()
        if experiment.calibration_images:
            batches = data.calibration_batches(experiment.calibration_images)
            average.calibrate(batches, team, experiment.bf16)
            validation.run()
        if team.is_first:
            checkpoints.finish()
            log.info("done: %d steps over %d images", data.cursor.step, data.cursor.images)
            report(1.0, "done")
    if board is not None:
        board.close()
    return module, average


def _paper_net(experiment: Experiment) -> RNet:
    return RNet(LAYOUT_239, experiment.variant, experiment.input_size)


def _photo_loss(experiment: Experiment, model: MorphableModel, device: torch.device) -> HybridLoss:
    return HybridLoss(
        model,
        LAYOUT_239,
        experiment.photo_loss,
        _recognizer(experiment),
        make_renderer(device),
        experiment.render_size,
    )


def _recognizer(experiment: Experiment) -> FaceRecognizer | None:
    if experiment.recognizer is None or not experiment.compares_people:
        return None
    return load_recognizer(experiment.recognizer)
