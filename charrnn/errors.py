"""Every error that a person can cause or meet, as one tree.

    CharrnnError
    ├── InputError            bad text, seed, name, number or setting: change the input
    │   ├── TextError         a file that is missing, empty or not UTF-8
    │   └── ModelFileError    a model version that is damaged, swapped or of another shape
    ├── TrainingError         a loss that became infinite or no number
    ├── NotFoundError         no such job, model or version
    ├── UnreachableError      the broker or the store does not answer
    ├── NotFinishedError      asked for the whole of something that still runs
    └── LeaseLostError        another worker owns the part now: drop the work, commit nothing

A message says what happened, what was expected and how to mend it. Pure Python: the
producer imports this without TensorFlow.
"""

from __future__ import annotations


class CharrnnError(Exception):
    """Root of the errors that are shown to a person as one message, without a traceback."""


class InputError(CharrnnError):
    """The input cannot be used; nothing was stored or enqueued."""


class TextError(InputError):
    """A text file cannot be read."""


class ModelFileError(InputError):
    """A model version's files are not what they claim to be."""


class TrainingError(CharrnnError):
    """A training cannot go on; what it stored before stays."""


class NotFoundError(CharrnnError):
    """The job, model or version does not exist."""


class UnreachableError(CharrnnError):
    """The broker or the store does not answer."""


class NotFinishedError(CharrnnError):
    """The job has not ended yet."""


class LeaseLostError(CharrnnError):
    """The part was taken over or cancelled; this worker's result must be dropped."""
