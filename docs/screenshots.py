# SPDX-License-Identifier: Apache-2.0
"""Terminal pictures for the README and the documentation: `python docs/screenshots.py`.

Each picture is the output of a command that really ran, drawn as SVG. The test
`tests/meta/test_docs.py` runs the commands again and compares the text.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

IMAGES = Path(__file__).resolve().parent / "images"

SCREENSHOTS = {
    "demo": "ktls-cosim demo",
    "failure": "ktls-cosim demo --port model --fault COUNTER_START",
}
"""File name without suffix: the command it shows."""

# the fonts of Rich's template are downloaded by the browser; any local monospace font will do
_TEMPLATE = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", "ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace"
)


def run(command: str) -> str:
    """Run a command of this project.

    Args:
        command: `ktls-cosim` and its arguments.

    Returns:
        What it prints on standard output, ANSI colours included.
    """
    argv = [sys.executable, "-m", "ktls_cosim", *command.split()[1:]]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    # the reader's environment is not in the place of ours
    return re.sub(r"\S*/ktls-cosim ", "ktls-cosim ", done.stdout)


def svg(command: str, output: str) -> str:
    """Draw a terminal with a command and its output.

    Args:
        command: the line after the prompt.
        output: text with ANSI colours.

    Returns:
        The picture as SVG, without references to other files.
    """
    text = Text.from_ansi(f"\x1b[1m$ {command}\x1b[0m\n{output.rstrip()}")
    width = max(len(line) for line in text.plain.splitlines())
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(text)
    return console.export_svg(
        title="ktls-cosim", theme=SVG_EXPORT_THEME, code_format=_TEMPLATE, unique_id="terminal"
    )


def main() -> int:
    """Write every picture into `docs/images`."""
    IMAGES.mkdir(exist_ok=True)
    for name, command in SCREENSHOTS.items():
        (IMAGES / f"{name}.svg").write_text(svg(command, run(command)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
