"""The task behind a doorbell: claim a part, do it, or say why not.

TensorFlow is imported by the work itself, or for a look at the GPU before it, in the pool's child and never in the
parent: a fork of an initialised TensorFlow hangs, and a child must have its device by then.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import time
from typing import NoReturn

from charrnn.errors import InputError, LeaseLostError, TrainingError, UnreachableError
from charrnn.jobs.faults import crash_point
from charrnn.jobs.job.part import Part
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.states import PartState
from worker.child import Child
from worker.devices import CPU, sees_gpu
from worker.heartbeat import Heartbeat
from worker.logs import about
from worker.parts.generation import generate
from worker.parts.training import KeptTrainings, train
from worker.parts.watch import LOADING, PATIENCE, RESTART_PAUSE_S, Interrupted, Watch, is_draining

logger = logging.getLogger(__name__)


class Current:
    """The child of the pool that this process is; set once, after the fork."""

    child: Child
    heartbeat: Heartbeat
    kept: KeptTrainings


def begin(child: Child, heartbeat: Heartbeat) -> None:
    """Become that child."""
    Current.child, Current.heartbeat, Current.kept = child, heartbeat, KeptTrainings()
    heartbeat.start()


def work(queue: str) -> None:
    """Answer a doorbell. It may be late or one too many: then nothing waits.

    A training keeps the device for a slice, so sampling before which one waits may keep it as long: else each small job
    would wait for a slice of its own. The doorbells of what is done meanwhile are then too many.
    """
    child = Current.child
    if child.device != CPU and not _has_gpu(child):
        _end(child, queue, "TensorFlow finds no GPU there, and nothing is claimed")
    ends = time.monotonic() + child.settings.slice_s
    while _do_next(child, queue) and queue == GenerateSpec.QUEUE and child.leases.waits(TrainSpec.QUEUE):
        if time.monotonic() > ends or is_draining():
            return


def _has_gpu(child: Child) -> bool:
    """Look before each claim; all but the first look cost nothing. One that hangs, for which no part's watch waits yet,
    ends the process."""
    faulthandler.dump_traceback_later(child.settings.stall_s * PATIENCE[LOADING], exit=True)
    try:
        return sees_gpu()
    except Exception:
        logger.exception("TensorFlow cannot be imported")
        return False
    finally:
        faulthandler.cancel_dump_traceback_later()


def _end(child: Child, queue: str, reason: str) -> NoReturn:
    """Leave the doorbell to others and end this process: its TensorFlow looks for GPUs but once."""
    logger.error("device %s: %s; this process ends, and another one looks", child.device, reason)
    child.ring(queue)
    time.sleep(RESTART_PAUSE_S)
    os._exit(1)


def _do_next(child: Child, queue: str) -> bool:
    """Claim a part and do it -> False if none waits."""
    part = child.leases.claim(queue, child.owner)
    if part is None:
        return False
    claimed = about(part, "claimed")
    logger.info("job %d part %d: claimed, attempt %d", part.job, part.number, part.attempt, extra=claimed)
    with Current.heartbeat.watching(part) as watch:
        crash_point("claimed", part.number)
        _ring_on(child, queue)
        try:
            again = _attempt(child, part, watch)
            crash_point("committed", part.number)
        except LeaseLostError as error:
            logger.warning("%s", error, extra=about(part, "lost"))
            return True
    if again:
        child.ring(queue)
    return True


def _ring_on(child: Child, queue: str) -> None:
    """Ring once if more parts wait and no doorbell is left, before the work begins: other children are idle meanwhile,
    and a doorbell would die with this one. On a lease already, since a broker that stands still takes 20 s of it."""
    try:
        if not is_draining() and child.queue.lengths()[queue] == 0 and child.leases.waits(queue):
            child.ring(queue)
    except UnreachableError:
        pass  # maintenance rings
    except Exception:  # a doorbell must not cost a part
        logger.exception("no doorbell was rung for queue %s", queue)


def _attempt(child: Child, part: Part, watch: Watch) -> bool:
    """Do a part, commit how it ended -> whether it went back to the queue."""
    try:
        if isinstance(part.spec, GenerateSpec):
            generate(child, part, part.spec, watch)
        else:
            train(child, part, part.spec, watch, Current.kept)
        return False
    except LeaseLostError:
        raise
    except Interrupted:
        state = child.leases.release(part)
        logger.info("job %d part %d: given back", part.job, part.number, extra=about(part, "released"))
        return state == PartState.QUEUED
    except Exception as error:
        failed = about(part, "failed")
        logger.exception("job %d part %d: attempt %d failed", part.job, part.number, part.attempt, extra=failed)
        reason = f"{type(error).__name__}: {error}"
        permanent = _is_permanent(error)
        again = child.leases.fail(part, reason, permanent=permanent) == PartState.QUEUED
        if child.device != CPU and not permanent:  # of a lost GPU: it would fail all parts, three times each
            _end(child, part.spec.QUEUE, "the attempt failed")
        return again


def _is_permanent(error: Exception) -> bool:
    """No further attempt would end otherwise. What a disk or a network file system refuses now it may give later."""
    return isinstance(error, InputError | TrainingError) and not isinstance(error.__cause__, OSError)
