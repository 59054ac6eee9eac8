"""Freeze what this release stores, as the documents of its spec version. Those of earlier versions stay as they are."""

from __future__ import annotations

import json
from dataclasses import asdict

from charrnn.jobs.job.specs import SPEC_VERSION
from charrnn.model import load
from charrnn.options import NetworkOptions, TrainingOptions
from charrnn.text.corpus import Corpus
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.trainer import Trainer
from tests.data.golden import DOCUMENTS, FOLDER, GATE, VERSIONS, known_names, read

folder = FOLDER / str(SPEC_VERSION)
folder.mkdir(exist_ok=True)
before = {name for version in VERSIONS if version != SPEC_VERSION for name in read(version, "names")}
documents = {name: asdict(GATE) if name == "gate" else value.to_dict() for name, value in DOCUMENTS.items()}  # type: ignore[attr-defined]
for name, document in (documents | {"names": sorted(known_names() - before)}).items():
    (folder / f"{name}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")

text = "to be or not to be\n" * 20
corpus = Corpus.of(Vocabulary.of(text), [text], text[:100])
trainer = Trainer(corpus, NetworkOptions(layers=1, units=2), TrainingOptions(epochs=2, batch=8, unroll=8))
trainer.run(lambda progress: progress.step >= 6)
trainer.checkpoint.save(folder / "checkpoint.safetensors")
trainer.run()
trainer.trained_model(lambda: None).model.save(folder / "model")
load(folder / "model")
