"""A scrape: store, broker and files are asked at once. One that does not answer in time is down, and hides no other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from charrnn.errors import CharrnnError
from charrnn.jobs.connections import Connections
from charrnn.jobs.upkeep.metrics.definitions import Families
from charrnn.jobs.upkeep.metrics.readings import read_broker, read_files, read_store
from charrnn.release import release

logger = logging.getLogger(__name__)

PATIENCE_S = 5.0  # seconds that all have to answer; Prometheus waits for 10 by default
FRESH_S = 1.0  # age in seconds up to which an answer is given again: any number of clients cost one reading a second
OPENMETRICS = "application/openmetrics-text"

Read = Callable[[Families], None]


@dataclass
class _Reading:
    """One reading, in a thread of its own, since a file system that hangs blocks a thread for ever."""

    families: Families = field(default_factory=Families)
    ended: Future[float] = field(default_factory=Future)  # its seconds

    def run(self, read: Read) -> None:
        begun = time.monotonic()
        try:
            read(self.families)
        except Exception as error:  # for the scrape that waits
            self.ended.set_exception(error)
        else:
            self.ended.set_result(time.monotonic() - begun)


class Service:
    """Store, broker or files: what a scrape reads.

    Args:
        read: adds what it knows to the metrics, and raises an error of any type.
    """

    def __init__(self, name: str, read: Read) -> None:
        self.name, self._read = name, read
        self._reading: _Reading | None = None
        self._logged = ""

    def begin(self) -> None:
        """Begin a reading, unless one still hangs: each would keep a thread and a connection."""
        if self._reading is None or self._reading.ended.done():
            self._reading = reading = _Reading()
            threading.Thread(target=reading.run, args=(self._read,), name=f"read {self.name}", daemon=True).start()

    def result(self, deadline: float, families: Families) -> Iterable[Metric]:
        """Wait for the reading until a time of the monotonic clock. Set whether it ended, and return its metrics."""
        assert self._reading  # noqa: S101
        reading, error = self._reading, ""
        try:
            seconds = reading.ended.result(max(0.0, deadline - time.monotonic()))
            families.set("charrnn_probe_seconds", seconds, self.name)
        except TimeoutError:
            error = f"no answer within {PATIENCE_S:g} s"
        except Exception as failure:
            error = str(failure) or type(failure).__name__
            if not isinstance(failure, CharrnnError) and error != self._logged:
                logger.exception("metrics: %s cannot be read", self.name)
        if error and error != self._logged:  # log it once, not in each scrape
            logger.warning("metrics: %s is down: %s", self.name, error)
        self._logged = error
        families.set("charrnn_up", 0 if error else 1, self.name)
        return list(reading.families.known()) if reading.ended.done() else ()  # a hanging one may still add some


class Metrics(Collector):
    """The metrics of one store, broker and files, for a registry of prometheus-client."""

    def __init__(self, connections: Connections) -> None:
        reads = {"store": read_store, "broker": read_broker, "files": read_files}
        self._services = [Service(name, partial(read, connections)) for name, read in reads.items()]
        self._lock = threading.Lock()
        self._last: list[Metric] = []
        self._last_at = float("-inf")

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics. It raises no error."""
        with self._lock:
            if time.monotonic() - self._last_at > FRESH_S:
                self._last, self._last_at = self._scrape(), time.monotonic()
            return iter(self._last)

    def _scrape(self) -> list[Metric]:
        own = Families()
        own.set("charrnn_build_info", 1, release())
        deadline = time.monotonic() + PATIENCE_S
        for service in self._services:
            service.begin()
        found = [metric for service in self._services for metric in service.result(deadline, own)]
        return [*own.known(), *found]


class Exposition:
    """The metrics as text, in OpenMetrics for clients that accept it, and otherwise in Prometheus's older format."""

    def __init__(self, connections: Connections) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(Metrics(connections))

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the text and its content type.

        Args:
            accept: the client's Accept header. prometheus-client's own reading of it raises errors for some versions.
        """
        if OPENMETRICS in accept:
            text: bytes = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]
            return text, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4
