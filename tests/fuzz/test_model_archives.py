"""Fuzz target for the archives that `models import` reads."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from charrnn.jobs.models.manifest import MANIFEST
from charrnn.model_files import CONFIG, METRICS, VOCABULARY
from tests.fixtures.processes import Home
from tests.fixtures.refusals import stored
from tests.fuzz.exploration import Exploration, check_said
from tests.fuzz.mutations import documents, mutated_bytes, mutated_json, odd_texts

UNIX, REGULAR = 3, 0o100644 << 16  # as an export writes each member

Members = dict[str, bytes]


def archived(path: Path, members: Members) -> None:
    """Write an archive as an export does, so that a reader comes to the members' contents."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = UNIX, REGULAR
            archive.writestr(entry, content)


def listed(members: Members) -> Members:
    """Return members with a manifest that lists their true sizes and hashes."""
    manifest: dict[str, Any] = json.loads(members[MANIFEST])
    manifest["files"] = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in members.items()
        if name != MANIFEST
    }
    return members | {MANIFEST: json.dumps(manifest).encode()}


def changed(members: Members) -> st.SearchStrategy[Members]:
    """Return members of which one has another content, or another name."""

    def content(name: str) -> st.SearchStrategy[Members]:
        whole = members[name]
        is_json = name in (MANIFEST, CONFIG, VOCABULARY, METRICS)
        others = documents(json.loads(whole)) if is_json else mutated_bytes(whole)
        replaced = others.map(lambda other: members | {name: other})
        return replaced if name == MANIFEST else replaced.map(listed)

    def renamed(name: str) -> st.SearchStrategy[Members]:
        others = odd_texts(100).filter(lambda other: other.isprintable())  # zipfile writes no others
        return others.map(lambda other: {(other if old == name else old): data for old, data in members.items()})

    return st.sampled_from([*members]).flatmap(content) | st.sampled_from([*members]).flatmap(renamed)


def renamed_model(members: Members) -> st.SearchStrategy[Members]:
    """Return members with a changed manifest that still lists their true sizes and hashes."""

    def parsed(text: str) -> Members:
        try:
            known = isinstance(json.loads(text), dict)
        except (ValueError, RecursionError):
            known = False
        whole = members | {MANIFEST: text.encode(errors="surrogatepass")}
        return listed(whole) if known else whole

    manifest = json.loads(members[MANIFEST])
    del manifest["files"]
    return mutated_json(manifest).map(parsed)


def test_model_archives(exploration: Exploration, fuzz_home: Home, folder: Path, untrained: str) -> None:
    whole, path = Path(untrained).read_bytes(), folder / "model.zip"
    with zipfile.ZipFile(untrained) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def check(value: bytes | Members) -> None:
        if isinstance(value, bytes):
            path.write_bytes(value)
        else:
            archived(path, value)
        before = stored(fuzz_home)
        done = fuzz_home.call("models", "import", str(path))
        check_said(done)
        if done.returncode:
            assert stored(fuzz_home) == before
        else:  # so that the next import does not take longer
            name = done.stdout.strip()
            if name != "tiny@1":
                check_said(fuzz_home.call("models", "delete", name))

    exploration.run(mutated_bytes(whole) | changed(members) | renamed_model(members), check)
