"""Determine the validation text of a training job: the model's frozen one, the requested one, or part of the corpus."""

from __future__ import annotations

from collections.abc import Sequence

from charrnn.errors import InputError
from charrnn.jobs.files.files import Files
from charrnn.jobs.job.version import Version
from charrnn.jobs.store import registry
from charrnn.jobs.store.store import Store
from charrnn.text.documents import Document
from charrnn.text.lines import choose_lines, join_lines, overlaps_lines
from charrnn.text.listing import shorten_names
from charrnn.text.validation import Chosen, choose_validation, join_documents, overlaps_validation


class Validation:
    """The validation texts of one store.

    Args:
        store: the store.
        files: its files.
        lines: whether the corpora are lists, whose lines are texts of their own.
    """

    def __init__(self, store: Store, files: Files, *, lines: bool) -> None:
        self.store, self.files, self.lines = store, files, lines

    def text(self, model: str, corpus: Sequence[Document], given: Sequence[Document], start: Version | None) -> Chosen:
        """Return the validation text of a training job for that model.

        Args:
            corpus: the documents to train on.
            given: documents to use as validation text; empty to choose part of the corpus.
            start: the version to fine-tune.

        Raises:
            InputError: the model has another validation text already, or `start` was trained on this one.
        """
        frozen = self._frozen(model)
        if frozen is None and not given:
            return self._choose(corpus, start)
        join = join_lines if self.lines else join_documents
        text = join(given) if given else frozen or ""
        if frozen is not None and text != frozen:
            raise InputError(
                f"{model} keeps the validation text of its first training, so that its versions can be compared. "
                f"Leave out `validation`, or train a model with another name"
            )
        if start is not None and start.model != model and self._was_trained_on(start.model, start.version, text):
            raise InputError(
                f"{start.model}@{start.version} was trained on the validation text of {model}, so its validation loss "
                f"would be too low to compare. Fine-tune another version, or train a model with another name and a "
                f"validation text of its own"
            )
        return Chosen(text, shorten_names(list(map(str, given))) if given else "that of the first training")

    def _choose(self, corpus: Sequence[Document], start: Version | None) -> Chosen:
        """Return part of the corpus or, if `start` was trained on that part, the validation text of `start`."""
        chosen = choose_lines(corpus) if self.lines else choose_validation(corpus)
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
