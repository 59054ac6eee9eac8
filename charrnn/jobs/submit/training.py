"""Turn a request into a stored training job: read, check and split its texts, and store each content once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence

from charrnn.checks import check_choice, check_integer, check_number, check_type
from charrnn.errors import InputError
from charrnn.jobs.connections import Connections
from charrnn.jobs.files import layout
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.requests import GenerateRequest, TrainRequest
from charrnn.jobs.job.schedule import Slot
from charrnn.jobs.job.specs import MAX_KEEP, MAX_SOURCES, TrainSpec, check_name
from charrnn.jobs.job.version import Version
from charrnn.jobs.store import registry
from charrnn.jobs.store.lifecycle import NewJob
from charrnn.jobs.store.shown.readable import last_training, recently_trained
from charrnn.jobs.submit.corpora import Corpora, open_corpora
from charrnn.jobs.submit.estimates import estimate_training
from charrnn.jobs.submit.sampling import discarding, follow_up
from charrnn.jobs.submit.submitted import Submitted, check_label, choose_rng_seed, store_job
from charrnn.jobs.submit.validation import Validation
from charrnn.jobs.tracing import traced
from charrnn.options import GROW, NO_VALIDATION, UNKNOWN_IN_TEXT
from charrnn.sizes import fit, warn_of_size
from charrnn.text.choice import read_as_lines
from charrnn.text.comparison.likeness import baseline
from charrnn.text.documents import Document
from charrnn.text.lines import is_list
from charrnn.text.training_text import prepare
from charrnn.text.validation import check_size
from charrnn.text.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

Put = Callable[[str, str, Iterable[bytes]], FileRef]


@traced("submit")
def train(
    connections: Connections,
    request: TrainRequest,
    *,
    then: GenerateRequest | None = None,
    dry_run: bool = False,
    slot: Slot | None = None,
    scheduled: bool = False,
) -> Submitted[TrainSpec]:
    """Submit a training job.

    Args:
        then: a request for a job that samples after it. Both jobs are stored, or none.
        dry_run: check everything, but store nothing. It needs no broker, unless the job is `scheduled`.
        slot: the slot of the schedule that submits the job, to be marked as submitted.
        scheduled: whether a schedule submits the job, which may read fewer files than a person.

    Raises:
        InputError: a text, a seed, a name or a number cannot be used. Nothing was stored.
        NotFoundError: the version to fine-tune does not exist.
        SkippedError: the slot must not get the job.
        UnreachableError: broker, store or files do not answer. Nothing was stored, unless the connection to the store
            broke while it stored the job: the outcome is then unknown.
    """
    _check(request)
    rng_seed = choose_rng_seed(request, None if slot is None else str(slot))
    put = _not_stored if dry_run else connections.files.put_content
    with open_corpora(connections.settings, scheduled=scheduled) as corpora:
        spec = _prepare(connections, corpora, request, rng_seed, put, probe=scheduled or not dry_run)
    with connections.store.read() as connection:
        estimate = estimate_training(spec, list(recently_trained(connection)))
    following = None
    if then is not None:
        following = follow_up(connections, then, spec, dry_run=dry_run, slot=slot, scheduled=scheduled)
    if dry_run:
        return Submitted(id=None, spec=spec, estimate=estimate)
    with discarding(connections, following.seeds if following else None):
        job, then_job = store_job(connections, NewJob(spec=spec, label=request.label), slot, following)
    connections.ring(spec.QUEUE, job.id, spec.parts)
    return Submitted(id=job.id, spec=spec, estimate=estimate, then_job=then_job)


def _check(request: TrainRequest) -> None:
    check_type("request", request, TrainRequest, "a TrainRequest")
    check_name("The model's name", request.model)
    check_label(request.label)
    check_choice("unknown", request.unknown, UNKNOWN_IN_TEXT)
    if request.unknown != GROW and request.start is None:
        raise InputError("`unknown` requires `start`: a new model learns every character of its text")
    check_number("margin", request.margin)
    if request.keep is not None:
        check_integer("keep", request.keep, 1, MAX_KEEP)


def _prepare(
    connections: Connections, corpora: Corpora, request: TrainRequest, rng_seed: int, put: Put, *, probe: bool
) -> TrainSpec:
    """Read the texts, check that they can be trained on, and store them.

    Args:
        probe: check that broker, store and files answer.
    """
    sources = corpora.documents(request.paths)
    corpus = corpora.plain(sources, request.encoding, request.newlines)
    if probe:
        connections.probe()
    with connections.store.read() as connection:
        version = registry.resolve(connection, request.start) if request.start is not None else None
        frozen = registry.validation(connection, request.model)
        # Without a validation text the model is new, also if all its versions were deleted.
        before = None if frozen is None else last_training(connection, request.model)
    lines = _read_as_lines(request, corpus, version, before)
    reserved = request.validation != (NO_VALIDATION,)
    if frozen is not None:
        _check_reserved(request.model, before, reserved=reserved)
    given = corpora.documents(request.validation) if request.validation and reserved else []
    check_size(given)
    given = corpora.plain(given, request.encoding, request.newlines)
    validations = Validation(connections.store, connections.files, lines=lines)
    validation, source = validations.text(request.model, corpus, given, version, reserved=reserved)
    vocabulary = Vocabulary(version.characters) if version else None
    name = request.start or request.model
    text = prepare(
        corpus,
        validation,
        vocabulary,
        name,
        unknown=request.unknown,
        strict=frozen is None and not request.validation,
        lines=lines,
        reserved=reserved,
    )
    network, training = fit(
        {**request.options, "rng_seed": rng_seed},
        text.num_characters,
        size=request.size,
        lines=lines,
        reserved=reserved,
        start=version.network if version else None,
    )
    training.choose_batch_size(network, text.num_characters)
    chosen = reserved and frozen is None and not given
    warn_of_size(text.num_characters, len(validation) if chosen else 0, lines=lines)
    return TrainSpec(
        model=request.model,
        vocabulary=text.vocabulary.characters,
        corpus=put(layout.CORPORA, layout.TEXT, (chunk.encode() for chunk in text.chunks())),
        characters=text.num_characters,
        validation=put(layout.VALIDATION, layout.TEXT, [validation.encode()]),
        validation_characters=len(validation),
        validation_source=source,
        reserved=reserved,
        baseline=baseline(text.chunks(), text.num_characters, validation, lines=lines) if reserved else None,
        left_out_characters=text.num_left_out,
        num_lines=text.num_lines,
        network=network,
        training=training,
        start=version.name if version else None,
        sources=tuple(map(_printable, corpus[:MAX_SOURCES])),
        num_sources=len(corpus),
        source_bytes=sum(document.size() for document in sources),
        margin=request.margin,
        keep=request.keep,
    )


def _read_as_lines(
    request: TrainRequest, corpus: Sequence[Document], version: Version | None, before: TrainSpec | None
) -> bool:
    """Return whether each line is a text of its own: all versions of a model, and of what they fine-tune, agree.

    Raises:
        InputError: the request says otherwise.
    """
    if version is not None:
        lines = version.network.lines
    elif before is not None and not {"lines", "max_len"} & request.options.keys():
        lines = before.network.lines
    else:
        lines = read_as_lines(corpus, request.options)
    if before is not None and before.network.lines != lines:
        was, now = ("line by line", "on one text") if before.network.lines else ("on one text", "line by line")
        raise InputError(
            f"{request.model} was trained {was}, and its validation text is made for that, so it cannot be trained "
            f"{now}. Train a model with another name"
        )
    if lines and before is not None and "lines" not in request.options and not is_list(corpus):
        logger.warning(
            "The text does not look like a list, but %s was trained line by line, and so is this version", request.model
        )
    return lines


def _check_reserved(model: str, before: TrainSpec | None, *, reserved: bool) -> None:
    """Check that a training reserves a validation text if the one before did; an imported model counts as if it did.

    Raises:
        InputError: the losses could not be compared.
    """
    if reserved != (before is None or before.reserved):
        was = "was trained on all of its text" if reserved else "has a validation text that it was never trained on"
        raise InputError(
            f"{model} {was}, so a loss of this training could not be compared. {'Use' if reserved else 'Leave out'} "
            f"`validation` none, or train a model with another name"
        )


def _not_stored(_folder: str, _suffix: str, chunks: Iterable[bytes]) -> FileRef:
    """Return the reference that a dry run uses instead of a stored file."""
    return FileRef(name="", size=sum(map(len, chunks)), sha256="")


def _printable(document: Document) -> str:
    """Return a document's name with undecodable bytes replaced: file names may contain any bytes."""
    return os.fsencode(str(document)).decode(errors="replace")
