"""The documentation site is built strictly, shows every page, and loads nothing from other hosts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from producer.docs.site import main

ROOT = Path(__file__).parents[2]
LOADED = re.compile(r"<(?:script|img|source|iframe|video|link)\b[^>]*?\s(?:src|href)=\"?([^\">\s]+)")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the configuration of the site and its pages."""
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    main(ROOT, tmp_path / ".site" / "pages")
    return tmp_path


def build(project: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def test_the_built_pages_load_nothing_from_other_hosts(project: Path) -> None:
    # Catches: a font, script or diagram that a browser fetches from elsewhere
    done = build(project)
    assert done.returncode == 0, done.stderr
    pages = list((project / ".site" / "html").glob("*.html"))
    assert {"index.html", "tutorial.html", "api.html"} <= {page.name for page in pages}
    for page in pages:
        text = page.read_text()
        assert [url for url in LOADED.findall(text) if re.match(r"(https?:)?//", url)] == [], page.name
        assert 'class="mermaid' not in text, page.name  # the theme's script would fetch the one that draws it
    for style in (project / ".site" / "html").rglob("*.css"):
        assert not re.search(r"@import|url\(['\"]?(https?:)?//", style.read_text()), style.name


other_link = pytest.mark.slow("test_a_link_that_leads_nowhere_ends_the_build")


@pytest.mark.parametrize(
    "link",
    [
        "[x](tutorial.md#nowhere)",
        "[x](nowhere.md)",
        pytest.param("[x](#nowhere)", marks=other_link),
    ],
)
def test_a_link_that_leads_nowhere_ends_the_build(project: Path, link: str) -> None:
    # Catches: a build without --strict, or a setting that turns its checks off
    with open(project / ".site" / "pages" / "team.md", "a") as file:
        file.write(f"\n{link}\n")
    done = build(project)
    assert done.returncode != 0
    assert "does not exist" in done.stderr


def test_every_page_is_in_the_navigation(project: Path) -> None:
    listed = list(paths(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(listed) == sorted(page.name for page in (project / ".site" / "pages").glob("*.md"))


def paths(entry: Any) -> Iterator[str]:
    """Yield the pages below an entry of the navigation."""
    if isinstance(entry, str):
        yield entry
    else:
        for below in entry.values() if isinstance(entry, dict) else entry:
            yield from paths(below)


def test_the_python_reference_matches_the_docstrings() -> None:
    # Catches: a docstring or signature that was changed without `make docs`
    written = subprocess.run(
        [sys.executable, "-m", "producer.docs.api"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert (ROOT / "docs" / "api.md").read_text() == written
