"""The operations that the model is written in, from the backend that `choose_backend` chose.

Importing it takes seconds and much memory, so only code that computes imports it. The modules of both backends have the
same names with the same parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from charrnn.backend import JAX, choose_backend

if TYPE_CHECKING or choose_backend() != JAX:
    from charrnn.backend.tensorflow import *
else:
    from charrnn.backend.jax import *
