"""Training on text files, in this process: what the library offers, and what a training job does in several."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from charrnn.checks import check_choice, check_paths, check_string, check_type
from charrnn.model import Model
from charrnn.options import GROW, NO_VALIDATION, UNKNOWN_IN_TEXT, chosen_options
from charrnn.sizes import AUTO_SIZE, fit, warn_of_size
from charrnn.text.choice import choose, read_as_lines
from charrnn.text.comparison.likeness import baseline
from charrnn.text.corpus import Corpus
from charrnn.text.documents import Document, list_documents
from charrnn.text.encodings import UTF_8
from charrnn.text.plain import LF, to_plain
from charrnn.text.training_text import prepare
from charrnn.text.validation import check_size
from charrnn.training.progress import Progress
from charrnn.training.trainer import Trainer


def train(  # noqa: PLR0913  # the library's one function for training, with what the command offers
    paths: str | Path | Iterable[str | Path],
    *,
    validation: str | Path | Iterable[str | Path] = (),
    encoding: str = UTF_8,
    newlines: str = LF,
    size: str = AUTO_SIZE,
    preset: str | None = None,
    start: Model | None = None,
    unknown: str = GROW,
    on_progress: Callable[[Progress], object] = lambda progress: None,
    **options: Any,
) -> Model:
    """Train a model on text files, in this process.

    Args:
        paths: files, folders of *.txt files, or patterns such as "speeches/*.txt".
        validation: files to reserve for validation, or "none" to reserve nothing. Default: about 5% of the text.
        encoding: encoding of files without a byte order mark, any text encoding of Python.
        newlines: "lf" makes newlines of CRLF and CR, "keep" keeps them.
        size: size of the network, one of `charrnn.sizes.SIZES`.
        preset: a key of `charrnn.options.PRESETS`.
        start: a model to fine-tune. Its network is kept. Reserve text for validation that it was not trained on.
        unknown: policy for characters outside the vocabulary of `start`. "grow" adds them to the vocabulary,
            "drop" leaves them out, "replace" writes them plainly, "error" refuses the text.
        on_progress: called after each step, and during each evaluation.
        **options: fields of `NetworkOptions` and `TrainingOptions`, such as epochs=3, units=256, cell="gru". Those left
            out are chosen by the length of the text, see `charrnn.sizes`, and `lines` by what its lines are like.

    Returns:
        The model of the epoch with the lowest validation loss. `model.metrics["val_loss"]` is that loss: cross-entropy
        in nats per character of the validation text, which is not trained on unless `validation` is "none".

    Raises:
        InputError: the text cannot be read, is too short or, with "error", has characters outside the vocabulary of
            `start`; or an argument is of the wrong type, unknown or out of range.
        TrainingError: the loss became infinite or not a number.
    """
    paths, validation = check_paths("paths", paths), check_paths("validation", validation)
    check_string("encoding", encoding)
    check_type("start", start, Model | None, "a Model, as charrnn.load returns it")
    chosen = chosen_options(preset, options, continues=start is not None)
    check_choice("unknown", unknown, UNKNOWN_IN_TEXT)
    with tempfile.TemporaryDirectory() as folder:

        def read(documents: list[Document]) -> list[Document]:
            return to_plain(documents, Path(tempfile.mkdtemp(dir=folder)), encoding, newlines)

        reserved = validation != (NO_VALIDATION,)
        given = list_documents(validation) if validation and reserved else []
        check_size(given)
        documents = read(list_documents(paths))
        lines = start.network.lines if start else read_as_lines(documents, chosen)
        held_out = choose(documents, read(given), lines=lines, reserved=reserved).text
        known, strict = start.vocabulary if start else None, not validation
        text = prepare(documents, held_out, known, unknown=unknown, strict=strict, lines=lines, reserved=reserved)
        corpus = Corpus.of(text.vocabulary, text.chunks(), held_out, lines=lines)
        if reserved:
            baseline(text.chunks(), text.num_characters, held_out, lines=lines)  # warns if the texts differ
    before = start.network if start else None
    network, training = fit(chosen, text.num_characters, size=size, lines=lines, reserved=reserved, start=before)
    warn_of_size(text.num_characters, 0 if validation else len(held_out), lines=lines)
    trainer = Trainer(corpus, network, training, start)

    def report(progress: Progress) -> bool:
        on_progress(progress)
        return False

    trainer.run(report)
    return trainer.trained_model().model
