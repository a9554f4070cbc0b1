from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from facewright.training.face_model.cage import MM_PER_UNIT
from facewright.training.face_model.people import (
    JUVENILE,
    POPULATION_SHARES,
    POPULATIONS,
    Control,
    Population,
    find_controls,
    macro_names,
    macro_weights,
    reference_head,
)
from facewright.training.face_model.warps import WARPS


def test_controls_pair_opposite_targets(toy_sources) -> None:
    controls = {control.name: control for control in find_controls(toy_sources)}
    assert controls["nose/nose-base-up"] == Control("nose/nose-base-up", "nose/nose-base-down")
    assert controls["nose/nose-trans-out"].minus == "nose/nose-trans-in"
    assert controls["eyes/l-eye-scale-incr"].minus == "eyes/l-eye-scale-decr"
    assert controls["asym/asym-jaw-1-r"].minus == "asym/asym-jaw-1-l"
    assert controls["head/head-oval"].minus is None
    assert "head/head-age-incr" not in controls
    assert set(WARPS) <= set(controls)


def test_macro_weights_are_shares() -> None:
    weights = macro_weights(np.array([0.2, 0.3, 0.5]), 0.4, {"young": 0.7, "old": 0.3}, 0.5, -0.2)
    assert set(weights) <= set(macro_names())
    populations = [v for k, v in weights.items() if "universal" not in k]
    universal = [v for k, v in weights.items() if "universal" in k]
    assert sum(populations) == pytest.approx(1)
    assert sum(universal) == pytest.approx(1)
    assert weights["macrodetails/asian-male-old"] == pytest.approx(0.5 * 0.4 * 0.3)
    assert weights["macrodetails/universal-female-young-maxmuscle-minweight"] == pytest.approx(
        0.6 * 0.7 * 0.5 * 0.2
    )


def test_samples_are_reproducible_and_spread_as_asked(toy_sources) -> None:
    population = Population(toy_sources, {}, {"nose/nose-base-up": 0.5})
    people = population.sample(np.random.default_rng(3), 4000)
    again = population.sample(np.random.default_rng(3), 4000)
    np.testing.assert_array_equal(people.local, again.local)
    np.testing.assert_array_equal(people.macro, again.macro)
    names = [control.name for control in population.controls]
    plain = Population(toy_sources, {}, {})
    column = names.index("nose/nose-base-up")
    assert population.sigma[column] == pytest.approx(0.5 * plain.sigma[column])
    assert people.local[:, column].std() == pytest.approx(population.sigma[column], rel=0.05)
    left, right = (people.local[:, names.index(f"eyes/{s}-eye-scale-incr")] for s in "lr")
    assert np.corrcoef(left, right)[0, 1] > 0.95
    assert people.local[:, names.index("head/head-oval")].min() >= 0
    np.testing.assert_allclose(people.populations.mean(axis=0), POPULATION_SHARES, atol=0.03)
    assert np.mean(people.child > 0) == pytest.approx(JUVENILE, abs=0.03)
    assert people.baby.max() > 0.8
    assert not np.any((people.child > 0) & (people.old > 0))
    assert (people.child + people.baby + people.old).max() <= 1 + 1e-9
    some = people.take(np.array([3, 5]))
    np.testing.assert_array_equal(some.macro, people.macro[[3, 5]])


def test_heads_are_weighted_sums_of_targets(toy_sources) -> None:
    name = "nose/nose-base-up"
    offsets = {POPULATIONS[0]: {name: 0.3}, POPULATIONS[2]: {name: -0.6}}
    population = Population(toy_sources, offsets, {})
    people = population.sample(np.random.default_rng(0), 5)
    n = len(toy_sources.mesh.vertices)
    heads = population.heads(people, sp.identity(n, format="csr"))
    person = 2
    expected = toy_sources.mesh.vertices.copy()
    for target, weight in zip(population.macros, people.macro[person], strict=True):
        expected += weight * toy_sources.target(target)
    shares = people.populations[person]
    for control, weight in zip(population.controls, people.local[person], strict=True):
        if control.name in WARPS:
            continue
        if control.name == name:
            weight += 0.3 * shares[0] - 0.6 * shares[2]
        target = control.plus if weight > 0 else control.minus
        if target is not None:
            expected += abs(weight) * toy_sources.target(target)
    # The toy mesh lies far from the warps' bumps; what is left of them is measured apart.
    _, plus, _ = population.displacements(sp.identity(n, format="csr"))
    for column, control in enumerate(population.controls):
        if control.name in WARPS:
            expected += people.local[person, column] * plus[column] / MM_PER_UNIT
    np.testing.assert_allclose(
        heads[person], expected * MM_PER_UNIT * people.size[person], rtol=1e-4, atol=1e-3
    )


def test_an_unknown_control_is_refused(toy_sources) -> None:
    with pytest.raises(KeyError, match="no-such"):
        Population(toy_sources, {POPULATIONS[0]: {"no-such": 1.0}}, {})
    with pytest.raises(KeyError, match="neither"):
        Population(toy_sources, {}, {"neither": 1.0})


def test_the_reference_head_is_symmetric(toy_sources) -> None:
    head = reference_head(toy_sources)
    mirror = toy_sources.mesh.mirror
    np.testing.assert_allclose(head[mirror] * [-1, 1, 1], head, atol=1e-12)
