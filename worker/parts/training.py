"""The work on a training job: slice after slice, each ending with a checkpoint, until a version is stored."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.errors import DamagedError, ModelFileError, UnreachableError
from charrnn.jobs.faults import crash_point
from charrnn.jobs.files import layout
from charrnn.jobs.files.temporary import temporary_folder
from charrnn.jobs.job.part import Part, PartProgress
from charrnn.jobs.job.specs import TrainSpec
from charrnn.jobs.job.version import Comparison, NewVersion, Version
from charrnn.jobs.store import registry
from charrnn.jobs.upkeep.maintenance import ring_missing
from charrnn.release import release
from charrnn.text.documents import Document
from charrnn.text.vocabulary import Vocabulary
from worker.child import Child
from worker.devices import engine_device
from worker.logs import about
from worker.parts.copies import write_index
from worker.parts.watch import COMPILING, WORKING, WRITING, Interrupted, Watch

if TYPE_CHECKING:
    from charrnn.model import Model
    from charrnn.training.progress import Progress
    from charrnn.training.trainer import Trainer

logger = logging.getLogger(__name__)

MAX_KEPT = 2  # training jobs that take turns; each holds five times its weights: 70 MB for 2 x 512 units


class KeptTrainings:
    """Paused training jobs that a child keeps in memory, since starting one again takes seconds."""

    def __init__(self) -> None:
        self._works: dict[int, _Work] = {}  # by job

    def take(self, part: Part) -> _Work | None:
        """Return the training job as the child left it, or None if another child has continued it."""
        work = self._works.pop(part.job, None)
        if work is None or work.saved != part.checkpoint:
            return None
        work.part = part
        return work

    def keep(self, work: _Work) -> None:
        """Keep a training job if there is room.

        None is dropped to make room: with three that take turns, the dropped one would always be the next in turn.
        """
        for job in set(self._works) - work.child.store.unfinished(self._works):
            del self._works[job]
        if len(self._works) < MAX_KEPT:
            self._works[work.part.job] = work


def train(child: Child, part: Part, spec: TrainSpec, watch: Watch, kept: KeptTrainings) -> None:
    """Train to the end, or yield the device to another part that waits for it.

    Raises:
        Interrupted: raised after a checkpoint; the part goes back to the queue.
        LeaseLostError: raised by `watch`.
    """
    work = kept.take(part) or watch.retry(lambda: _Work(child, part, spec, watch))
    watch.trace.passed("load")
    watch.enter(COMPILING)
    while not work.trainer.finished:
        try:
            work.run_slice(watch)
        except Interrupted:
            watch.trace.passed("train")
            _save_if_possible(work)
            raise
        watch.trace.passed("train")
        watch.enter(WRITING)
        watch.retry(work.save_checkpoint)
        watch.trace.passed("write")
        if not work.trainer.finished and watch.retry(child.has_waiting_part):
            watch.retry(lambda: kept.keep(work))
            raise Interrupted
    work.finish(watch)
    watch.trace.passed("commit")


def _save_if_possible(work: _Work) -> None:
    """Save a checkpoint, or log why not. If a worker stops while the disk is full, the job loses one slice."""
    try:
        work.save_checkpoint()
    except UnreachableError as error:
        logger.warning("job %d: no checkpoint was saved: %s", work.part.job, error)


class _Work:
    """A claimed training job at its last checkpoint, or at its start."""

    def __init__(self, child: Child, part: Part, spec: TrainSpec, watch: Watch) -> None:
        from charrnn.text.corpus import Corpus
        from charrnn.training.checkpoint import Checkpoint
        from charrnn.training.trainer import Trainer

        self.child, self.part, self.spec = child, part, spec
        self.files = child.files
        text = self._read(self.files.verified_path(spec.corpus, watch.check), watch)
        validation = self.files.read(spec.validation).decode()
        vocabulary, lines = Vocabulary(spec.vocabulary), spec.network.lines
        corpus = Corpus.of(vocabulary, text, validation, self.files.scratch, lines=lines)
        self.trainer: Trainer = Trainer(corpus, spec.network, spec.training, self._start())
        self.saved, self.saves = part.checkpoint, 0
        if self.saved:
            self.trainer.checkpoint = Checkpoint.load(self.files.verified_path(self.saved))
            resumed = about(part, "resumed")
            logger.info("job %d: resumed at step %d", part.job, self.trainer.checkpoint.step, extra=resumed)
        self.recorded = len(self.trainer.checkpoint.history)

    @staticmethod
    def _read(corpus: Path, watch: Watch) -> Iterator[str]:
        for chunk in Document(corpus).read():
            yield chunk
            watch.check()

    def _start(self) -> Model | None:
        from charrnn.model import load

        if self.spec.start is None:
            return None
        with self.child.store.read() as connection:
            version = registry.resolve(connection, self.spec.start)
        return load(self.files.verified_path(version.files))

    def run_slice(self, watch: Watch) -> None:
        ends = time.monotonic() + self.child.settings.slice_s

        def stop(progress: Progress) -> bool:
            watch.progress = PartProgress(work=progress)
            watch.enter(COMPILING if progress.evaluating else WORKING)  # previews compile too, and may be long
            watch.check()
            self._record_epochs()
            return time.monotonic() > ends

        self.trainer.run(stop)

    def _record_epochs(self) -> None:
        """Store new epochs as soon as they end, and not only with the next checkpoint."""
        history = self.trainer.checkpoint.history
        if len(history) > self.recorded:
            self.recorded = len(history)
            try:
                self.child.leases.record(self.part, history)
            except UnreachableError as error:  # the checkpoint at the end of the slice stores them too
                logger.warning("job %d: the metrics of an epoch are not stored yet: %s", self.part.job, error)

    def save_checkpoint(self) -> None:
        """Write the checkpoint, commit it as progress and delete the previous one."""
        point, before = self.trainer.checkpoint, self.saved
        self.saves += 1
        name = layout.checkpoint_file(self.part.job, self.part.token, self.saves)
        with temporary_folder() as folder:
            path = folder / "checkpoint"
            point.save(path)
            saved = self.files.put(name, [path.read_bytes()])
        crash_point("checkpoint", self.saves)
        device = engine_device(self.child.device)
        self.child.leases.checkpoint(self.part, saved, point.history, device, point.precision)
        self.saved = saved
        if before:
            self.files.delete(before.name)

    def finish(self, watch: Watch) -> None:
        """Save the model, check that it loads and samples, and commit it as a version."""
        from charrnn.model import load

        trained, part = self.trainer.trained_model(watch.check), self.part
        model = trained.model
        with temporary_folder() as folder:
            watch.enter(COMPILING)
            model.save(folder)
            next(load(folder).sample([model.vocabulary.characters[0]], length=1))
            watch.retry(lambda: write_index(self.files, self.spec, folder, watch.check))
            name = layout.version_folder(self.spec.model, part.job, part.token)
            files = watch.retry(lambda: self.files.put_folder(name, folder))
        version = NewVersion(
            model=self.spec.model,
            files=files,
            characters=model.vocabulary.characters,
            network=self.spec.network,
            val_loss=trained.val_loss,
            skipped=trained.validation_skipped,
            precision=trained.sampling_precision,
            release=release(),
            margin=self.spec.margin,
        )
        self._commit(version, model, watch)
        done = about(part, "done")
        logger.info(
            "job %d: trained %s, validation loss %.4f nats per character",
            part.job,
            self.spec.model,
            version.val_loss,
            extra=done,
        )
        for tidy in (self._delete_checkpoints, self._ring_for_dependents, self._delete_older_versions):
            try:
                tidy()
            except (
                UnreachableError,
                DamagedError,
            ) as error:  # prune, maintenance and the next training job do the rest
                logger.warning("job %d: maintenance or prune will clean up later: %s", part.job, error)

    def _delete_checkpoints(self) -> None:
        """Delete the job's checkpoints, including those of killed attempts."""
        self.files.delete_folder(layout.job_folder(self.part.job))

    def _ring_for_dependents(self) -> None:
        """Ring for the jobs that waited for this version."""
        ring_missing(self.child.leases, self.child.queue)

    def _delete_older_versions(self) -> None:
        from charrnn.jobs.models.models import Models

        if self.spec.keep is not None:
            deleted = Models(self.child.connections, self.child.owner).delete_older(self.spec.model, self.spec.keep)
            logger.info("job %d: deleted older versions: %s", self.part.job, ", ".join(deleted) or "none")

    def _commit(self, version: NewVersion, model: Model, watch: Watch) -> None:
        """Store the version.

        If its loss and the champion's were measured on different characters, measure both on common ones and try again.
        """
        while champion := watch.retry(partial(self.child.leases.complete_training, self.part, version)):
            try:
                version = replace(version, comparison=self._compare(model, champion, watch))
            except ModelFileError as damaged:  # the champion is damaged or deleted: no reason to lose this version
                logger.warning("job %d: cannot be compared with %s: %s", self.part.job, champion.name, damaged)
                version = replace(version, measurable=False)

    def _compare(self, model: Model, champion: Version, watch: Watch) -> Comparison:
        from charrnn.model import load
        from charrnn.training.comparison import common_nats

        watch.enter(COMPILING)
        folder = watch.retry(lambda: self.files.verified_path(champion.files))
        validation = watch.retry(lambda: self.files.read(self.spec.validation)).decode()
        nats, champion_nats, left_out = common_nats(model, load(folder), validation, watch.check)
        return Comparison(champion=champion.version, nats=nats, champion_nats=champion_nats, left_out=left_out)
