"""Fitting the identity branch to a trained R-Net."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

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
from facewright.training.identity_branch.heads import distance, fit_head
from facewright.training.identity_branch.targets import fitting_identities
from facewright.training.losses.quadratic_forms import face_forms

LEADING = 20
"""Coefficients whose correlation with the truth is reported: the rest is small."""
CHOOSING = 0.15
"""Share of the people by whom the penalty is chosen, and errors are measured."""


@dataclass(frozen=True)
class BranchReport:
    """What the branch does on people that the head was not fitted to.

    Attributes:
        ridge: the penalty of the head.
        people: by how many people it was chosen.
        errors: of R-Net's identity and the branch's, root mean square mm.
        correlations: of their first coefficients with the true ones, mean.
    """

    ridge: float
    people: int
    errors: dict[str, float]
    correlations: dict[str, float]


def fit_identity_branch(
    checkpoint: Path,
    portraits: Sequence[Path],
    out: Path,
    *,
    face_model: Path,
    trunk: FaceResNet,
    chip_size: int,
    features: Path,
    seed: int,
    track: Callable[[Iterable[int]], Iterable[int]] = lambda rows: rows,
) -> BranchReport:
    """Write a checkpoint with a branch fitted to its R-Net, whose weights stay as they are.

    Args:
        checkpoint: with or without a branch, which is replaced.
        portraits: directories of shards to fit the head to, of people that neither R-Net nor the
            trunk was trained on: on others they err less, and would count for too much.
        out: checkpoint to write.
        face_model: file of the face model of all these.
        trunk: the recognition network.
        chip_size: side of its chips, px.
        features: directory of what the networks make of the portraits.
        seed: of the choice of people.
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
    branch = IdentityBranch(rnet.layout.size, chip_size).eval()
    branch.set_face_model(model)
    branch.set_trunk(trunk)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rnet.to(device)
    branch.to(device)
    networks = f"{_digest(rnet, branch)}, chips of {chip_size} px"

    shards = _opened(portraits, model)
    trunk_features, coefficients = portrait_features(
        features, rnet, branch, shards, networks, track
    )
    known = np.concatenate([trunk_features, coefficients], axis=1)
    true = shards.labels.identity.astype(float)
    choosing = _chosen_people(shards.labels.person, seed)
    form = face_forms(model)["identity"]
    targets = fitting_identities(
        model, rnet.layout, coefficients, true, shards.labels.landmarks, form
    )
    head = fit_head(known, targets, choosing, form)
    with torch.no_grad():
        branch.head.weight.copy_(torch.from_numpy(head.weight.T))
        branch.head.bias.copy_(torch.from_numpy(head.bias))

    people = len(np.unique(shards.labels.person[choosing]))
    rnet.cpu().branch = branch.cpu()
    config = {**info.config, "identity_branch": {"ridge": head.ridge, "people": people}}
    save_checkpoint(out, rnet, cnet, replace(info, config=config))
    estimates = {
        "R-Net": coefficients[choosing][:, rnet.layout.identity].astype(float),
        "with the branch": head.predict(known[choosing]),
    }
    held = true[choosing]
    return BranchReport(
        ridge=head.ridge,
        people=people,
        errors={name: distance(values - held, form) for name, values in estimates.items()},
        correlations={name: _correlation(values, held) for name, values in estimates.items()},
    )


def _opened(directories: Sequence[Path], model: MorphableModel) -> ShardSet:
    shards = open_shards(ShardSet([d.absolute() for d in directories]).shard_paths, model.sha256)
    if shards is None:
        raise ExperimentError(f"no shards in {', '.join(map(str, directories))}")
    if shards.meta.kind != "portraits":
        raise ExperimentError("identities are fitted to portraits, of which they are known")
    return shards


def _chosen_people(person: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.bool_]:
    """(N,): whether a portrait's person chooses the head."""
    people = np.unique(person)
    count = max(1, round(CHOOSING * len(people)))
    if len(people) - count < 1:
        raise ExperimentError("a head needs portraits of two people or more")
    chosen = np.random.default_rng(seed).permutation(people)[:count]
    return np.isin(person, chosen)


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
