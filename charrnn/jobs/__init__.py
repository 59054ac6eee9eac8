"""The contract between producer and worker: what a job is, where it is kept, how it is woken.

Imports no Keras and no TensorFlow, and of `charrnn` only its pure modules (see
docs/architecture.md). `Client` is the way in for people who submit from code.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.jobs.client import Client
    from charrnn.jobs.cron import Cron
    from charrnn.jobs.handle import JobHandle
    from charrnn.jobs.job.requests import GenerateRequest, TrainRequest
    from charrnn.jobs.job.schedule import Schedule
    from charrnn.jobs.job.states import Priority
    from charrnn.jobs.rows.row import Row
    from charrnn.jobs.rows.seeds import Seed
    from charrnn.jobs.settings import Settings
    from charrnn.options import NetworkOptions, SamplingOptions, TrainingOptions

__all__ = [
    "Client",
    "Cron",
    "GenerateRequest",
    "JobHandle",
    "NetworkOptions",
    "Priority",
    "Row",
    "SamplingOptions",
    "Schedule",
    "Seed",
    "Settings",
    "TrainRequest",
    "TrainingOptions",
]

_HOMES = {
    "Client": "charrnn.jobs.client",
    "Cron": "charrnn.jobs.cron",
    "GenerateRequest": "charrnn.jobs.job.requests",
    "JobHandle": "charrnn.jobs.handle",
    "NetworkOptions": "charrnn.options",
    "Priority": "charrnn.jobs.job.states",
    "Row": "charrnn.jobs.rows.row",
    "SamplingOptions": "charrnn.options",
    "Schedule": "charrnn.jobs.job.schedule",
    "Seed": "charrnn.jobs.rows.seeds",
    "Settings": "charrnn.jobs.settings",
    "TrainRequest": "charrnn.jobs.job.requests",
    "TrainingOptions": "charrnn.options",
}


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'charrnn.jobs' has no attribute {name!r}")
