# SPDX-License-Identifier: Apache-2.0
"""Errors of the test environment; those of driver and device are in `ktls.errors`."""

from __future__ import annotations


class CosimError(Exception):
    """Base of everything that the environment itself raises."""


class SimulatorMissing(CosimError):
    """The simulator is not installed; the message says how to install it."""


class SimulatorError(CosimError):
    """The simulator did not compile, did not start, or ended before its time."""
