"""Fuzz target for settings: variables, and the files that they name.

No URL names another host than this one, and no path leads out of the test's folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import strategies as st

from charrnn.jobs.settings import Settings
from charrnn.jobs.sources import FROM_FILE, PREFIX
from tests.fixtures.processes import Home
from tests.fuzz.exploration import REFUSED, Exploration, check_said
from tests.fuzz.mutations import ODD_BYTES, arguments, mutated_bytes

SECONDS = [name for name in Settings.names() if name.endswith("_s")]
NUMBERS = ("0", "-1", "1e400", "nan", "inf", "1", "0.1", "1e-320", "3600", "3601", "1_0", "١", " 5 ", "0x5", "9" * 5000)
HOSTS = (
    "127.0.0.1",
    "localhost",
    "[::1]",
    "[",
    "[::1",
    "",
    "127.0.0.1:1",
    "127.0.0.1:99999",
    "127.0.0.1:x",
    "a:b@127.0.0.1:1",
)
SCHEMES = (
    "redis",
    "rediss",
    "redis+socket",
    "redis+redis",
    "postgresql",
    "postgres",
    "sqlite",
    "sqlite+pysqlite",
    "mysql",
    "memory",
    "http",
    "file",
    "",
    "REDIS",
    "sentinel",
    "amqp",
    "postgresql+psycopg",
)
QUERIES = (
    "",
    "?",
    "?virtual_host=0",
    "?virtual_host=x",
    "?ssl_cert_reqs=x",
    "?ssl_cert_reqs=none",
    "?socket_timeout=x",
    "?db=-1",
    "?health_check_interval=x",
    "?mode=memory&uri=true",
    "?options=x",
    "?connect_timeout=x",
    "?x=%00",
    "?password=x",
    "?sslmode=x",
    "?%ff=%ff",
    "#x",
    ";x",
)
COMMANDS = (["jobs"], ["doctor"], ["submit", "-m", "tiny", "--dry-run"], ["models"], ["store", "check"])

Environment = dict[str, str]

path = st.lists(
    st.sampled_from(["a", ".", "%2e", "%00", "é", " ", "x" * 300, "0", "1", "store.sqlite", "{}", "%", "?", "\udcff"]),
    max_size=3,
).map("/".join)
urls = st.builds(
    lambda scheme, mark, host, path, query: f"{scheme}{mark}{host}/{path}{query}",
    st.sampled_from(SCHEMES),
    st.sampled_from(["://", ":", ":/", "//"]),
    st.sampled_from(HOSTS),
    path,
    st.sampled_from(QUERIES),
)
files_urls = st.sampled_from(
    ["s3://", "s3:///x", "s3://bucket/../x", "s3://Bad_/x", "S3://x", "file:///x", "http://127.0.0.1:1/"]
)
texts = arguments().filter(lambda text: not text.startswith(("/", "~", ".")))  # in the test's folder


def environments(folder: Path) -> st.SearchStrategy[Environment]:
    """Return settings with at most three odd values, and sometimes files with them."""
    values: dict[str, st.SearchStrategy[str]] = {name: st.sampled_from(NUMBERS) | texts for name in SECONDS}
    inside = path.map(lambda path: f"{folder}/{path}")
    values |= {
        "home": inside | texts,
        "redis_url": urls | texts,
        "store_url": urls | inside.map(lambda path: f"sqlite:///{path}") | texts,
        "files_url": files_urls | inside | texts,
        "corpus_roots": texts | inside | files_urls,
        "nonsense": texts,
    }
    one = st.sampled_from([*values]).flatmap(
        lambda name: st.tuples(st.just(PREFIX + name.upper()), values[name]).map(lambda pair: {pair[0]: pair[1]})
    )
    from_file = st.tuples(st.sampled_from([*values]), st.sampled_from(["value", "missing", ".", "pipe"])).map(
        lambda pair: {f"{PREFIX}{pair[0].upper()}{FROM_FILE.upper()}": str(folder / pair[1])}
    )
    return st.lists(one | one | one | from_file, min_size=1, max_size=3).map(
        lambda chosen: {name: value for settings in chosen for name, value in settings.items()}
    )


def test_settings(exploration: Exploration, fuzz_home: Home, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    content = st.sampled_from(ODD_BYTES) | mutated_bytes(b"redis://:secret@127.0.0.1:1/0")
    content = content.filter(lambda data: b"127.0.0.1" in data or len(data) > 100 or b":" not in data)

    def check(value: tuple[Environment, bytes, list[str]]) -> None:
        environment, data, command = value
        (folder / "value").write_bytes(data)
        home = Home(fuzz_home.path, {**fuzz_home.settings, **environment})
        check_said(home.call(*command), [*REFUSED, 4])

    exploration.run(st.tuples(environments(folder), content, st.sampled_from(COMMANDS)), check)
