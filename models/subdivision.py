"""The sparse matrix that carries a face model's cage to its mesh (compressed sparse rows).

The one product that serving needs is not worth SciPy's 110 MB in the image.  The sums are SciPy's
bit for bit; one face takes half its time, a face of many a fifth more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from facewright.models.jit import kernel

# Largest difference of a row's sum from 1: beyond it the mesh would not move with its cage.
_ROW_SUM_TOLERANCE: Final = 1e-4


class CompressedRows(Protocol):
    """What SciPy's CSR matrices and arrays have, and `Subdivision` too."""

    data: NDArray[Any]
    indices: NDArray[Any]
    indptr: NDArray[Any]
    shape: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Subdivision:
    """A sparse matrix (V, C) whose rows say of which cage vertices a vertex is the mean.

    The names are SciPy's: row v has the values `data[indptr[v]:indptr[v + 1]]` in the columns
    `indices[indptr[v]:indptr[v + 1]]`.  The arrays are read-only.  Construction raises
    ValueError for wrong shapes or dtypes, indices out of range, values that are not finite, and
    rows that do not sum to 1.
    """

    data: NDArray[np.float32]
    """(n,) weights."""
    indices: NDArray[np.int32]
    """(n,) cage vertices."""
    indptr: NDArray[np.int32]
    """(V + 1,) where each row begins, and where the last one ends."""
    shape: tuple[int, int]
    """V, C."""

    def __post_init__(self) -> None:
        for name, dtype in (("data", np.float32), ("indices", np.int32), ("indptr", np.int32)):
            array = getattr(self, name)
            if array.dtype != dtype or array.ndim != 1:
                raise ValueError(f"subdivision {name} must be (n,) {np.dtype(dtype)}")
            view = np.ascontiguousarray(array).view()
            view.setflags(write=False)
            object.__setattr__(self, name, view)
        self._validate()

    @classmethod
    def from_rows(cls, matrix: CompressedRows) -> Subdivision:
        """Take over a matrix of SciPy's `csr_matrix` or `csr_array`; its indices may be int64."""
        rows, columns = matrix.shape
        indices, indptr = (a.astype(np.int32) for a in (matrix.indices, matrix.indptr))
        return cls(matrix.data, indices, indptr, (rows, columns))

    def take(self, rows: NDArray[np.integer[Any]]) -> Subdivision:
        """Some of the rows (n,), in the given order."""
        starts = self.indptr[rows]
        counts = self.indptr[rows + 1] - starts
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        entries = np.repeat(starts - indptr[:-1], counts) + np.arange(indptr[-1])
        return Subdivision(
            self.data[entries], self.indices[entries], indptr, (len(rows), self.shape[1])
        )

    def refine(self, cages: NDArray[np.float32]) -> NDArray[np.float32]:
        """The product with cage positions or displacements (N, C, 3) float32: (N, V, 3) float32.

        Raises ValueError for another shape.
        """
        if cages.ndim != 3 or cages.shape[1:] != (self.shape[1], 3):
            raise ValueError(f"expected (N, {self.shape[1]}, 3) cages, got {cages.shape}")
        # A face model's arrays are frozen and others are not: one form, one compilation.
        view = np.ascontiguousarray(cages, np.float32).view()
        view.setflags(write=False)
        meshes = np.empty((len(cages), self.shape[0], 3), np.float32)
        _product(self.data, self.indices, self.indptr, view, meshes)
        return meshes

    def _validate(self) -> None:
        rows, columns = self.shape
        if len(self.indptr) != rows + 1 or len(self.data) != len(self.indices):
            raise ValueError(f"subdivision does not have the arrays of shape {self.shape}")
        # The kernel does not check bounds.
        counts = np.diff(self.indptr)
        if self.indptr[0] != 0 or self.indptr[-1] != len(self.data) or np.any(counts < 0):
            raise ValueError("subdivision indptr must rise from 0 to the number of weights")
        if len(self.indices) and (self.indices.min() < 0 or self.indices.max() >= columns):
            raise ValueError("subdivision indices refer to a cage vertex that does not exist")
        if not np.all(np.isfinite(self.data)):
            raise ValueError("subdivision has values that are not finite")
        sums = np.bincount(np.repeat(np.arange(rows), counts), self.data, rows)
        if np.any(np.abs(sums - 1.0) > _ROW_SUM_TOLERANCE):
            raise ValueError("every row of the subdivision must sum to 1")


@kernel
def _product(
    data: NDArray[np.float32],
    indices: NDArray[np.int32],
    indptr: NDArray[np.int32],
    cages: NDArray[np.float32],
    meshes: NDArray[np.float32],
) -> None:
    # Face by face: a cage stays in the nearest cache, where several would not.
    for n in range(cages.shape[0]):
        cage, mesh = cages[n], meshes[n]
        for row in range(mesh.shape[0]):
            x = y = z = np.float32(0.0)
            for k in range(indptr[row], indptr[row + 1]):
                weight, column = data[k], indices[k]
                x += weight * cage[column, 0]
                y += weight * cage[column, 1]
                z += weight * cage[column, 2]
            mesh[row, 0] = x
            mesh[row, 1] = y
            mesh[row, 2] = z
