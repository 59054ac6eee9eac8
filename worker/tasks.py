"""The task behind a doorbell: claim a part, do it, or say why not.

TensorFlow is imported by the work itself, or for a look at the GPU before it, in the pool's child and never in the
parent: a fork of an initialised TensorFlow hangs, and a child must have its device by then.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import time
from contextlib import suppress
from typing import NoReturn

from charrnn.errors import InputError, LeaseLostError, TrainingError, UnreachableError
from charrnn.jobs.faults import crash_point
from charrnn.jobs.job.part import Part
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.states import PartState
from charrnn.jobs.queue import TASK
from worker.app import app
from worker.devices import CPU, sees_gpu
from worker.heartbeat import LOADING, PATIENCE, RESTART_PAUSE_S, Heartbeat, Interrupted, Watch, is_draining
from worker.logs import about
from worker.parts.generation import generate
from worker.parts.training import train

logger = logging.getLogger(__name__)


class Child:
    """What a pool's child holds; set once, after the fork."""

    heartbeat: Heartbeat


@app.task(name=TASK)  # type: ignore[untyped-decorator]
def work(queue: str) -> None:
    """Answer a doorbell. It may be late or one too many: then nothing waits.

    A training keeps the device for a slice, so sampling before which one waits may keep it as long: else each small job
    would wait for a slice of its own. The doorbells of what is done meanwhile are then too many.
    """
    heartbeat = Child.heartbeat
    if heartbeat.device != CPU and not _has_gpu(heartbeat):
        _end(heartbeat, queue, "TensorFlow finds no GPU there, and nothing is claimed")
    ends = time.monotonic() + heartbeat.settings.slice_s
    while _do_next(heartbeat, queue) and queue == GenerateSpec.QUEUE and heartbeat.leases.waits(TrainSpec.QUEUE):
        if time.monotonic() > ends or is_draining():
            return


def _has_gpu(heartbeat: Heartbeat) -> bool:
    """Look before each claim; all but the first look cost nothing. One that hangs, for which no part's watch waits yet,
    ends the process."""
    faulthandler.dump_traceback_later(heartbeat.settings.stall_s * PATIENCE[LOADING], exit=True)
    try:
        return sees_gpu()
    except Exception:
        logger.exception("TensorFlow cannot be imported")
        return False
    finally:
        faulthandler.cancel_dump_traceback_later()


def _end(heartbeat: Heartbeat, queue: str, reason: str) -> NoReturn:
    """Leave the doorbell to others and end this process: its TensorFlow looks for GPUs but once."""
    logger.error("device %s: %s; this process ends, and another one looks", heartbeat.device, reason)
    with suppress(UnreachableError):  # then maintenance rings
        heartbeat.queue.ring(queue, 1)
    time.sleep(RESTART_PAUSE_S)
    os._exit(1)


def _do_next(heartbeat: Heartbeat, queue: str) -> bool:
    """Claim a part and do it -> False if none waits."""
    part = heartbeat.leases.claim(queue, heartbeat.owner)
    if part is None:
        return False
    claimed = about(part, "claimed")
    logger.info("job %d part %d: claimed, attempt %d", part.job, part.number, part.attempt, extra=claimed)
    with heartbeat.watching(part) as watch:
        crash_point("claimed", part.number)
        _ring_on(heartbeat, queue)
        try:
            again = _attempt(heartbeat, part, watch)
            crash_point("committed", part.number)
        except LeaseLostError as error:
            logger.warning("%s", error, extra=about(part, "lost"))
            return True
    if again:
        heartbeat.queue.ring(queue, 1)
    return True


def _ring_on(heartbeat: Heartbeat, queue: str) -> None:
    """Ring once if more parts wait and no doorbell is left, before the work begins: other children are idle meanwhile,
    and a doorbell would die with this one. On a lease already, since a broker that stands still takes 20 s of it."""
    with suppress(UnreachableError):  # then maintenance rings
        if heartbeat.queue.lengths()[queue] == 0 and heartbeat.leases.waits(queue):
            heartbeat.queue.ring(queue, 1)


def _attempt(heartbeat: Heartbeat, part: Part, watch: Watch) -> bool:
    """Do a part, commit how it ended -> whether it went back to the queue."""
    try:
        if isinstance(part.spec, GenerateSpec):
            generate(heartbeat, part, part.spec, watch)
        else:
            train(heartbeat, part, part.spec, watch)
        return False
    except LeaseLostError:
        raise
    except Interrupted:
        state = heartbeat.leases.release(part)
        logger.info("job %d part %d: given back", part.job, part.number, extra=about(part, "released"))
        return state == PartState.QUEUED
    except Exception as error:
        failed = about(part, "failed")
        logger.exception("job %d part %d: attempt %d failed", part.job, part.number, part.attempt, extra=failed)
        reason = f"{type(error).__name__}: {error}"
        permanent = _is_permanent(error)
        again = heartbeat.leases.fail(part, reason, permanent=permanent) == PartState.QUEUED
        if heartbeat.device != CPU and not permanent:  # of a lost GPU: it would fail all parts, three times each
            _end(heartbeat, part.spec.QUEUE, "the attempt failed")
        return again


def _is_permanent(error: Exception) -> bool:
    """No further attempt would end otherwise. What a disk or a network file system refuses now it may give later."""
    return isinstance(error, InputError | TrainingError) and not isinstance(error.__cause__, OSError)
