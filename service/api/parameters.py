"""The options of a request: in its query, its form or its JSON, each in one place and once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams

from facewright.service.errors import InvalidParameter
from facewright.service.options import explain, takes_several

Options = TypeVar("Options", bound=BaseModel)


class Asked(Generic[Options]):
    """What a query asks for, checked before the body is read.

    Raises `InvalidParameter`, as all methods do.
    """

    def __init__(self, kind: type[Options], query: QueryParams) -> None:
        self._kind = kind
        self._query = merge_texts(kind, query.multi_items())
        _validate(kind, self._query)

    def together_with(self, body: Mapping[str, Any], *, texts: bool) -> Options:
        """The options of the query and those of the body.

        texts: the body's values are texts, as a query's; else they are JSON's.
        """
        twice = [name for name in body if name in self._query]
        if twice:
            raise invalid([(name, "is in the query and in the body") for name in twice])
        if not texts:
            _validate(self._kind, body, strict=True)
        return _validate(self._kind, {**self._query, **body})


def merge_texts(kind: type[BaseModel], pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Names and texts as one value for each name.

    Raises `InvalidParameter` for a name that comes twice and is no list.
    """
    merged: dict[str, Any] = {}
    for name, text in pairs:
        if takes_several(kind, name):
            merged.setdefault(name, []).append(text)
        elif name in merged:
            raise invalid([(name[:64], "is there more than once")])
        else:
            merged[name] = text
    return merged


def invalid(fields: list[tuple[str, str]]) -> InvalidParameter:
    """What is raised for parameters, each with what is wrong with it."""
    return InvalidParameter("; ".join(f"{name} {problem}" for name, problem in fields), fields)


def query_parameters(kind: type[BaseModel]) -> list[dict[str, Any]]:
    """OpenAPI's `parameters` for options in the query."""
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema.pop("description"),
            "schema": schema,
        }
        for name, schema in _properties(kind).items()
    ]


def body_properties(kind: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """OpenAPI's `properties` for options in a form or in JSON.

    Without defaults, which generated clients would send: they send those of the query.
    """
    properties = _properties(kind)
    for schema in properties.values():
        schema.pop("default", None)
    return properties


def _properties(kind: type[BaseModel]) -> dict[str, dict[str, Any]]:
    properties: dict[str, dict[str, Any]] = kind.model_json_schema()["properties"]
    for schema in properties.values():
        schema["description"] = " ".join(schema["description"].split())
    return properties


def _validate(
    kind: type[Options], values: Mapping[str, Any], *, strict: bool | None = None
) -> Options:
    try:
        return kind.model_validate(values, strict=strict)
    except ValidationError as error:
        raise invalid(explain(kind, error)) from None
