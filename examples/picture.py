"""Draws what `make demo` prints as a picture of a terminal, docs/demo.svg.

make demo >demo.txt 2>&1 && python examples/picture.py <demo.txt >docs/demo.svg
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.text import Text

WIDTH = 96  # columns
SHOWN = re.compile(r"\$ charrnn-jobs (train|submit)|epoch [1368]:|job \d+: done|Generated|\d+ of \d+ distinct")

# Rich's own format with the reader's fonts instead of fonts from a server.
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: {char_height}px;
  line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
    for line in shown(sys.stdin):
        style = "bold" if line.startswith("$") else "dim" if line.startswith("  ") else ""
        console.print(Text(line, style))
    sys.stdout.write(console.export_svg(title="make demo", code_format=FORMAT, unique_id="demo"))


def shown(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines that tell the story: commands, some epochs with their first preview, and the new names."""
    follows = False  # the line belongs to the one before it
    for line in map(str.rstrip, lines):
        starts = SHOWN.match(line) is not None
        if starts and not line.startswith(("epoch", "job")):
            yield ""
        if starts or follows:
            yield re.sub(r"\S*/\.demo/", ".demo/", line) if line.startswith("$") else line[:WIDTH]
        follows = (starts and line.startswith(("epoch", "Generated"))) or (follows and line.endswith(","))


if __name__ == "__main__":
    main()
