# SPDX-License-Identifier: Apache-2.0
"""Where builds and logs go, in a checkout and in a wheel, and what `doctor` says about it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ktls_cosim import paths
from ktls_cosim.cli import main
from ktls_cosim.doctor import run_doctor
from ktls_cosim.errors import CosimError
from ktls_cosim.paths import ROOT, build_root


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("KTLS_BUILD", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def from_a_wheel(monkeypatch: pytest.MonkeyPatch, no_variables: None) -> None:
    monkeypatch.setattr(paths, "IN_CHECKOUT", False)


@pytest.mark.usefixtures("no_variables")
def test_a_checkout_has_its_own_build_folder() -> None:
    assert build_root() == ROOT / "build"


@pytest.mark.usefixtures("from_a_wheel")
def test_a_wheel_uses_the_cache_folder_of_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert build_root() == tmp_path / ".cache" / "ktls-cosim"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert build_root() == tmp_path / ".cache" / "ktls-cosim"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert build_root() == tmp_path / "cache" / "ktls-cosim"
    assert build_root().is_dir()


@pytest.mark.usefixtures("from_a_wheel")
def test_a_user_without_a_home_must_name_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(CosimError, match="no home folder; set KTLS_BUILD"):
        build_root()


def test_ktls_build_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    # absolute, because the simulators run in other folders
    monkeypatch.setenv("KTLS_BUILD", "here")
    assert build_root() == tmp_path / "here"


def test_folder_that_cannot_be_created_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KTLS_BUILD", str(tmp_path / "file" / "build"))
    assert main(["demo", "--port", "sim"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ktls-cosim: cannot write to {tmp_path}/file/build (")
    assert line.endswith("; set KTLS_BUILD to a folder that you can write to")
    assert run_doctor() == 1
    assert f"MISSING  folder for builds and logs: {line[12:]}\n" in capsys.readouterr().out


def test_folder_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KTLS_BUILD", str(tmp_path))
    # root may write everywhere
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(CosimError, match=r"cannot write to .* \(no permission\); set KTLS_BUILD"):
        build_root()


@pytest.mark.parametrize("tool", ["iverilog", "vvp"])
def test_doctor_fails_without_icarus(
    tool: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    present = tmp_path / tool
    present.write_text("#!/bin/sh\necho Icarus Verilog version 11.0\n")
    present.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_doctor() == 1
    assert "MISSING  Icarus Verilog: apt-get install iverilog\n" in capsys.readouterr().out
