# SPDX-License-Identifier: Apache-2.0
"""Helpers of several test modules."""

from __future__ import annotations

import os

import pytest


def missing(what: str, install: str) -> None:
    """Skip with the command that helps; in CI a missing tool is a failure."""
    text = f"{what} is not installed; install it with: {install}"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)
