"""Reading networks from TensorFlow Lite files, without TensorFlow.

A TFLite file is a FlatBuffer (google.github.io/flatbuffers/internals) of the schema
`tensorflow/lite/schema/schema.fbs`: tables whose fields are found through a table of offsets.
Only what a network of floats is made of is read: tensors, weights, operators and their options.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_DTYPES = {0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 4: np.int64}

OPERATORS = {
    0: "ADD",
    2: "CONCATENATION",
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    6: "DEQUANTIZE",
    17: "MAX_POOL_2D",
    19: "RELU",
    22: "RESHAPE",
    23: "RESIZE_BILINEAR",
    34: "PAD",
    54: "PRELU",
}
"""Those of the schema's built-in operators that a caller may meet, by their codes."""


class Tensor(NamedTuple):
    """A tensor of a network."""

    name: str
    shape: tuple[int, ...]
    constant: npt.NDArray[Any] | None
    """Its values, when they are stored in the file."""


class Table:
    """A table of a FlatBuffer; fields are named by their place in the schema.

    Raises `struct.error`, IndexError or ValueError where the bytes are no such table.
    """

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position
        self._offsets = position - _read(data, "<i", position)
        self._fields = (_read(data, "<H", self._offsets) - 4) // 2

    def _place(self, field: int) -> int:
        """Where the field lies; 0 when it is not stored."""
        if field >= self._fields:
            return 0
        offset = _read(self._data, "<H", self._offsets + 4 + 2 * field)
        return self._position + offset if offset else 0

    def integer(self, field: int, form: str = "i", default: int = 0) -> int:
        """A number; `form` is its format in `struct`."""
        place = self._place(field)
        return _read(self._data, "<" + form, place) if place else default

    def table(self, field: int) -> Table | None:
        """A table within; None when it is not stored."""
        place = self._place(field)
        return Table(self._data, self._target(place)) if place else None

    def tables(self, field: int) -> list[Table]:
        """A list of tables."""
        start, count = self._vector(field)
        return [Table(self._data, self._target(start + 4 * i)) for i in range(count)]

    def array(self, field: int, dtype: Any) -> npt.NDArray[Any]:
        """A list of numbers, (N,)."""
        start, count = self._vector(field)
        return np.frombuffer(self._data, dtype, count, start)

    def text(self, field: int) -> str:
        """A string."""
        return self.array(field, np.uint8).tobytes().decode()

    def _vector(self, field: int) -> tuple[int, int]:
        place = self._place(field)
        if not place:
            return 0, 0
        start = self._target(place)
        return start + 4, _read(self._data, "<I", start)

    def _target(self, place: int) -> int:
        return place + _read(self._data, "<I", place)


class Operator(NamedTuple):
    """A step of a network."""

    kind: str
    """Of `OPERATORS`."""
    inputs: tuple[int, ...]
    """Places in the list of tensors; -1 is one that is left out."""
    outputs: tuple[int, ...]
    options: Table | None


class Network(NamedTuple):
    """A network with one graph."""

    tensors: list[Tensor]
    operators: list[Operator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_network(data: bytes) -> Network:
    """Read a TFLite file.  Raises ValueError when it is none, or holds what is not read here."""
    if data[4:8] != b"TFL3":
        raise ValueError("not a TensorFlow Lite file")
    try:
        model = Table(data, _read(data, "<I", 0))
        codes = [_code(table) for table in model.tables(1)]
        buffers = model.tables(4)
        (graph,) = model.tables(2)
        return Network(
            [_tensor(table, buffers) for table in graph.tables(0)],
            [
                Operator(
                    codes[table.integer(0, "I")],
                    _places(table, 1),
                    _places(table, 2),
                    table.table(4),
                )
                for table in graph.tables(3)
            ],
            _places(graph, 1),
            _places(graph, 2),
        )
    except (struct.error, IndexError, KeyError) as error:
        raise ValueError(f"an unknown or broken TensorFlow Lite file: {error!r}") from error


def _code(table: Table) -> str:
    # Codes above 127 do not fit into the field of the schema's first version.
    return OPERATORS[max(table.integer(0, "b"), table.integer(3))]


def _tensor(table: Table, buffers: list[Table]) -> Tensor:
    shape = _places(table, 0)
    values = buffers[table.integer(2, "I")].array(0, np.uint8)
    if not len(values):
        return Tensor(table.text(3), shape, None)
    constant = values.view(_DTYPES[table.integer(1, "b")]).reshape(shape)
    return Tensor(table.text(3), shape, constant)


def _places(table: Table, field: int) -> tuple[int, ...]:
    return tuple(int(number) for number in table.array(field, np.int32))


def _read(data: bytes, form: str, position: int) -> int:
    return int(struct.unpack_from(form, data, position)[0])
