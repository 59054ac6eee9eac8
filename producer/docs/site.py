"""The pages of the documentation site, gathered from docs/ and the documents beside it: `make docs`."""

from __future__ import annotations

import re
import shutil
import sys
from os.path import relpath
from pathlib import Path

BESIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "bench/README.md": "bench.md",
    "deploy/README.md": "deploy.md",
}
"""Documents that stay where a reader of the repository looks for them, and their names in the site."""

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^()#:\s]+)(#[^()\s]*)?\)")


def main(root: Path, target: Path) -> None:
    """Write the pages and what they show into a folder, which has no others. Their links lead to each other.

    Raises:
        SystemExit: a link leads to no file.
    """
    pages = {root / source: target / name for source, name in BESIDE.items()}
    pages |= {path: target / path.relative_to(root / "docs") for path in (root / "docs").rglob("*.*")}
    shutil.rmtree(target, ignore_errors=True)
    for source, page in pages.items():
        page.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md":
            page.write_text(linked(source, pages))
        else:
            shutil.copyfile(source, page)


def linked(source: Path, pages: dict[Path, Path]) -> str:
    """Return the text of a page. A link to a file outside of the site, such as a test, becomes plain text."""

    def link(found: re.Match[str]) -> str:
        image, label, path, anchor = found.groups("")
        file = (source.parent / path).resolve()
        if not file.exists():
            raise SystemExit(f"{source}: the link to {path} leads to no file. Correct it, or add the file")
        if file not in pages:
            return label
        return f"{image}[{label}]({relpath(pages[file], pages[source].parent)}{anchor})"

    return LINK.sub(link, source.read_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
