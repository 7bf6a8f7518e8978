# SPDX-License-Identifier: Apache-2.0
"""Every command at its edges: one clear line and the right status instead of a traceback."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ktls import KERNELS
from ktls_cosim import demo, doctor
from ktls_cosim.cli import main
from ktls_cosim.commands import COMMANDS
from ktls_cosim.conformance.player import Player
from ktls_cosim.kernel import differential
from ktls_cosim.kernel.uml import LiveKernel

ULP = str(Path(__file__).parents[2] / "oracle" / "ulp.jsonl")
PROGRAM = [sys.executable, "-m", "ktls_cosim"]
ENV = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
# arguments that work on the functional model, and the status; without PATH there is no simulator
# and no User-Mode Linux, which keeps `bench` and `kernel` short
QUICK = {
    "demo": (("--port", "model"), 0),
    "serve": (("--port", "model", "--listen", "nonsense", "."), 2),
    "fetch": (("https://127.0.0.1:1/",), 1),
    "run": (("--", "/bin/true"), 1),
    "card": (("--socket", "/no/such/folder/card"), 2),
    "conformance": ((ULP,), 0),
    "kernel": ((), 2),
    "vectors": (("--port", "model", "--sample", "1"), 0),
    "bench": (("rtl",), 2),
    "doctor": ((), 1),
}


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, and the commands' own handlers are removed."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    old = [signal.signal(n, signal.default_int_handler) for n in numbers]
    yield
    for number, handler in zip(numbers, old, strict=True):
        signal.signal(number, handler)


def status_of(*argv: str) -> int:
    """Run a command in this process."""
    try:
        return main(list(argv))
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else -1


def test_every_command_is_tried() -> None:
    assert set(QUICK) == {c.name for c in COMMANDS}


# ------------------------------------------------------------------ wrong values


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("demo --lanes 3", "--lanes: invalid choice:"),
        ("demo --sim nonsense", "--sim: invalid choice: 'nonsense'"),
        ("demo --port model --waves", "the functional model records no waves"),
        ("serve . --listen nonsense", "'nonsense' is not HOST:PORT"),
        ("fetch https://localhost/ --tls 1.1", "--tls: invalid choice: '1.1'"),
        ("run --kernel 2.6 -- true", "--kernel: invalid choice: '2.6'"),
        ("conformance . --jobs 0", "--jobs: 0 is too small; the minimum is 1"),
        ("conformance /no/such/file", "/no/such/file does not exist"),
        ("kernel --scripts 0", "--scripts: 0 is too small; the minimum is 1"),
        ("kernel --seed -1", "--seed: -1 is too small; the minimum is 0"),
        ("vectors --sample 0", "--sample: 0 is too small; the minimum is 1"),
        ("vectors --sample -1", "--sample: -1 is too small; the minimum is 1"),
        ("vectors --sample many", "--sample: 'many' is not an integer"),
        ("bench nonsense", "invalid choice: 'nonsense'"),
        ("bench rtl --lanes 0", "--lanes: invalid choice:"),
        ("bench model --lanes 2", "bench model simulates nothing"),
        ("bench sim --sim icarus", "bench sim measures every simulator"),
        ("card", "the following arguments are required: --socket"),
        ("card --socket /no/such/folder/card", "cannot listen at /no/such/folder/card"),
        ("card --socket x --port software", "--port: invalid choice: 'software'"),
        ("card --socket x --waves", "the functional model records no waves"),
        ("doctor --port model", "unrecognized arguments: --port model"),
    ],
)
def test_a_wrong_value_is_named(
    command: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(*command.split()) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_an_option_replaces_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANES", "3")
    assert status_of("demo", "--port", "model") == 2
    assert "LANES=3" in capsys.readouterr().err
    assert status_of("demo", "--port", "model", "--lanes", "2") == 0


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("--version") == 0
    assert capsys.readouterr().out.startswith("ktls-cosim 0.")


# -------------------------------------------------------------------- files


@pytest.mark.parametrize(
    "command",
    [
        "demo --json", "demo --capture", "demo --trace", "serve . --capture", "serve . --trace",
        "fetch https://localhost/ -o", "fetch https://localhost/ --trace", "run --trace",
        "run --capture", "conformance . --json", "kernel --json", "vectors --json",
        "vectors --trace", "bench rtl --json", "doctor --json",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["missing/file", "file/file", "."])
def test_an_output_file_is_checked_before_the_work(
    command: str, path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert status_of(*command.split(), str(tmp_path / path)) == 2
    assert str(tmp_path / path) in capsys.readouterr().err


def test_the_check_leaves_files_as_they_are(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("content")
    status_of("vectors", "--sample", "0", "--json", str(old), "--trace", str(new))
    assert status_of("vectors", "--json", str(old), "--trace", str(new), "--sample", "0") == 2
    assert old.read_text() == "content"
    assert not new.exists()


@pytest.mark.parametrize("command", ["serve .", "run -- true"])
def test_an_unusable_build_folder_is_named(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KTLS_BUILD", str(tmp_path / "file" / "build"))
    monkeypatch.delenv("OPENSSL_CONF", raising=False)
    assert status_of(*command.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "file" / "build") in line
    assert "KTLS_BUILD" in line


# -------------------------------------------------------- terminal, pipe, disk


def finish(
    *argv: str, stdout: int | None = subprocess.PIPE, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *argv], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
        text=True, timeout=60, check=False, env={**ENV, **env},
    )  # fmt: skip


@pytest.mark.parametrize("command", QUICK)
def test_without_a_terminal_the_output_is_plain(command: str, tmp_path: Path) -> None:
    arguments, status = QUICK[command]
    done = finish(command, *arguments, PATH=str(tmp_path))
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    if status == 0:
        assert done.stderr == "", "the log and the progress are silent by default"


@pytest.mark.parametrize("command", QUICK)
def test_a_closed_pipe_ends_a_command_quietly(command: str, tmp_path: Path) -> None:
    arguments, status = QUICK[command]
    if command == "serve":
        arguments = ("--listen", "127.0.0.1:0", ".")
    reader, writer = os.pipe()
    os.close(reader)
    done = finish(command, *arguments, PATH=str(tmp_path), stdout=writer)
    os.close(writer)
    prints = command not in ("fetch", "run", "kernel", "bench", "card")
    assert done.returncode == (141 if prints else status)
    if prints:
        assert done.stderr == ""
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("command", ["demo", "conformance", "vectors", "doctor"])
def test_a_full_disk_is_an_error(command: str, tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = finish(command, *QUICK[command][0], PATH=str(tmp_path), stdout=full.fileno())
    assert (done.returncode, done.stderr) == (2, "ktls-cosim: No space left on device\n")


def test_a_terminal_shows_the_progress_beside_the_output() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "vectors", "--port", "model", "--sample", "20"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, text=True,
        env={**ENV, "TERM": "xterm"},
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:
            pass  # the other side has closed the terminal
        assert process.stdout is not None
        out = process.stdout.read()
    os.close(ours)
    assert process.returncode == 0
    assert b"/120 cases" in shown
    assert "total" in out
    assert "\x1b" not in out


# ------------------------------------------------------------------------ Ctrl-C


def forever(*_args: object, **_kw: object) -> NoReturn:
    time.sleep(60)
    raise AssertionError("nobody interrupted the command")


def interrupted(*argv: str) -> int:
    """Run a command in this process and send SIGINT while it works."""
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        return status_of(*argv)
    finally:
        timer.cancel()


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("command", sorted(set(QUICK) - {"card", "run", "serve"}))
def test_ctrl_c_is_one_line(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "application", forever)
    monkeypatch.setattr(doctor, "examine", forever)
    monkeypatch.setattr(differential, "find_kernel", lambda: LiveKernel("", Path("6.1.176")))
    monkeypatch.setattr(differential, "run_on_kernel", forever)
    monkeypatch.setattr("ktls_cosim.bench.cli.run_bench_model", forever)
    monkeypatch.setattr("ktls_cosim.conformance.run.play", forever)
    monkeypatch.setattr("ktls_cosim.vectors.run.Player.play", forever)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        arguments = {
            "demo": ("--port", "model"),
            "fetch": (f"https://127.0.0.1:{silent.getsockname()[1]}/",),
            "kernel": ("--jobs", "1"),
            "conformance": (ULP, "--jobs", "1"),
            "vectors": ("--port", "model"),
            "bench": ("model",),
        }
        assert interrupted(command, *arguments.get(command, ())) == 130
    assert capsys.readouterr().err == "ktls-cosim: interrupted\n"


def interrupted_when_ready(*argv: str) -> tuple[int, str]:
    """Send SIGINT after the first line of output; return the status and standard error."""
    with subprocess.Popen(
        [*PROGRAM, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    return process.returncode, err


def test_ctrl_c_ends_a_server_without_a_client(tmp_path: Path) -> None:
    status, err = interrupted_when_ready("serve", str(tmp_path), "--listen", "127.0.0.1:0")
    assert (status, err) == (130, "ktls-cosim: no client connected, so nothing was checked\n")


def test_ctrl_c_ends_a_card_without_a_client(tmp_path: Path) -> None:
    status, err = interrupted_when_ready("card", "--socket", str(tmp_path / "card"))
    assert (status, err) == (130, "ktls-cosim: no client connected\n")


def test_ctrl_c_ends_the_program_of_run() -> None:
    code = "import time; print('ready', flush=True); time.sleep(60)"
    status, err = interrupted_when_ready("run", "--", sys.executable, "-c", code)
    assert status == 130
    assert "ktls_cosim" not in err, "a traceback of ours"


def sleep_in_a_worker(item: int) -> int:
    child = subprocess.Popen(["sleep", "60"])
    Path(os.environ["LEFT"], f"began{item}").touch()
    try:
        child.wait()
    finally:
        child.kill()
        child.wait()
        Path(os.environ["LEFT"], f"left{item}").touch()
    return item


WORKERS = """
from ktls_cosim import cli, parallel
from test_cli_edges import sleep_in_a_worker
cli._run = lambda _argv: len(list(parallel.spread(sleep_in_a_worker, range(5), 2)))
raise SystemExit(cli.main([]))
"""


def test_ctrl_c_ends_worker_processes_and_their_children(tmp_path: Path) -> None:
    """Only the parent receives the signal; the blocks of the workers are left in order."""
    path = os.pathsep.join((str(Path(__file__).parent), ENV["PYTHONPATH"]))
    with subprocess.Popen(
        [sys.executable, "-c", WORKERS], stderr=subprocess.PIPE, text=True,
        env={**ENV, "LEFT": str(tmp_path), "PYTHONPATH": path}, start_new_session=True,
    ) as process:  # fmt: skip
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "ktls-cosim: interrupted\n")
    assert sorted(p.name for p in tmp_path.glob("left*")) == ["left0", "left1"]
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


# ------------------------------------------------------------------------- JSON


def as_the_model(scripts: list[Any], _kernel: Any) -> list[Any]:
    return [Player(KERNELS["6.1"]).play(script) for script in scripts]


@pytest.mark.parametrize(
    ("command", "count"),
    [
        ("demo --port model", lambda data: len(data["records"])),
        ("vectors --port model --sample 1", lambda data: len(data["groups"])),
        (f"conformance {ULP} --jobs 1", lambda data: data["passed"]),
        ("kernel --scripts 2 --jobs 1", lambda data: data["scripts"]),
        ("doctor", len),
    ],
)
def test_every_judgement_can_be_written(
    command: str, count: Callable[[Any], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(differential, "find_kernel", lambda: LiveKernel("", Path("6.1.176")))
    monkeypatch.setattr(differential, "run_on_kernel", as_the_model)
    out = tmp_path / "out.json"
    status = status_of(*command.split(), "--json", str(out))
    assert status == 0 or command == "doctor"
    assert count(json.loads(out.read_text())) > 1


def test_a_failure_is_written_as_well(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert (
        status_of("demo", "--port", "model", "--fault", "SWAPPED_TAG_BYTES", "--json", str(out))
        == 1
    )
    data = json.loads(out.read_text())
    assert not data["passed"]
    assert data["mismatches"]
