"""Fitting the identity branch to a trained R-Net."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from facewright.models.arrays import DoubleArray
from facewright.models.checkpoints_torch import load_checkpoint, save_checkpoint
from facewright.models.identity_branch_torch import IdentityBranch
from facewright.models.morphable_model import MorphableModel
from facewright.models.recognition_torch import FaceResNet
from facewright.models.rnet_torch import RNet
from facewright.training.data.shards import ShardSet
from facewright.training.data.stock import open_shards
from facewright.training.experiment_files import ExperimentError
from facewright.training.identity_branch.features import portrait_features
from facewright.training.identity_branch.heads import Head, distance, fit_heads, joining_weights
from facewright.training.losses.quadratic_forms import face_forms

LEADING = 20
"""Coefficients whose correlation with the truth is reported: the rest is small."""


@dataclass(frozen=True)
class BranchSettings:
    """How the branch is fitted.

    Attributes:
        hidden: width of the head's hidden layer; a linear head is tried in any case.
        chip_size: side of the recognition network's chips, px.
        choosing: share of the people by whom the head is chosen, and the weights fitted that
            join it with R-Net's identity where there are no portraits that R-Net has not seen.
        seed: of that choice, and of the head.
    """

    hidden: int
    chip_size: int
    choosing: float = 0.15
    seed: int = 1


@dataclass(frozen=True)
class BranchReport:
    """What the branch does on people that the head was not fitted to.

    Attributes:
        candidates: how heads were fitted, and their error, mm.
        people: by how many people the weights were fitted.
        errors: of R-Net's identity, the head's and the joined one, root mean square mm.
        correlations: of their first coefficients with the true ones, mean.
        rnet_weight: mean of R-Net's weights over the first coefficients.
        head_weight: likewise of the head's.
    """

    candidates: tuple[tuple[str, float], ...]
    people: int
    errors: dict[str, float]
    correlations: dict[str, float]
    rnet_weight: float
    head_weight: float


def fit_identity_branch(
    checkpoint: Path,
    portraits: Sequence[Path],
    unseen: Sequence[Path],
    out: Path,
    *,
    face_model: Path,
    trunk: FaceResNet,
    features: Path,
    settings: BranchSettings,
    track: Callable[[Iterable[int]], Iterable[int]] = lambda rows: rows,
) -> BranchReport:
    """Write a checkpoint with a branch fitted to its R-Net, whose weights stay as they are.

    Args:
        checkpoint: with or without a branch, which is replaced.
        portraits: directories of shards to fit the head to.
        unseen: of portraits of other people that R-Net was not trained on, to weigh it and the
            head by; without any, R-Net counts for more than it should.
        out: checkpoint to write.
        face_model: file of the face model of all these.
        trunk: the recognition network.
        features: directory of what the networks make of the portraits.
        settings: see there.
        track: wraps loops over batches to show progress.

    Raises:
        ExperimentError: portraits are missing or of another face model, or too few people.
        CheckpointError, FileNotFoundError: a file cannot be used.
    """
    rnet, cnet, info = load_checkpoint(checkpoint)
    rnet.branch = None
    model = MorphableModel.load(face_model)
    if info.face_model_sha256 not in ("", model.sha256):
        raise ExperimentError(f"{checkpoint} is of another face model than {face_model}")
    branch = IdentityBranch(0, settings.chip_size).eval()
    branch.set_face_model(model)
    branch.set_trunk(trunk)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rnet.to(device)
    branch.to(device)
    networks = f"{_digest(rnet, branch)}, chips of {settings.chip_size} px"

    def seen(
        name: str, shards: ShardSet
    ) -> tuple[npt.NDArray[np.float32], DoubleArray, DoubleArray]:
        trunk_features, identity = portrait_features(
            features / name, rnet, branch, shards, networks, track
        )
        return trunk_features, identity.astype(float), shards.labels.identity.astype(float)

    shards = _opened(portraits, model)
    known, rnet_identity, true = seen("fitted", shards)
    choosing = _chosen_people(shards.labels.person, settings)
    form = face_forms(model)["identity"]
    heads = list(fit_heads(known, true, choosing, form, settings.hidden, settings.seed))
    head = min(heads, key=lambda candidate: candidate.error)
    held, rnet_identity, true = known[choosing], rnet_identity[choosing], true[choosing]
    people = len(np.unique(shards.labels.person[choosing]))
    if unseen:
        others = _opened(unseen, model)
        held, rnet_identity, true = seen("unseen", others)
        people = len(np.unique(others.labels.person))
    own = head.predict(held)
    weights = joining_weights(rnet_identity, own, true)

    finished = _finished(branch, head, weights)
    rnet.cpu().branch = finished
    config = {**info.config, "identity_branch": {"head": head.name, "people": people}}
    save_checkpoint(out, rnet, cnet, replace(info, config=config))
    joined = weights[0] * rnet_identity + weights[1] * own
    estimates = {"R-Net": rnet_identity, "head": own, "joined": joined}
    return BranchReport(
        candidates=tuple((one.name, one.error) for one in heads),
        people=people,
        errors={name: distance(values - true, form) for name, values in estimates.items()},
        correlations={name: _correlation(values, true) for name, values in estimates.items()},
        rnet_weight=float(weights[0][:LEADING].mean()),
        head_weight=float(weights[1][:LEADING].mean()),
    )


def _opened(directories: Sequence[Path], model: MorphableModel) -> ShardSet:
    shards = open_shards(ShardSet([d.absolute() for d in directories]).shard_paths, model.sha256)
    if shards is None:
        raise ExperimentError(f"no shards in {', '.join(map(str, directories))}")
    if shards.meta.kind != "portraits":
        raise ExperimentError("identities are fitted to portraits, of which they are known")
    return shards


def _chosen_people(
    person: npt.NDArray[np.int64], settings: BranchSettings
) -> npt.NDArray[np.bool_]:
    """(N,): whether a portrait's person chooses the head."""
    people = np.unique(person)
    count = max(1, round(settings.choosing * len(people)))
    if len(people) - count < 1:
        raise ExperimentError("a head needs portraits of two people or more")
    chosen = np.random.default_rng(settings.seed).permutation(people)[:count]
    return np.isin(person, chosen)


def _finished(
    branch: IdentityBranch,
    head: Head,
    weights: tuple[DoubleArray, DoubleArray],
) -> IdentityBranch:
    """The branch with its head and weights."""
    branch = branch.cpu()
    first = head.layers[0]
    assert isinstance(first, nn.Linear)
    hidden = first.out_features if len(head.layers) > 1 else 0
    finished = IdentityBranch(hidden, branch.chip_size).eval()
    state = {k: v for k, v in branch.state_dict().items() if not k.startswith("head.")}
    finished.load_state_dict(state | {f"head.{k}": v for k, v in head.layers.state_dict().items()})
    with torch.no_grad():
        finished.rnet_weight.copy_(torch.from_numpy(weights[0]))
        finished.head_weight.copy_(torch.from_numpy(weights[1]))
    return finished


def _correlation(estimate: DoubleArray, true: DoubleArray) -> float:
    """Mean correlation of the first coefficients with the true ones."""
    pairs = zip(estimate.T[:LEADING], true.T[:LEADING], strict=True)
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]))


def _digest(rnet: RNet, branch: IdentityBranch) -> str:
    """Of the weights that features depend on."""
    digest = hashlib.sha256()
    for network in (rnet, branch.trunk):
        for value in network.state_dict().values():
            digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()
