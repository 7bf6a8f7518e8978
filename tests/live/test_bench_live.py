# SPDX-License-Identifier: Apache-2.0
"""`bench live` runs; no test depends on its figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ktls_cosim.bench import live
from ktls_cosim.errors import CosimError


def test_bench_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live, "CONNECTIONS", (1, 3))
    out = tmp_path / "live.json"
    assert live.run_bench_live(out, seconds=0.2) == 0
    rows = json.loads(out.read_text())["live"]
    servers = {row["server"] for row in rows}
    assert {"ktls-cosim serve", "Python ssl"} <= servers
    assert len(rows) == len(servers) * 4
    assert all(row["requests_per_second"] > 0 for row in rows)
    assert "of Python ssl" in capsys.readouterr().out


def test_a_server_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "self_signed", lambda: Path("/does/not/exist.pem"))
    with pytest.raises(CosimError, match="instead of its port"):
        live.run_bench_live(None, seconds=0.1)
