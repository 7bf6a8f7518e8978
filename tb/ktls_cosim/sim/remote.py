# SPDX-License-Identifier: Apache-2.0
"""A simulator as a child process: plain Python uses the RTL like a plugged-in card.

    with RemoteSim() as port:
        nic = run_sync(KtlsNic.probe(port))

No method suspends, so `ktls.run_sync` runs the driver.
"""

from __future__ import annotations

import logging
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from ktls_cosim.errors import SimulatorError
from ktls_cosim.paths import build_root
from ktls_cosim.sim.build import Build
from ktls_cosim.sim.cocotb_env import command_and_env
from ktls_cosim.sim.dump import clean_log
from ktls_cosim.sim.runner import compile_build
from ktls_cosim.sim.simulators import find_simulator
from ktls_cosim.sim.wire import (
    FD_VARIABLE,
    HEAD,
    KNOBS,
    LINE,
    NO_MESSAGE,
    U32,
    U64,
    Op,
    check_range,
)
from ktls_hw.fields import register_address

ANSWER_LIMIT_S = 120.0
EXIT_LIMIT_S = 10.0
_log = logging.getLogger("ktls.sim")


class RemoteMemory:
    """Host memory inside the simulator process.

    Attributes:
        size: Size in bytes.
    """

    def __init__(self, sim: RemoteSim, size: int) -> None:
        self._sim = sim
        self.size = size

    def read(self, addr: int, length: int) -> bytes:
        """Read `length` bytes at byte address `addr`."""
        check_range(addr, length, self.size)
        return self._sim.ask(Op.READ_MEM, addr, length, answer=length) if length else b""

    def write(self, addr: int, data: bytes) -> None:
        """Write `data` at byte address `addr`."""
        check_range(addr, len(data), self.size)
        self._sim.tell(Op.WRITE_MEM, addr, len(data), data)


class RemoteSim:
    """A simulation of the device in a child process, as a `HostPort`.

    Args:
        build: The build to simulate; by default the device of this checkout with one lane.
        simulator: `icarus` or `verilator`.
        name: Name of the folder under `build/runs` that receives the log and the waves.
        waves: Whether to record all signals as FST.
        seed: Seed of the simulation.

    Attributes:
        mem: Host memory.
        log: Log file of the simulator.
        waves: FST file, or None.
        pid: Process ID of the simulator.
        socket: Connection to the simulator.

    Raises:
        SimulatorMissing: The simulator is unknown or not installed.
        SimulatorError: The sources do not compile.
    """

    LINES = 32768
    MODULE = "ktls_cosim.sim.server"

    def __init__(
        self,
        build: Build | None = None,
        *,
        simulator: str = "icarus",
        name: str = "remote",
        waves: bool = False,
        seed: int = 1,
    ) -> None:
        build = build or Build.device()
        folder = compile_build(build, simulator, waves=waves)
        self.out = build_root() / "runs" / name
        self.out.mkdir(parents=True, exist_ok=True)
        self.log = self.out / "run.log"
        self.waves: Path | None = self.out / "waves.fst" if waves else None
        ours, theirs = socket.socketpair()
        command, env = command_and_env(
            find_simulator(simulator),
            folder,
            build.toplevel,
            self.MODULE,
            seed=seed,
            results=self.out / "results.xml",
            waves=self.waves,
            env={**build.environment, FD_VARIABLE: str(theirs.fileno())},
        )
        with theirs, self.log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                env=env,
                cwd=self.out,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C must reach only this process, which then ends the simulation properly
                start_new_session=True,
            )
        self.pid = self._process.pid
        _log.info("%s runs as process %d, log %s", simulator, self.pid, self.log)
        _log.debug("%s", " ".join(command))
        ours.settimeout(ANSWER_LIMIT_S)
        self.socket = ours
        self._pending = bytearray()
        self.mem = RemoteMemory(self, LINE * int(str(build.parameters.get("LINES", self.LINES))))

    # ------------------------------------------------------------- transport

    def tell(self, op: Op, addr: int = 0, n: int = 0, payload: bytes = b"") -> None:
        """Queue a request that has no answer; a full queue is sent at once."""
        self._pending += HEAD.pack(op, addr, n) + payload
        if len(self._pending) > 1 << 16:
            self.flush()

    def ask(self, op: Op, addr: int = 0, n: int = 0, *, answer: int) -> bytes:
        """Send all queued requests and this one, and return its answer of `answer` bytes.

        Raises:
            SimulatorError: The simulator ended, or did not answer within `ANSWER_LIMIT_S`.
        """
        self.tell(op, addr, n)
        self.flush()
        return self.receive(answer)

    def receive(self, answer: int) -> bytes:
        """Receive `answer` bytes from the simulation.

        Raises:
            SimulatorError: The simulator ended, or did not answer within `ANSWER_LIMIT_S`.
        """
        out = bytearray()
        while len(out) < answer:
            try:
                piece = self.socket.recv(answer - len(out))
            except TimeoutError as e:
                self._process.kill()
                raise self._gone(f"did not answer within {ANSWER_LIMIT_S:.0f} s") from e
            except OSError as e:
                raise self._gone(f"ended ({e})") from e
            if not piece:
                raise self._gone("ended")
            out += piece
        return bytes(out)

    def flush(self) -> None:
        """Send all queued requests; raises `SimulatorError` if the simulator has ended."""
        try:
            self.socket.sendall(self._pending)
        except OSError as e:
            raise self._gone(f"ended ({e})") from e
        self._pending.clear()

    def _gone(self, what: str) -> SimulatorError:
        try:
            # the socket closes before the simulator has written its last messages to the log
            self._process.wait(timeout=EXIT_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return SimulatorError(f"the simulator {what}; end of {self.log}:\n{text[-2000:]}")

    # -------------------------------------------------------------- HostPort

    async def read32(self, addr: int) -> int:
        """Read the register at byte address `addr`; ValueError outside of the register space."""
        value: int = U32.unpack(self.ask(Op.READ32, register_address(addr), answer=4))[0]
        return value

    async def write32(self, addr: int, value: int) -> None:
        """Write the register at byte address `addr`; ValueError outside of the register space."""
        self.tell(Op.WRITE32, register_address(addr), value & 0xFFFFFFFF)

    async def wait_irq(self) -> bool:
        """Wait for the interrupt; False if none can come or the time limit has passed."""
        return self.ask(Op.WAIT_IRQ, answer=1) == b"\x01"

    async def wait_message(self) -> int | None:
        """Take an interrupt message or wait for one; None under the conditions of `wait_irq`."""
        vector = self.ask(Op.WAIT_MESSAGE, answer=1)[0]
        return None if vector == NO_MESSAGE else vector

    def now(self) -> int:
        """The simulation time in nanoseconds."""
        value: int = U64.unpack(self.ask(Op.NOW, answer=8))[0]
        return value

    def knob(self, name: str, value: int) -> None:
        """Set a register of the host memory model (`sim.wire.KNOBS`)."""
        self.tell(Op.KNOB, KNOBS.index(name), value)

    # ------------------------------------------------------------- lifetime

    def close(self) -> None:
        """End the simulation and complete the wave file."""
        if self._process.poll() is None:
            _log.info("process %d ends", self.pid)
            try:
                self.tell(Op.END)
                self.flush()
                self._process.wait(timeout=30)
            except (SimulatorError, subprocess.TimeoutExpired):
                self._process.kill()
                self._process.wait()
        self.socket.close()
        if self.waves:
            clean_log(self.log)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
