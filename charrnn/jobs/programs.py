"""Exit codes of all programs, and the options of a worker, which the command line passes on to it."""

from __future__ import annotations

from charrnn.errors import CharrnnError, InputError, NotFinishedError, NotFoundError, UnreachableError

JOB_FAILED = 1
BAD_INPUT = 2  # also Typer's code for wrong usage
NOT_FOUND = 3
UNREACHABLE = 4
NOT_FINISHED = 5
INTERRUPTED = 130
TERMINATED = 143

EXIT_CODES: tuple[tuple[type[CharrnnError], int], ...] = (
    (InputError, BAD_INPUT),
    (NotFoundError, NOT_FOUND),
    (UnreachableError, UNREACHABLE),
    (NotFinishedError, NOT_FINISHED),
    (CharrnnError, JOB_FAILED),
)

DEVICES, DEVICES_HELP = "auto", "Devices: auto, cpu, gpu, or GPU ids such as 0,1; 0*3 starts 3 processes on GPU 0."
QUEUES, QUEUES_HELP = "train,generate", "Queues to serve, with commas between: train, generate."
LOG_FORMAT, LOG_FORMAT_HELP = "text", "Log format: text, or json with one object per line."
METRICS = "--metrics"
METRICS_HELP = "Serve metrics for Prometheus at http://HOST:PORT/metrics, such as 127.0.0.1:9464."
PARENT = "--parent"  # passed to a worker with the process id of `up`, with which it ends


def exit_code(error: CharrnnError) -> int:
    """Return the exit code of a program that ends because of this error."""
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))
