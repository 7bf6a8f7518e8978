# SPDX-License-Identifier: Apache-2.0
"""A wheel is complete: installed on its own, it simulates the RTL in an empty folder."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from ktls_cosim.paths import ROOT
from support import have_simulator, missing


def run(
    *argv: str | Path, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv], cwd=cwd, env=env, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip


def pip(*argv: str | Path, cwd: Path) -> None:
    done = run("-m", "pip", *argv, "--quiet", "--no-deps", "--no-index", "--no-cache-dir", cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of this checkout; needs no network."""
    if importlib.util.find_spec("hatchling") is None:
        missing("hatchling", "pip install -e .[dev]")
    folder = tmp_path_factory.mktemp("sdist")
    done = run("-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = folder.glob("ktls_cosim-*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """The wheel that pip builds from the source distribution."""
    folder = sdist.with_name("wheel")
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, sdist, cwd=sdist.parent)
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A folder with nothing but the contents of the wheel."""
    folder = wheel.with_name("installed")
    pip("install", "--target", folder, wheel, cwd=wheel.parent)
    return folder


@pytest.fixture
def environment(installed: Path, tmp_path: Path) -> dict[str, str]:
    """Variables of a user whose Python finds the installed wheel before the checkout."""
    env = {k: v for k, v in os.environ.items() if k not in ("KTLS_BUILD", "SIM", "LANES")}
    return env | {"PYTHONPATH": str(installed), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def folder_of(names: list[str], folder: str) -> set[str]:
    return {n.removeprefix(folder) for n in names if n.startswith(folder)}


def checkout(folder: str) -> set[str]:
    """The files of a folder of the checkout, without those that Python writes."""
    return {
        p.relative_to(ROOT / folder).as_posix()
        for p in (ROOT / folder).rglob("*")
        if p.is_file() and p.suffix != ".pyc"
    }


def test_wheel_contains_packages_and_hardware_sources(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    assert folder_of(names, "ktls/") == checkout("driver/ktls")
    assert folder_of(names, "ktls_cosim/") == checkout("tb/ktls_cosim")
    data = {f"data/rtl/{name}" for name in checkout("rtl")}
    data |= {f"data/hw/include/{name}" for name in checkout("hw/include")}
    data |= {"data/hw/ktls_nic.rdl", "data/hw/rtl.f"}
    assert folder_of(names, "ktls_hw/") == checkout("hw/ktls_hw") | data


def test_sdist_contains_the_tests_and_no_output(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", ".ci/run", "docs/index.md", "tests/meta/test_wheel.py"} <= names
    assert not {n for n in names if n.startswith(("build/", ".venv/"))}


def test_demo_from_the_wheel_in_an_empty_folder(
    installed: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    have_simulator()
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run("-m", "ktls_cosim", "demo", "--waves", cwd=empty, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "records verified: 10, " in done.stdout
    assert done.stdout.endswith(", mismatches: 0\n")
    assert list(empty.iterdir()) == []
    # the simulator compiled the Verilog of the wheel, in the user's cache
    [build] = (tmp_path / "cache" / "ktls-cosim" / "sim").iterdir()
    simulation = (build / "sim.vvp").read_text()
    assert f"{installed}/ktls_hw/data/rtl/nic/ktls_nic.v" in simulation
    assert str(ROOT) not in simulation
    assert (tmp_path / "cache" / "ktls-cosim" / "runs" / "demo" / "waves.fst").is_file()


def test_doctor_from_the_wheel(
    installed: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    have_simulator()
    done = run("-m", "ktls_cosim", "doctor", cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"RTL: {installed}/ktls_hw/data/rtl\n" in done.stdout
    assert f": {tmp_path}/cache/ktls-cosim\n" in done.stdout
    (installed / "ktls_hw/data/rtl/nic/ktls_nic.v").rename(tmp_path / "ktls_nic.v")
    try:
        done = run("-m", "ktls_cosim", "doctor", cwd=tmp_path, env=environment)
    finally:
        (tmp_path / "ktls_nic.v").rename(installed / "ktls_hw/data/rtl/nic/ktls_nic.v")
    assert done.returncode == 1
    assert "MISSING  RTL" in done.stdout


def test_bench_sim_reports_a_missing_checkout(environment: dict[str, str], tmp_path: Path) -> None:
    done = run("-m", "ktls_cosim", "bench", "sim", cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs a checkout" in done.stderr
