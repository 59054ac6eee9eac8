"""Metrics of a store for Prometheus."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from charrnn.errors import InputError
from charrnn.jobs.connections import Connections

if TYPE_CHECKING:
    from charrnn.jobs.upkeep.metrics.scrape import Exposition


def open_exposition(connections: Connections) -> Exposition:
    """Return the metrics of a store.

    Raises:
        InputError: the extra is not installed.
    """
    if find_spec("prometheus_client") is None:
        raise InputError("Metrics require the extra `metrics`. Install it: pip install '.[metrics]' in the clone")
    from charrnn.jobs.upkeep.metrics.scrape import Exposition

    return Exposition(connections)
