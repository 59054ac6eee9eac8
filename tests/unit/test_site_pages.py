"""How the pages of the site link to each other, and to what is beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from producer.docs.site import BESIDE, main


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a page, a picture, a test, and the documents beside docs/."""
    for name in [*BESIDE, "docs/page.md", "docs/picture.png", "docs/schemas/row.json", "tests/test_it.py"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def written(root: Path, name: str) -> str:
    main(root, root / "pages")
    return (root / "pages" / name).read_text()


def test_links_lead_to_the_same_places_from_pages_that_were_moved(root: Path) -> None:
    (root / "deploy/README.md").write_text("[a](../docs/page.md#x) [b](../SECURITY.md) ![c](../docs/picture.png)\n")
    assert written(root, "deploy.md") == "[a](page.md#x) [b](security.md) ![c](picture.png)\n"
    (root / "docs/page.md").write_text(
        "[a](../README.md) [b](schemas/row.json) [c](#here) [d](https://example.org/e)\n"
    )
    assert written(root, "page.md") == "[a](index.md) [b](schemas/row.json) [c](#here) [d](https://example.org/e)\n"


def test_links_to_what_the_site_lacks_become_text(root: Path) -> None:
    (root / "docs/page.md").write_text("see [test_it.py](../tests/test_it.py) and [tests](../tests)\n")
    assert written(root, "page.md") == "see test_it.py and tests\n"


def test_a_link_to_no_file_is_refused(root: Path) -> None:
    (root / "docs/page.md").write_text("![a](lost.png)\n")
    with pytest.raises(SystemExit, match=r"page\.md: the link to lost\.png leads to no file"):
        written(root, "page.md")
