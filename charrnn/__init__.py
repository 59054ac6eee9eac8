"""Character-level recurrent language models: train, save, load, sample.

    model = charrnn.train("speeches/*.txt", epochs=3)
    model.save("speeches-model")
    for sample in charrnn.load("speeches-model").sample(["Today, we"], temperature=[0.2, 1.0]):
        print(sample.text)

The library is independent of jobs, queues and stores. `import charrnn` does not import TensorFlow; the first use of a
name that needs it does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.model import Model, Sample, load
    from charrnn.text.vocabulary import Vocabulary
    from charrnn.training.files import train

__all__ = ["Model", "Sample", "Vocabulary", "load", "train"]

_HOMES = {
    "Model": "model",
    "Sample": "model",
    "Vocabulary": "text.vocabulary",
    "load": "model",
    "train": "training.files",
}


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'charrnn' has no attribute {name!r}. It has: {', '.join(__all__)}")
    return getattr(import_module(f"charrnn.{_HOMES[name]}"), name)
