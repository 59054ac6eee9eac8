"""A training: slice after slice, each ending in a checkpoint, until a version is stored."""

from __future__ import annotations

import logging
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.jobs import registry
from charrnn.jobs.files import FileRef, Files
from charrnn.jobs.leases import Part
from charrnn.jobs.registry import NewVersion
from charrnn.jobs.specs import TrainSpec
from charrnn.text import Document
from charrnn.vocabulary import Vocabulary
from worker.heartbeat import Heartbeat, Interrupted, Watch

if TYPE_CHECKING:
    from charrnn.model import Model
    from charrnn.training import Progress, Trainer

logger = logging.getLogger(__name__)


def train(heartbeat: Heartbeat, part: Part, spec: TrainSpec, watch: Watch) -> None:
    """Train to the end, or give the device to another part that waits for it.

    Raises:
        Interrupted: after a checkpoint; the part goes back to the queue.
        LeaseLostError: from `watch`.
    """
    work = _Work(heartbeat, part, spec)
    while not work.trainer.finished:
        try:
            work.run_slice(watch)
        except Interrupted:
            work.save_checkpoint()
            raise
        work.save_checkpoint()
        if not work.trainer.finished and _others_wait(heartbeat):
            raise Interrupted
    work.finish()


def _others_wait(heartbeat: Heartbeat) -> bool:
    waiting = heartbeat.leases.waiting()
    return any(waiting.get(queue) for queue in heartbeat.queues)


class _Work:
    """A claimed training at its last checkpoint, or at its start."""

    def __init__(self, heartbeat: Heartbeat, part: Part, spec: TrainSpec) -> None:
        from charrnn.checkpoint import Checkpoint
        from charrnn.corpus import Corpus
        from charrnn.training import Trainer

        self.heartbeat, self.part, self.spec = heartbeat, part, spec
        self.files = Files(heartbeat.settings.files_root)
        text = Document(self.files.checked(spec.corpus)).read()
        corpus = Corpus.of(Vocabulary(spec.vocabulary), text, self.files.read(spec.held_out).decode())
        self.trainer: Trainer = Trainer(corpus, spec.network, spec.training, self._start())
        self.saved = part.checkpoint
        if self.saved:
            self.trainer.checkpoint = Checkpoint.load(self.files.checked(self.saved))

    def _start(self) -> Model | None:
        from charrnn.model import load

        if self.spec.start is None:
            return None
        version = registry.resolve(self.heartbeat.store, self.spec.start)
        return load(self.files.checked(FileRef(**version.files)))

    def run_slice(self, watch: Watch) -> None:
        ends = time.monotonic() + self.heartbeat.settings.slice_s

        def stop(progress: Progress) -> bool:
            watch.progress = asdict(progress)
            watch.check()
            return time.monotonic() > ends

        self.trainer.run(stop)

    def save_checkpoint(self) -> None:
        """Write the checkpoint, commit it as progress, delete the one before."""
        point, before = self.trainer.checkpoint, self.saved
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "checkpoint"
            point.save(path)
            name = f"jobs/{self.part.job}/checkpoint-{self.part.token}-{point.step}.safetensors"
            self.saved = self.files.put(name, [path.read_bytes()])
        self.heartbeat.leases.checkpoint(self.part, self.saved, [asdict(epoch) for epoch in point.history])
        if before and before.name != self.saved.name:
            self.files.delete(before)

    def finish(self) -> None:
        """Save the model, see that it loads and samples, and commit it as a version."""
        from charrnn.model import load

        model, part = self.trainer.model(), self.part
        with tempfile.TemporaryDirectory() as folder:
            model.save(folder)
            next(load(folder).sample([model.vocabulary.characters[0]], length=1))
            files = self.files.put_folder(f"models/{self.spec.model}/{part.job}-{part.token}", Path(folder))
        version = NewVersion(
            model=self.spec.model,
            files=files,
            characters=model.vocabulary.characters,
            network=self.spec.network.to_dict(),
            held_out_nats=model.metrics["held_out_nats"],
        )
        self.heartbeat.leases.complete(part, version=version)
        logger.info("job %d: %s trained, %.4f nats held out", part.job, self.spec.model, version.held_out_nats)
        if self.saved:
            self.files.delete(self.saved)
