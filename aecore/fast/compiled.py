"""Kernels compiled by numba, which keeps them on disk where it can."""

import warnings
from collections.abc import Callable
from tempfile import TemporaryFile
from typing import Any

ROOM = 400_000  # bytes, more than the machine code of a kernel
Kernel = Callable[..., None]


def compiled(*signature: str, **options: Any) -> Callable[[Kernel], Kernel]:
    """A decorator as `numba.njit`: the machine code stays on disk for the next process.

    Where numba can keep it nowhere, it is compiled by each process again, with a warning.
    """
    from numba import njit

    def compile(kernel: Kernel) -> Kernel:
        try:
            made = njit(*signature, cache=True, nogil=True, **options)(kernel)
            with TemporaryFile(dir=made.stats.cache_path) as file:
                file.write(bytes(ROOM))  # numba writes later, and would stop on a full disk
            return made
        except (RuntimeError, OSError) as error:
            if isinstance(error, RuntimeError) and "cannot cache" not in str(error):
                raise
            warnings.warn(
                "compiled kernels can't be kept, so that every process compiles them again: "
                f"set NUMBA_CACHE_DIR to a folder that can be written ({error})",
                stacklevel=1,
            )
            return njit(*signature, nogil=True, **options)(kernel)

    return compile
