"""numpy, imported without the threads of its BLAS library, since no matrices are multiplied here."""

import os

__all__ = ["NDArray", "np"]

_THREADS = "OPENBLAS_NUM_THREADS"

_is_given = _THREADS in os.environ
os.environ.setdefault(_THREADS, "1")  # only read now: the threads spin for 60 ms, and none survives a fork
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

if not _is_given:
    del os.environ[_THREADS]
