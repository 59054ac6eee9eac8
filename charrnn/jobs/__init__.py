"""The contract between producer and worker: what a job is, where it is kept, how it is woken.

Imports no Keras and no TensorFlow, and of `charrnn` only its pure modules (see
docs/architecture.md). `Client` is the way in for people who submit from code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.jobs.client import Client
    from charrnn.jobs.settings import Settings

__all__ = ["Client", "Settings"]


def __getattr__(name: str) -> Any:
    if name == "Client":
        from charrnn.jobs.client import Client

        return Client
    if name == "Settings":
        from charrnn.jobs.settings import Settings

        return Settings
    raise AttributeError(f"module 'charrnn.jobs' has no attribute {name!r}")
