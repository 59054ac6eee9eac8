"""All errors that a user can cause or encounter, as one tree.

    CharrnnError
    ├── InputError            bad text, seed, name, number or setting: change the input
    │   ├── TextError         a file that is missing, empty or not UTF-8
    │   ├── ModelFileError    a model version that is damaged, swapped or of another shape
    │   └── DamagedError      a value of the database that cannot be read
    ├── TrainingError         the loss became infinite or NaN
    ├── NotFoundError         no such job, model or version
    ├── UnreachableError      the broker or the store does not answer
    ├── NotFinishedError      complete results were requested of something that still runs
    └── LeaseLostError        another worker owns the part now: drop the work, commit nothing

A message says what happened, what was expected and how to fix it. The module is pure Python: the producer imports it
without TensorFlow.
"""

from __future__ import annotations


class CharrnnError(Exception):
    """Base class of the errors that users see as one message, without a traceback."""


class InputError(CharrnnError):
    """The input cannot be used; nothing was stored or enqueued."""


class TextError(InputError):
    """A text file cannot be read."""


class ModelFileError(InputError):
    """The files of a model version are damaged, or are not the expected ones."""


class DamagedError(InputError):
    """A value of the database is damaged, or was stored by a newer release."""


class TrainingError(CharrnnError):
    """Training cannot continue. What it has stored so far is kept."""


class NotFoundError(CharrnnError):
    """The job, model or version does not exist."""


class UnreachableError(CharrnnError):
    """The broker or the store does not answer."""


class NotFinishedError(CharrnnError):
    """The job has not ended yet."""


class LeaseLostError(CharrnnError):
    """The part was taken over or cancelled; this worker's result must be dropped."""
