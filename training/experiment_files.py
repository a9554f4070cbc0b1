"""Experiments as YAML files: named ones that come along, or a path; checked by pydantic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class ExperimentError(ValueError):
    """A setting is unknown, makes no sense or contradicts another; the message names it."""


class Settings(BaseModel):
    """A group of settings: unknown names are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Settings)
L = TypeVar("L", bound="Lasting")


class Lasting(Settings):
    """A run that lasts for a time or for a number of something; one is set when it starts.

    Attributes:
        counted: name of the setting that is the number.
        minutes: length in time.
    """

    counted: ClassVar[str]
    minutes: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one_length(self: L) -> L:
        if self.minutes is not None and getattr(self, self.counted) is not None:
            raise ValueError(f"set minutes or {self.counted}, not both")
        return self

    def lasting(self: L, minutes: float | None, count: int | None) -> L:
        """The same with another length, where one is given.

        Raises:
            ExperimentError: both are given, or there is no length at all.
        """
        plain = self.model_dump(mode="json")
        if minutes is not None or count is not None:
            plain |= {"minutes": minutes, self.counted: count}
        if plain["minutes"] is None and plain[self.counted] is None:
            raise ExperimentError(f"the experiment has no length: give minutes or {self.counted}")
        return checked(type(self), plain, "length of the run")

    def progress(self, count: int, seconds: float) -> float:
        """Part of the run that is done, by number or by time; 1 or more at its end."""
        if self.minutes is not None:
            return seconds / (60 * self.minutes)
        return count / float(getattr(self, self.counted))


def names_in(folder: Path) -> list[str]:
    """Names of the experiments in a folder."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def read_settings(kind: type[S], source: str, folder: Path) -> S:
    """The experiment of a name in `folder`, or of a YAML file.

    Raises:
        ExperimentError: neither a name nor a file, or the file has unknown settings or values
            that make no sense.
    """
    path = folder / f"{source}.yaml" if source in names_in(folder) else Path(source)
    if not path.is_file():
        known = ", ".join(names_in(folder))
        raise ExperimentError(f"{source}: no such experiment or file; experiments are {known}")
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise ExperimentError(f"{path}: not YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise ExperimentError(f"{path}: expected a mapping of settings")
    return checked(kind, content, str(path))


def checked(kind: type[S], content: Mapping[str, Any], source: str) -> S:
    """Settings of plain values; `source` stands in front of what is wrong with them.

    Raises:
        ExperimentError: a setting is unknown or its value makes no sense.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ExperimentError(f"{source}: {problems_of(error)}") from error


def problems_of(error: ValidationError) -> str:
    """What is wrong with which settings, in a line."""
    problems = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        unknown = problem["type"] in ("extra_forbidden", "unexpected_keyword_argument")
        message = "unknown setting" if unknown else problem["msg"].removeprefix("Value error, ")
        problems.append(f"{name}: {message}" if name else message)
    return "; ".join(problems)
