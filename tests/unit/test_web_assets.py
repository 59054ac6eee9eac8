"""Files of the page that others made are what the table beside them says, with their licenses."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from producer.web.templates import STATIC

VENDOR = STATIC / "vendor"
ROW = re.compile(r"\| (\S+) \| [^|]+ \| [\d.]+ \| \[\w+\]\((\S+)\) \| ([0-9a-f]{64}) \|")


def test_every_asset_is_in_the_table_with_its_license() -> None:
    rows = ROW.findall((VENDOR / "README.md").read_text())
    made_elsewhere = {path.name for path in VENDOR.iterdir() if path.suffix in (".js", ".css")}
    assert {name for name, _, _ in rows} == made_elsewhere
    for name, license_file, sha256 in rows:
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == sha256
        assert (VENDOR / license_file).stat().st_size > 100


def test_no_template_names_another_server_or_has_a_script_or_a_style_of_its_own() -> None:
    for path in Path(STATIC.parent, "templates").iterdir():
        html = path.read_text()
        assert not re.search(r"https?://", html), path.name
        assert not re.search(r"<script(?! src=)|\sstyle=|\son\w+=", html), path.name
