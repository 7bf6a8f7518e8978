# SPDX-License-Identifier: Apache-2.0
"""Tables, progress bars and JSON files of the commands, in one style."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table


class _Console(Console):
    """A console that leaves a closed pipe to the command line, as `print` does."""

    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError that is being handled."""
        raise


def console(width: int | None = None) -> Console:
    """Standard output for tables and lines.

    Args:
        width: Columns; without it long lines are left to the terminal.
    """
    return _Console(highlight=False, width=width, soft_wrap=width is None)


def progress(unit: str = "") -> Progress:
    """A progress bar on standard error, which vanishes at its end.

    It shows nothing if standard error is not a terminal or shows the log.

    Args:
        unit: What it counts, such as bytes.
    """
    err = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal or logging.getLogger("ktls").isEnabledFor(logging.INFO),
        # standard output may be a file: it must not go to the bar's console
        redirect_stdout=False,
        redirect_stderr=False,
    )


def table(columns: Sequence[str], *, left: Collection[str] = (), title: str | None = None) -> Table:
    """An empty table without borders.

    Args:
        columns: Headings.
        left: The columns with text, which are aligned left; all others are aligned right.
        title: Line above the table.
    """
    out = Table(title=title, box=None, pad_edge=False)
    for name in columns:
        out.add_column(name, justify="left" if name in left else "right")
    return out


def write_json(path: Path | None, data: object) -> None:
    """Write the figures of a command to the file of its option `--json`, if there is one."""
    if path is not None:
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
