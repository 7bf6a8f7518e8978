# SPDX-License-Identifier: Apache-2.0
"""Helpers of several test modules."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn

import pytest

from ktls import KtlsOSError


def missing(what: str, install: str) -> NoReturn:
    """Skip with the command that helps; in CI a missing tool is a failure."""
    unavailable(f"{what} is not installed; install it with: {install}")


def unavailable(text: str) -> NoReturn:
    """Skip because of `text`; in CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


def fails(number: int, call: Callable[..., object], *args: object) -> None:
    """The call must fail with this errno, as Linux's does."""
    with pytest.raises(OSError) as e:  # noqa: PT011  (the number is what counts)
        call(*args)
    assert isinstance(e.value, KtlsOSError)
    assert e.value.errno == number, str(e.value)
