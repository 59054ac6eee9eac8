"""The task behind a doorbell: claim a part and run it, or report why it failed.

TensorFlow is imported by the work itself, or by the check of the GPU before it. Both run in the pool's child and never
in the parent: a fork of an initialized TensorFlow hangs, and a child must have its device by then.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import time
from typing import NoReturn

from charrnn.errors import InputError, LeaseLostError, TrainingError, UnreachableError
from charrnn.jobs import tracing
from charrnn.jobs.faults import crash_point
from charrnn.jobs.job.part import Part
from charrnn.jobs.job.sizing import device_kind
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.states import PartState
from worker.child import Child
from worker.devices import CPU, finds_gpu
from worker.heartbeat import Heartbeat
from worker.logs import about
from worker.parts.generation import BadSeedsError, generate
from worker.parts.training import KeptTrainings, train
from worker.parts.watch import LOADING, PATIENCE, RESTART_PAUSE_S, Interrupted, Watch, is_draining

logger = logging.getLogger(__name__)


class Current:
    """The pool child that this process is. Set once, after the fork."""

    child: Child
    heartbeat: Heartbeat
    kept: KeptTrainings


def begin(child: Child, heartbeat: Heartbeat) -> None:
    """Make this process the given child and start its heartbeat."""
    Current.child, Current.heartbeat, Current.kept = child, heartbeat, KeptTrainings()
    heartbeat.start()


def work(queue: str) -> None:
    """Answer a doorbell: claim a part and run it. If the doorbell is late or surplus, no part waits.

    A training job keeps the device for a slice. While a training job waits, generate parts may also keep the device for
    that long: otherwise each small job would have to wait for one slice. The doorbells of the parts that are done
    meanwhile become surplus.
    """
    child = Current.child
    if child.device != CPU and not _has_gpu(child):
        _end(child, queue, "the backend finds no GPU, so no work is claimed")
    ends = time.monotonic() + child.settings.slice_s
    while _do_next(child, queue) and queue == GenerateSpec.QUEUE and child.leases.waits(TrainSpec.QUEUE):
        if time.monotonic() > ends or is_draining():
            return


def _has_gpu(child: Child) -> bool:
    """Return whether the backend finds the GPU. Called before each claim; only the first call costs time.

    A call that hangs ends the process, since no part is being watched yet.
    """
    faulthandler.dump_traceback_later(child.settings.stall_s * PATIENCE[LOADING], exit=True)
    try:
        return finds_gpu()
    except Exception:
        logger.exception("the backend cannot be imported")
        return False
    finally:
        faulthandler.cancel_dump_traceback_later()


def _end(child: Child, queue: str, reason: str) -> NoReturn:
    """Ring for another child and end this process, whose TensorFlow looks for GPUs only once."""
    logger.error("device %s: %s; restarting this process", child.device, reason)
    child.ring(queue)
    tracing.flush()
    time.sleep(RESTART_PAUSE_S)
    os._exit(1)


def _do_next(child: Child, queue: str) -> bool:
    """Claim a part and run it. Return False if none waits."""
    began = time.time_ns()
    part = child.leases.claim(queue, child.owner, device_kind(child.device))
    if part is None:
        return False
    claimed = about(part, "claimed")
    logger.info("job %d part %d: claimed, attempt %d", part.job, part.number, part.attempt, extra=claimed)
    with Current.heartbeat.watching(part) as watch, watch.trace.recorded(child, part):
        watch.trace.claimed(began)
        crash_point("claimed", part.number)
        _ring_on(child, queue)
        try:
            again = _attempt(child, part, watch)
            crash_point("committed", part.number)
        except LeaseLostError as error:
            watch.trace.end("lost", error)
            logger.warning("%s", error, extra=about(part, "lost"))
            return True
    if again:
        child.ring(queue)
    return True


def _ring_on(child: Child, queue: str) -> None:
    """Ring once if more parts wait and no doorbell is left.

    This happens before the work begins: meanwhile other children are idle, and the doorbell would be lost if this one
    died. The part is already leased then, since a broker that hangs takes 20 s.
    """
    try:
        if not is_draining() and child.queue.lengths()[queue] == 0 and child.leases.waits(queue):
            child.ring(queue)
    except UnreachableError:
        pass  # maintenance rings later
    except Exception:  # a doorbell that cannot be sent must not fail the part
        logger.exception("no notification was sent to queue %s", queue)


def _attempt(child: Child, part: Part, watch: Watch) -> bool:
    """Run a part and commit how it ended. Return whether it went back to the queue."""
    try:
        if isinstance(part.spec, GenerateSpec):
            generate(child, part, part.spec, watch)
        else:
            train(child, part, part.spec, watch, Current.kept)
        return False
    except LeaseLostError:
        raise
    except BadSeedsError as error:
        watch.trace.end("failed", error)
        logger.warning("job %d part %d: %s", part.job, part.number, error, extra=about(part, "failed"))
        return PartState.QUEUED in child.leases.fail_rows(part, error.found)
    except Interrupted:
        watch.trace.end("released")
        state = child.leases.release(part)
        logger.info("job %d part %d: released", part.job, part.number, extra=about(part, "released"))
        return state == PartState.QUEUED
    except Exception as error:
        watch.trace.end("failed", error)
        failed = about(part, "failed")
        logger.exception("job %d part %d: attempt %d failed", part.job, part.number, part.attempt, extra=failed)
        reason = f"{type(error).__name__}: {error}"
        permanent = _is_permanent(error)
        again = child.leases.fail(part, reason, permanent=permanent) == PartState.QUEUED
        if child.device != CPU and not permanent:  # the GPU may be lost: it would fail every part three times
            _end(child, part.spec.QUEUE, "the attempt failed")
        return again


def _is_permanent(error: Exception) -> bool:
    """Return whether any further attempt would fail too. An error of a disk or a network file system may pass."""
    return isinstance(error, InputError | TrainingError) and not isinstance(error.__cause__, OSError)
