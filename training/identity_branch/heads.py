"""From recognition features to identity coefficients: ridge regression or a small network.

Both are fitted to people and judged by others. Targets are in sigmas, and an error is measured in
mm: the square root of a quadratic form of `losses.quadratic_forms.face_forms`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from facewright.models.arrays import DoubleArray
from facewright.models.identity_branch_torch import N_IDENTITY

RIDGES = tuple(10.0**k for k in np.arange(-1.0, 4.1, 0.5))
"""Penalties on standardized features, in portraits."""
DECAYS = (0.01, 0.1, 0.3, 1.0)
"""Weight decays of the small network."""
EPOCHS = 120
BATCH = 256
RATE = 1e-3
NOISE = 0.1
"""Standard deviation of what is added to standardized features in training."""
MEASURE_EVERY = 5
PATIENCE = 5
PRIOR = 30
"""Portraits that the inverse variances count for in the weights of the two identities."""
TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted head.

    Attributes:
        name: how it was fitted.
        layers: from features to coefficients, the standardization folded in.
        error: root mean square distance in mm on the people that chose it.
    """

    name: str
    layers: nn.Sequential
    error: float

    def predict(self, features: npt.NDArray[np.float32]) -> DoubleArray:
        """(N, 80) of features (N, D)."""
        with torch.no_grad():
            found: DoubleArray = self.layers(torch.from_numpy(features)).double().numpy()
        return found


def distance(difference: DoubleArray, form: DoubleArray) -> float:
    """Root mean square distance, mm, of coefficient differences (N, 80)."""
    return float(np.sqrt(np.einsum("ni,ij,nj->n", difference, form, difference).mean()))


def fit_heads(
    features: npt.NDArray[np.float32],
    identity: DoubleArray,
    choosing: npt.NDArray[np.bool_],
    form: DoubleArray,
    hidden: int,
    seed: int,
) -> Iterator[Head]:
    """Candidates: the best linear head and the best network of a hidden width.

    Args:
        features: (N, D).
        identity: (N, 80), true.
        choosing: (N,): whose error chooses penalty, decay and length; not fitted to.
        form: (80, 80) mm².
        hidden: 0 leaves the networks out.
        seed: of the networks.
    """
    mean, spread = features[~choosing].mean(0), features[~choosing].std(0) + 1e-6
    standard = (features - mean) / spread
    linear = [_ridge(standard, identity, choosing, form, ridge, mean, spread) for ridge in RIDGES]
    yield min(linear, key=lambda head: head.error)
    if hidden:
        networks = [
            _network(standard, identity, choosing, form, hidden, decay, mean, spread, seed)
            for decay in DECAYS
        ]
        yield min(networks, key=lambda head: head.error)


def _ridge(
    standard: npt.NDArray[np.float32],
    identity: DoubleArray,
    choosing: npt.NDArray[np.bool_],
    form: DoubleArray,
    ridge: float,
    mean: npt.NDArray[np.float32],
    spread: npt.NDArray[np.float32],
) -> Head:
    x, y = standard[~choosing].astype(np.float64), identity[~choosing]
    middle = y.mean(0)
    gram = x.T @ x + ridge * np.eye(x.shape[1])
    weight = np.linalg.solve(gram, x.T @ (y - middle))
    error = distance(standard[choosing] @ weight + middle - identity[choosing], form)
    layer = nn.Linear(len(weight), N_IDENTITY)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.T))
        layer.bias.copy_(torch.from_numpy(middle))
    return Head(
        f"linear, ridge {ridge:g}", _unstandardized(nn.Sequential(layer), mean, spread), error
    )


def _network(
    standard: npt.NDArray[np.float32],
    identity: DoubleArray,
    choosing: npt.NDArray[np.bool_],
    form: DoubleArray,
    hidden: int,
    decay: float,
    mean: npt.NDArray[np.float32],
    spread: npt.NDArray[np.float32],
    seed: int,
) -> Head:
    """Trained until the choosing people have not gained for a while; the best state is kept."""
    x, y = torch.from_numpy(standard), torch.from_numpy(identity).float()
    metric = torch.from_numpy(form / np.trace(form) * N_IDENTITY).float()
    rows = np.flatnonzero(~choosing)
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Sequential(
            nn.Linear(x.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, N_IDENTITY)
        )
        optimizer = torch.optim.AdamW(layers.parameters(), lr=RATE, weight_decay=decay)
        best, best_state, since = np.inf, layers.state_dict(), 0
        for epoch in range(EPOCHS):
            for batch in np.array_split(rng.permutation(rows), max(1, len(rows) // BATCH)):
                seen = x[batch]
                difference = layers(seen + NOISE * torch.randn_like(seen)) - y[batch]
                # Sigmas count as well: the form hardly sees the small features of a face.
                loss = _mean_form(difference, metric) + difference.square().sum(1).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if epoch % MEASURE_EVERY:
                continue
            with torch.no_grad():
                error = distance((layers(x[choosing]) - y[choosing]).double().numpy(), form)
            since += 1
            if error < best:
                best, since = error, 0
                best_state = {k: v.clone() for k, v in layers.state_dict().items()}
            if since > PATIENCE:
                break
    layers.load_state_dict(best_state)
    name = f"{hidden} hidden units, decay {decay:g}"
    return Head(name, _unstandardized(layers, mean, spread), best)


def _mean_form(difference: Tensor, metric: Tensor) -> Tensor:
    return ((difference @ metric) * difference).sum(1).mean()


def _unstandardized(
    layers: nn.Sequential, mean: npt.NDArray[np.float32], spread: npt.NDArray[np.float32]
) -> nn.Sequential:
    """The same function of features that are not standardized."""
    first = layers[0]
    assert isinstance(first, nn.Linear)
    with torch.no_grad():
        first.weight /= torch.from_numpy(spread)
        first.bias.sub_(first.weight @ torch.from_numpy(mean))
    return layers.requires_grad_(False)


def joining_weights(
    rnet: DoubleArray, own: DoubleArray, true: DoubleArray
) -> tuple[DoubleArray, DoubleArray]:
    """How much each of two estimates of a coefficient should count.

    The least-squares weights, drawn towards those of the inverse variances, see `PRIOR`.

    Args:
        rnet: (N, 80), R-Net's.
        own: (N, 80), the head's.
        true: (N, 80).

    Returns:
        (80,) and (80,).
    """
    variances = np.stack([((one - true) ** 2).mean(0) for one in (rnet, own)]) + TINY
    prior = variances[::-1] / variances.sum(0)
    weights = np.empty_like(prior)
    for k in range(true.shape[1]):
        x = np.stack([rnet[:, k], own[:, k]], axis=1)
        hold = PRIOR * np.diag((x**2).mean(0) + TINY)
        weights[:, k] = np.linalg.solve(x.T @ x + hold, x.T @ true[:, k] + hold @ prior[:, k])
    return weights[0], weights[1]
