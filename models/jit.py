"""One way to compile numeric kernels.

Kernels are compiled on first use and kept on disk, so that only the first process on a machine
pays for compilation.  Numba keeps them in `__pycache__` beside the source, else in the user's
cache directory; where neither can be written (a container with a read-only file system), set
`NUMBA_CACHE_DIR` to a writable directory, for example an `emptyDir` volume.  With no writable
place at all, kernels still work and every process compiles its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def kernel(function: Function) -> Function:
    """Compile `function` in nopython mode; the compiled code releases the GIL.

    Compilation is lazy: importing a module with kernels stays cheap, and a server does everything
    once before it takes requests.  Fast-math stays off: exact results at shared edges depend on
    IEEE arithmetic.  Kernels assign numbers, not slices: the message for a slice that does not
    fit takes seconds to compile.
    """
    try:
        compiled = numba.njit(function, cache=True, nogil=True, error_model="numpy")
    except RuntimeError:  # numba: "cannot cache function: no locator available"
        compiled = numba.njit(function, nogil=True, error_model="numpy")
    return cast(Function, compiled)
