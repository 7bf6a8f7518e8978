# SPDX-License-Identifier: Apache-2.0
"""The C driver on `ktls-cosim card`."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cards import SOURCES, Work, build, card, play
from ktls_cosim.bench import c_driver
from ktls_cosim.card.function import DEVICE, VENDOR
from ktls_cosim.check.golden import seal_record
from ktls_cosim.errors import CosimError
from ktls_cosim.paths import HW, ROOT, build_root
from ktls_cosim.sim.fst import end_time
from support import have_simulator, missing

README_RECORD = "170303001da0a1a2a3a4a5a6a7d4f1b86258af8d52d6dc228ab116d75f84f9818a60\n"
SIZES = (0, 16, 300, 1500, 16384)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs with AddressSanitizer and UndefinedBehaviorSanitizer."""
    return build(tmp_path_factory.mktemp("c"), SANITIZE="address,undefined")


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_builds_without_warnings(compiler: str, tmp_path: Path) -> None:
    if compiler == "clang" and shutil.which(compiler) is None:
        pytest.skip("clang is not installed; gcc is required, clang is not")
    build(tmp_path, CC=compiler)


def test_the_data_path_calls_no_library(tmp_path: Path) -> None:
    """`ktls_drv.o` needs no symbol of anybody."""
    build(tmp_path)
    if shutil.which("nm") is None:
        missing("nm", "apt-get install binutils")
    done = subprocess.run(
        ["nm", "-u", tmp_path / "ktls_drv.o"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_ids_are_those_of_the_card() -> None:
    text = (SOURCES / "ktls_drv.h").read_text()
    for name, value in (("VENDOR", VENDOR), ("DEVICE", DEVICE)):
        found = re.search(rf"KTLS_PCI_{name} (0x\w+)u", text)
        assert found
        assert int(found[1], 16) == value


def test_the_header_compiles_in_a_kernel_build(tmp_path: Path) -> None:
    """With the kernel's types only; `stdint.h` does not exist there."""
    types = tmp_path / "linux"
    types.mkdir()
    (types / "types.h").write_text(
        "typedef unsigned char __u8;\ntypedef unsigned short __le16;\n"
        "typedef unsigned int __le32;\ntypedef unsigned long long __le64;\n"
    )
    (types / "stddef.h").write_text("#define offsetof(t, m) __builtin_offsetof(t, m)\n")
    source = tmp_path / "module.c"
    source.write_text('#include "ktls_nic.h"\nstruct ktls_cqe c;\n')
    subprocess.run(
        ["cc", "-std=gnu11", "-D__KERNEL__", "-nostdinc", "-Wall", "-Wextra", "-Werror",
         f"-I{HW / 'include'}", f"-I{tmp_path}", "-c", source, "-o", tmp_path / "module.o"],
        check=True,
    )  # fmt: skip


@pytest.mark.parametrize("port", ["model", "sim", "lockstep"])
def test_hello_seal(port: str, programs: Path, tmp_path: Path) -> None:
    """Twice on one card: the second client finds it as the first one did."""
    with card(tmp_path, "--port", port, "--strict") as process:
        for _ in range(2):
            done = subprocess.run(
                [programs / "hello_seal", process.socket],
                capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout == README_RECORD
        assert process.stop() == 0


def test_the_program_of_the_documentation(tmp_path: Path) -> None:
    """docs/your-driver.md: the program compiles as shown and prints what the page shows."""
    page = (ROOT / "docs" / "your-driver.md").read_text()
    [program] = re.findall(r"^```c\n(.*?)^```$", page, re.M | re.S)
    output, audit = re.findall(r"^```text\n(.*?)^```$", page, re.M | re.S)
    (tmp_path / "first.c").write_text(program)
    subprocess.run(
        ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-I", SOURCES, "-I", HW / "include",
         tmp_path / "first.c", SOURCES / "vfio_card.c", "-o", tmp_path / "first"],
        check=True,
    )  # fmt: skip
    with card(tmp_path) as process:
        done = subprocess.run(
            [tmp_path / "first", process.socket],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert process.stop() == 0
    assert (done.returncode, done.stdout) == (0, output)
    assert process.output.endswith(audit)


@pytest.mark.parametrize("port", ["model", "sim", "lockstep"])
def test_vectors(port: str, programs: Path, tmp_path: Path) -> None:
    """Each ring and the errors have their own vector, through the masks of device and table."""
    objects = [programs / f"{name}.o" for name in ("vfio_card", "ktls_drv", "ktls_vfio")]
    subprocess.run(
        ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined",
         "-I", SOURCES, "-I", HW / "include", Path(__file__).with_name("vectors.c"), *objects,
         "-o", tmp_path / "vectors"],
        check=True,
    )  # fmt: skip
    with card(tmp_path, "--port", port) as process:
        for _ in range(3):
            done = subprocess.run(
                [tmp_path / "vectors", process.socket],
                capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, "")
        assert process.stop() == 0, process.output


def test_lockstep_finds_a_wrong_vector_of_the_rtl(programs: Path, tmp_path: Path) -> None:
    have_simulator()
    good = (ROOT / "rtl" / "nic" / "ktls_msg.v").read_text()
    broken = tmp_path / "ktls_msg.v"
    broken.write_text(good.replace("msg_vector <= turn;", "msg_vector <= turn ^ 4'd1;"))
    assert broken.read_text() != good
    work = Work(random.Random(0), rings=1)
    work.add(0)
    with card(tmp_path, "--port", "lockstep", "--rtl", str(broken)) as process:
        play(programs / "ktls_play", process.socket, 1, 3, work.commands)
        assert process.stop() == 1
    assert "lockstep: the primary sends a message of vector 1, the shadow" in process.output


def test_waves_at_a_register_access(programs: Path, tmp_path: Path) -> None:
    """As docs/your-driver.md shows: the log, the moment of the doorbell, the viewer's marker."""
    have_simulator()
    with card(tmp_path, "--port", "sim", "--waves", "--mark", "RING0_SQ_PROD=2") as process:
        for _ in range(2):
            subprocess.run([programs / "hello_seal", process.socket], check=True, timeout=60)
            [log] = build_root().glob("runs/card/registers.log")
            lines = [line.split() for line in log.read_text().splitlines()]
        assert process.stop() == 0
    accesses = [(int(ns), kind, name, int(value, 16)) for ns, _, _, _, kind, name, value in lines]
    assert accesses[0][1:] == ("read", "CAPS", 0x40_0411)
    times = [a[0] for a in accesses]
    assert times == sorted(times)
    bells = [a for a in accesses if a[2] == "RING0_SQ_PROD"]
    assert [a[3] for a in bells] == [1, 2, 3] * 2, "one descriptor each, for two clients"
    when = bells[-2][0]
    assert f"marked: write RING0_SQ_PROD 0x2 at {when} ns (cycle {when // 4})\n" in process.output
    waves = build_root() / "runs" / "card" / "waves.fst"
    assert f"waves: {waves}\n" in process.output
    assert when * 1000 < end_time(waves)
    assert f"cursor_set {when * 1000}\n" in waves.with_suffix(".sucl").read_text()


def test_bench_of_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ktls-cosim bench sim` seals with the C driver on the RTL, and checks what it measures."""
    have_simulator()
    monkeypatch.setattr(c_driver, "_FEW", 1)
    monkeypatch.setattr(c_driver, "_MANY", 3)
    bench = c_driver.CDriver(lanes=1)
    assert 0 < bench.record() < 5
    monkeypatch.setattr(c_driver, "seal_record", lambda *_: seal_record(c_driver._KEYS, 9, 9, b""))
    with pytest.raises(CosimError, match="wrong records"):
        bench.record()


def test_10000_random_records(programs: Path, tmp_path: Path, rng: random.Random) -> None:
    """Sizes, versions, keys, directions, pieces and rings at random; pyca gives the answers."""
    work = Work(rng, rings=4)
    work.fill(10_000, (0, 16, 60, 300, 1500))
    work.fill(50, (16384,))
    with card(tmp_path, "--strict") as process:
        done = play(programs / "ktls_play", process.socket, 4, 4, work.commands)
        assert (done.returncode, done.stderr) == (0, "")
        assert not work.differences(done.stdout)[:5]
        assert process.stop() == 0
        assert "refused" not in process.output


@pytest.mark.parametrize("lanes", [1, 4])
def test_random_records_on_the_rtl(
    lanes: int, programs: Path, tmp_path: Path, rng: random.Random
) -> None:
    """Bursts are served from the memory of the client; strobes, lists and pieces of any length."""
    have_simulator()
    work = Work(rng, rings=3)
    work.fill(40, (0, 16, 300, 1500), contexts=6)
    with card(tmp_path, "--port", "sim", "--lanes", str(lanes), "--strict") as process:
        done = play(programs / "ktls_play", process.socket, 3, 3, work.commands)
        assert (done.returncode, done.stderr) == (0, "")
        assert not work.differences(done.stdout)[:5]
        assert process.stop() == 0


def test_lockstep(programs: Path, tmp_path: Path, rng: random.Random) -> None:
    """RTL and model agree on every byte, completion and register, also behind a foreign reset."""
    have_simulator()
    work = Work(rng, rings=2)
    work.fill(40, (0, 16, 300), contexts=6)
    work.commands += ["wait", "recover"]
    work.fill(10, (0, 300), contexts=3)
    with card(tmp_path, "--port", "lockstep", "--strict") as process:
        done = play(programs / "ktls_play", process.socket, 2, 3, work.commands)
        assert (done.returncode, done.stderr) == (0, "")
        assert not work.differences(done.stdout)[:5]
        assert process.stop() == 0, process.output
    assert "differences: 0" in process.output


def test_lockstep_finds_a_fault_of_the_rtl(programs: Path, tmp_path: Path) -> None:
    """The fault of docs/tutorial-break-it.md."""
    have_simulator()
    good = (ROOT / "rtl" / "core" / "ktls_gcm.v").read_text()
    broken = tmp_path / "ktls_gcm.v"
    broken.write_text(good.replace("ctr <= 32'd2;", "ctr <= 32'd3;"))
    assert broken.read_text() != good
    with card(tmp_path, "--port", "lockstep", "--rtl", str(broken)) as process:
        done = subprocess.run(
            [programs / "hello_seal", process.socket],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.stdout != README_RECORD
        assert process.stop() == 1
    assert re.search(r"lockstep: memory at 0x\w+ differs\n  RTL   17 03 03", process.output)


@pytest.mark.parametrize("log2", [1, 10])
def test_small_and_large_rings(
    log2: int, programs: Path, tmp_path: Path, rng: random.Random
) -> None:
    work = Work(rng, rings=2)
    work.fill(300, SIZES, contexts=5)
    with card(tmp_path) as process:
        done = play(programs / "ktls_play", process.socket, 2, log2, work.commands)
    assert (done.returncode, done.stderr) == (0, "")
    assert not work.differences(done.stdout)[:5]


@pytest.mark.parametrize("port", ["model", "lockstep"])
def test_errors_reset_and_recovery(
    port: str, programs: Path, tmp_path: Path, rng: random.Random
) -> None:
    work = Work(rng, rings=1)
    work.add(0, opens=False)
    for _ in range(3):
        work.record(0, 100)
    work.commands.append("wait")
    # nobody has context 1; then a foreign reset, after which context 0 is gone as well
    work.commands += ["seal 1 23 0 1 00", "recover", "seal 0 23 0 1 00"]
    work.expected |= {6: "refused -2", 8: "refused -2"}
    work.add(0, opens=False)
    work.record(0, 1000)
    # moving backward
    work.commands.append("resync 0 0")
    if work.expected[10].split()[4] != "0":
        work.expected[len(work.commands)] = "5 -22 12"
    with card(tmp_path, "--port", port) as process:
        done = play(programs / "ktls_play", process.socket, 1, 3, work.commands)
        assert process.stop() == 0, process.output
    assert (done.returncode, done.stderr) == (0, "")
    assert not work.differences(done.stdout)


def test_valgrind(tmp_path: Path, rng: random.Random) -> None:
    """100 records without a wrong access or a leak."""
    if shutil.which("valgrind") is None:
        missing("valgrind", "apt-get install valgrind libc6-dbg")
    out = build(tmp_path / "plain")
    work = Work(rng, rings=2)
    work.fill(100, SIZES, contexts=6)
    script = tmp_path / "valgrind.sh"
    script.write_text(
        "#!/bin/sh\nexec valgrind -q --leak-check=full --track-fds=no --error-exitcode=9 "
        f'{out / "ktls_play"} "$@"\n'
    )
    script.chmod(0o755)
    with card(tmp_path) as process:
        done = play(script, process.socket, 2, 4, work.commands)
    assert (done.returncode, done.stderr) == (0, "")
    assert not work.differences(done.stdout)[:5]
