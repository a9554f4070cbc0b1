"""Who is on a photo, by its name, and which people training never sees."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

PersonRule = Literal["folder", "name", "file"]
People = Literal["train", "held-out", "all"]

HELD_OUT = 0.15
"""Default share of people that training never sees."""

_HASH_BITS = 64


def person_of(name: str, rule: PersonRule | None = None) -> str:
    """The person on a photo, by the photo's path relative to its collection.

    Args:
        name: path with slashes.
        rule: "folder" takes the photo's folder, "name" the file name up to its last underscore;
            "file" takes every photo for somebody else; None takes the folder where there is
            one, and else the file name.

    Raises:
        ValueError: "folder" is asked of a photo that is in none.
    """
    path = PurePosixPath(name)
    if rule == "file":
        return str(path.with_suffix(""))
    in_folder = len(path.parts) > 1
    if rule == "folder" and not in_folder:
        raise ValueError(f"{name} is in no folder that could name a person")
    if rule == "folder" or (rule is None and in_folder):
        return path.parts[-2]
    return re.sub(r"_[^_]*$", "", path.stem)


def normalize(person: str) -> str:
    """A name without what collections spell differently: accents, case, spaces, punctuation."""
    letters = unicodedata.normalize("NFKD", person).casefold()
    return "".join(letter for letter in letters if letter.isalnum())


def is_held_out(person: str, share: float = HELD_OUT) -> bool:
    """Whether training never sees a person.

    It depends on nothing but the name (a hash of it against the share), so the same person is
    on the same side in every collection, whoever else is there; a larger share keeps everybody
    held out whom a smaller one does.

    Args:
        person: as `person_of` gives it.
        share: of people to hold out, 0..1.

    Raises:
        ValueError: `share` is not in 0..1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of held-out people must lie in 0..1, got {share}")
    digest = hashlib.sha256(normalize(person).encode()).digest()
    return int.from_bytes(digest[: _HASH_BITS // 8], "big") < share * 2**_HASH_BITS


def rows_of(
    names: Sequence[str],
    people: People,
    share: float = HELD_OUT,
    rule: PersonRule | None = None,
) -> npt.NDArray[np.int64]:
    """Rows of the photos whose people are of the asked kind, in order."""
    rows = np.arange(len(names))
    if people == "all":
        return rows
    held_out = np.array([is_held_out(person_of(name, rule), share) for name in names], bool)
    return rows[held_out == (people == "held-out")]


def number_people(persons: Sequence[str]) -> npt.NDArray[Any]:
    """Numbers (N,) int64 of people, equal where the normalized names are, in their order."""
    if not persons:
        return np.zeros(0, np.int64)
    normalized = np.array([normalize(person) for person in persons])
    return np.unique(normalized, return_inverse=True)[1].astype(np.int64)
