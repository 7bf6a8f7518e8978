# SPDX-License-Identifier: Apache-2.0
"""Errors of the test environment; `ktls.errors` has those of the driver and the device."""

from __future__ import annotations


class CosimError(Exception):
    """Base class of every error that the test environment raises."""


class SimulatorMissing(CosimError):
    """The simulator is not installed; the message names the command that installs it."""


class CompilerMissing(CosimError):
    """The C compiler is not installed; the message names the command that installs it."""


class SimulatorError(CosimError):
    """The simulator did not compile the sources, did not start, or ended unexpectedly."""
