# SPDX-License-Identifier: Apache-2.0
"""The error message for a simulator that dies; needs no simulator."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ktls_cosim.errors import SimulatorError
from ktls_cosim.sim import remote
from ktls_cosim.sim.wire import FD_VARIABLE


def test_error_contains_output_written_after_the_socket_closed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # the text of $fatal reaches the log only when the simulator exits, after its socket has closed
    script = f'eval "exec ${FD_VARIABLE}>&-"; sleep 0.3; echo FATAL: last words'

    def dying(*_: Any, env: dict[str, str], **__: Any) -> tuple[list[str], dict[str, str]]:
        return ["bash", "-c", script], os.environ | env

    monkeypatch.setattr(remote, "compile_build", lambda *_, **__: tmp_path)
    monkeypatch.setattr(remote, "command_and_env", dying)
    monkeypatch.setattr(remote, "find_simulator", lambda _: None)
    monkeypatch.setattr(remote, "build_root", lambda: tmp_path)
    with remote.RemoteSim() as port, pytest.raises(SimulatorError, match="FATAL: last words"):
        port.now()
