# SPDX-License-Identifier: Apache-2.0
"""Which file of a folder a request names, and which bytes of it."""

from __future__ import annotations

import os
import re
import stat

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


def inside(root: str, path: str) -> bool:
    """Return whether a path, all symbolic links followed, lies in a folder.

    Args:
        root: The folder, as `os.path.realpath` names it.
        path: A path, which need not exist.
    """
    try:
        return os.path.commonpath((root, os.path.realpath(path))) == root
    except (OSError, ValueError):  # a zero byte
        return False


def is_servable(path: str) -> bool:
    """Return whether a path is a regular file or a folder: opening a FIFO would wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def byte_range(header: str | None, size: int) -> range | None:
    """Return the bytes that a Range header asks for (RFC 9110 section 14.2).

    Args:
        header: The header; several ranges, other units and nonsense ask for the whole file.
        size: Bytes of the file.

    Returns:
        None for the whole file; an empty range if the file has none of the bytes.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if not found or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(min(int(first), size), min(int(last) + 1 if last else size, size))
