from __future__ import annotations

import numpy as np

from facewright.models.landmarks import GROUPS, LANDMARK_COUNT, MIRROR_ORDER

# The mark-up's pairs, row by row as they are drawn in the iBUG 300-W figure.
PARTNERS = (
    [16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    + [26, 25, 24, 23, 22, 21, 20, 19, 18, 17]
    + [27, 28, 29, 30]
    + [35, 34, 33, 32, 31]
    + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    + [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55]
    + [64, 63, 62, 61, 60, 67, 66, 65]
)


def test_mirror_order() -> None:
    np.testing.assert_array_equal(MIRROR_ORDER, PARTNERS)
    np.testing.assert_array_equal(MIRROR_ORDER[MIRROR_ORDER], np.arange(LANDMARK_COUNT))


def test_groups_cover_every_landmark_once() -> None:
    covered = [i for group in GROUPS.values() for i in range(LANDMARK_COUNT)[group]]
    assert covered == list(range(LANDMARK_COUNT))


def test_groups_mirror_onto_groups() -> None:
    sets = {name: set(range(LANDMARK_COUNT)[group]) for name, group in GROUPS.items()}
    for name, members in sets.items():
        swapped = {"left": "right", "right": "left"}
        side, _, rest = name.partition("_")
        partner = f"{swapped[side]}_{rest}" if side in swapped else name
        assert {PARTNERS[i] for i in members} == sets[partner]
