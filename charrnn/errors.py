"""All errors that a user can cause or encounter, as one tree.

    CharrnnError
    ├── InputError            bad text, seed, name, number or setting: change the input
    │   ├── TextError         a file that is missing, empty or not UTF-8
    │   ├── SeedError         a seed with characters that the model lacks
    │   ├── ModelFileError    a model version that is damaged, swapped or of another shape
    │   └── DamagedError      a value of the database that cannot be read
    ├── TrainingError         the loss became infinite or NaN
    ├── NotFoundError         no such job, model or version
    ├── UnreachableError      the broker or the store does not answer
    ├── NotFinishedError      complete results were requested of something that still runs
    └── LeaseLostError        another worker owns the part now: drop the work, commit nothing

A message says what happened, what was expected and how to fix it, on at most a screen. The module is pure Python: the
producer imports it without TensorFlow.
"""

from __future__ import annotations

MAX_MESSAGE = 2000  # characters: 25 lines of 80
END = 400  # of which the last ones often say how to fix it


def shorten(message: str) -> str:
    """Return a message, without its middle if it is longer than a screen: it may quote input of any size."""
    if len(message) <= MAX_MESSAGE:
        return message
    begin = MAX_MESSAGE - END - 40
    return f"{message[:begin]} … {len(message) - begin - END:,} characters … {message[-END:]}"


def storable(message: str) -> str:
    """Return a message of at most a screen that any database accepts: an exception's may hold NUL or half a character,
    as of a file whose name is not UTF-8."""
    return shorten(message).replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, such as "1 seed" or "1,000 seeds"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


class CharrnnError(Exception):
    """Base class of the errors that users see as one message, without a traceback."""

    def __str__(self) -> str:
        return shorten(super().__str__())


class InputError(CharrnnError):
    """The input cannot be used; nothing was stored or enqueued."""


class TextError(InputError):
    """A text file cannot be read."""


class SeedError(InputError):
    """A seed has characters outside the model's vocabulary. Other seeds can be sampled."""


class ModelFileError(InputError):
    """The files of a model version are damaged, or are not the expected ones."""


class DamagedError(InputError):
    """A value of the database is damaged, or was stored by a newer release."""


class TrainingError(CharrnnError):
    """Training cannot continue. Its checkpoints and losses so far are kept."""


class NotFoundError(CharrnnError):
    """The job, model or version does not exist."""


class UnreachableError(CharrnnError):
    """The broker or the store does not answer."""


class NotFinishedError(CharrnnError):
    """The job has not ended yet."""


class LeaseLostError(CharrnnError):
    """The part was taken over or cancelled; this worker's result must be dropped."""
