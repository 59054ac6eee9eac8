"""Determine the validation text of a training job: the model's frozen one, the requested one, or part of the corpus."""

from __future__ import annotations

from collections.abc import Sequence

from charrnn.errors import InputError
from charrnn.jobs.files.files import Files
from charrnn.jobs.job.version import Version
from charrnn.jobs.store import registry
from charrnn.jobs.store.store import Store
from charrnn.text.choice import choose
from charrnn.text.documents import Document
from charrnn.text.lines import overlaps_lines
from charrnn.text.validation import Chosen, overlaps_validation


class Validation:
    """The validation texts of one store.

    Args:
        store: the store.
        files: its files.
        lines: whether the corpora are lists, whose lines are texts of their own.
    """

    def __init__(self, store: Store, files: Files, *, lines: bool) -> None:
        self.store, self.files, self.lines = store, files, lines

    def text(
        self,
        model: str,
        corpus: Sequence[Document],
        given: Sequence[Document],
        start: Version | None,
        *,
        reserved: bool = True,
    ) -> Chosen:
        """Return the validation text of a training job for that model.

        Args:
            model: its name.
            corpus: the documents to train on.
            given: documents to use as validation text; empty to choose part of the corpus.
            start: the version to fine-tune.
            reserved: whether the text is left out of the training.

        Raises:
            InputError: the model has another validation text already, or `start` was trained on this one.
        """
        frozen = self._frozen(model)
        if frozen is None and not given and reserved:
            return self._choose(corpus, start)
        chosen = Chosen(frozen or "", "that of the first training")
        if given or frozen is None:
            chosen = choose(corpus, given, lines=self.lines, reserved=reserved)
        text = chosen.text
        if frozen is not None and text != frozen:
            raise InputError(
                f"{model} keeps the validation text of its first training, so that its versions can be compared. "
                f"Leave out `validation`, or train a model with another name"
            )
        if (
            start is not None
            and reserved
            and start.model != model
            and self._was_trained_on(start.model, start.version, text)
        ):
            raise InputError(
                f"{start.model}@{start.version} was trained on the validation text of {model}, so its validation loss "
                f"would be too low to compare. Fine-tune another version, or train a model with another name and a "
                f"validation text of its own"
            )
        return chosen

    def _choose(self, corpus: Sequence[Document], start: Version | None) -> Chosen:
        """Return part of the corpus or, if `start` was trained on that part, the validation text of `start`."""
        chosen = choose(corpus, [], lines=self.lines)
        if start is not None and self._was_trained_on(start.model, start.version, chosen.text):
            text = self._frozen(start.model)
            return Chosen(text, f"that of {start.model}") if text else chosen
        return chosen

    def _frozen(self, model: str) -> str | None:
        with self.store.read() as connection:
            frozen = registry.validation(connection, model)
        return self.files.read(frozen).decode() if frozen else None

    def _was_trained_on(self, model: str, version: int, validation: str) -> bool:
        """Return whether a version, or one that it was fine-tuned from, was trained on a piece of the text.

        The training text of an imported version is not known here. It counts as not trained on the text.
        """
        with self.store.read() as connection:
            spec = registry.training_of(connection, model, version)
        if spec is None:
            return False
        overlaps = overlaps_lines if spec.network.lines else overlaps_validation
        if overlaps(Document(self.files.verified_path(spec.corpus)), validation):
            return True
        return spec.needs is not None and self._was_trained_on(*spec.needs, validation)
