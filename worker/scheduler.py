"""Maintenance and schedules only: `python -m worker.scheduler [--log-format text|json] [--metrics HOST:PORT]`.

Any number may run.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from threading import Event, Thread, Timer

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # instead of a traceback of the imports, which take a second

from charrnn.errors import CharrnnError
from charrnn.jobs import streams
from charrnn.jobs.connections import Connections
from charrnn.jobs.programs import METRICS, METRICS_HELP, exit_code
from charrnn.jobs.schedules import Schedules
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.leases import Leases
from charrnn.jobs.store.scheduled.duties import look
from charrnn.jobs.upkeep.maintenance import maintain, tidy
from charrnn.jobs.upkeep.metrics.server import MetricsServer
from worker import logs

logger = logging.getLogger("scheduler")

END_S = 1.0  # from Ctrl-C to the end


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="charrnn-jobs scheduler", description="Run maintenance and schedules only.")
    logs.add_option(parser)
    parser.add_argument(METRICS, default="", help=METRICS_HELP)
    streams.prepare()
    options = parser.parse_args(arguments)
    logs.begin(options.log_format)
    try:
        run(Settings.from_env(os.environ), options.metrics)
        return 0
    except KeyboardInterrupt:
        return 0
    except CharrnnError as error:
        logs.fail(error)
        return exit_code(error)


def run(settings: Settings, metrics: str = "") -> None:
    """Run maintenance every `maintain_s` seconds and check the schedules in between, until Ctrl-C.

    If the broker or the store stops answering, wait for it.

    Args:
        metrics: the host and port on which to serve metrics; empty: none are served.

    Raises:
        InputError, UnreachableError: only at the start.
    """
    connections = Connections(settings)
    server = MetricsServer(connections, metrics) if metrics else None
    connections.probe()
    if server:
        server.start()
        host, port = server.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        logger.info("metrics at http://%s:%s/metrics", shown, port, extra={"event": "metrics"})
    store, queue, schedules = connections.store, connections.queue, Schedules(connections)
    leases = Leases(store, settings.lease_s)
    stopped = _stop_at_ctrl_c()
    logger.info("scheduler ready: maintenance every %g s", settings.maintain_s, extra={"event": "ready"})
    while True:
        try:
            due = look(store, round(settings.maintain_s * 1000))
            if due.maintenance:
                maintain(store, leases, queue, settings.maintain_s)
            if due.tidying:  # in a thread of its own: deleting old results may take hours
                Thread(target=_tidy, args=(connections,), name="tidy", daemon=True).start()
            schedules.give_up_late()
            if due.schedules:
                schedules.tick()
        except CharrnnError as error:
            logger.warning("%s", error)
        except Exception:  # keep running, as the workers do
            logger.exception("maintenance or schedules failed")
        if stopped.wait(settings.look_s):
            return


def _tidy(connections: Connections) -> None:
    try:
        tidy(connections.store, connections.files, connections.settings.retention_days)
    except CharrnnError as error:
        logger.warning("%s", error)
    except Exception:  # nobody waits for this thread
        logger.exception("tidying failed")


def _stop_at_ctrl_c() -> Event:
    """Return an event that Ctrl-C sets: as an exception it can be lost, in a destructor or a callback of a library.

    After END_S the process ends in any case: it may wait for a database that does not answer. Whatever is open there is
    a transaction, of which nothing is left.
    """
    stopped = Event()

    def stop(*_: object) -> None:
        stopped.set()
        timer = Timer(END_S, os._exit, [0])
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGINT, stop)
    return stopped


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
