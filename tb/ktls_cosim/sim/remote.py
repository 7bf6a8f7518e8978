# SPDX-License-Identifier: Apache-2.0
"""A simulator as a child process: plain Python uses the RTL as if it were a card.

    with RemoteSim() as port:
        nic = run_sync(KtlsNic.probe(port))

No method suspends, so the driver runs under `ktls.run_sync`.
"""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from types import TracebackType

from ktls_cosim.errors import SimulatorError
from ktls_cosim.paths import build_root
from ktls_cosim.sim.runner import Build, command_and_env, compile_build
from ktls_cosim.sim.wire import FD_VARIABLE, HEAD, KNOBS, LINE, U32, U64, Op, check_range

ANSWER_LIMIT_S = 120.0
EXIT_LIMIT_S = 10.0
_MODULE = "ktls_cosim.sim.server"


class RemoteMemory:
    """Host memory in the simulator process."""

    def __init__(self, sim: RemoteSim, size: int) -> None:
        self._sim = sim
        self.size = size

    def read(self, addr: int, length: int) -> bytes:
        check_range(addr, length, self.size)
        return self._sim.ask(Op.READ_MEM, addr, length, answer=length) if length else b""

    def write(self, addr: int, data: bytes) -> None:
        check_range(addr, len(data), self.size)
        self._sim.tell(Op.WRITE_MEM, addr, len(data), data)


class RemoteSim:
    """Starts a simulation of the device and is its `HostPort`.

    Args:
        build: what to simulate; the device of this checkout by default.
        name: of the folder for log and waves under `build/runs`.
        waves: record all signals as FST.

    Raises:
        SimulatorMissing, SimulatorError: it cannot be compiled or started.
    """

    LINES = 32768

    def __init__(
        self,
        build: Build | None = None,
        *,
        name: str = "remote",
        waves: bool = False,
        seed: int = 1,
    ) -> None:
        build = build or Build.device()
        folder = compile_build(build, waves=waves)
        self.out = build_root() / "runs" / name
        self.out.mkdir(parents=True, exist_ok=True)
        self.log = self.out / "run.log"
        self.waves: Path | None = self.out / "waves.fst" if waves else None
        ours, theirs = socket.socketpair()
        command, env = command_and_env(
            folder,
            build.toplevel,
            _MODULE,
            seed=seed,
            results=self.out / "results.xml",
            waves=self.waves,
            env={FD_VARIABLE: str(theirs.fileno())},
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
                # Ctrl-C is for us: who uses the device ends the simulation when he is done
                start_new_session=True,
            )
        ours.settimeout(ANSWER_LIMIT_S)
        self._sock = ours
        self._pending = bytearray()
        self.mem = RemoteMemory(self, LINE * int(str(build.parameters.get("LINES", self.LINES))))

    # ------------------------------------------------------------- transport

    def tell(self, op: Op, addr: int = 0, n: int = 0, payload: bytes = b"") -> None:
        """Queue a request that is not answered."""
        self._pending += HEAD.pack(op, addr, n) + payload
        if len(self._pending) > 1 << 16:
            self._send()

    def ask(self, op: Op, addr: int = 0, n: int = 0, *, answer: int) -> bytes:
        """Send a request and return its answer of `answer` bytes."""
        self.tell(op, addr, n)
        self._send()
        out = bytearray()
        while len(out) < answer:
            try:
                piece = self._sock.recv(answer - len(out))
            except TimeoutError as e:
                self._process.kill()
                raise self._gone(f"gave no answer within {ANSWER_LIMIT_S:.0f} s") from e
            except OSError as e:
                raise self._gone(f"ended ({e})") from e
            if not piece:
                raise self._gone("ended")
            out += piece
        return bytes(out)

    def _send(self) -> None:
        try:
            self._sock.sendall(self._pending)
        except OSError as e:
            raise self._gone(f"ended ({e})") from e
        self._pending.clear()

    def _gone(self, what: str) -> SimulatorError:
        try:
            # its socket closes before its last words are in the log
            self._process.wait(timeout=EXIT_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return SimulatorError(f"the simulator {what}; end of {self.log}:\n{text[-2000:]}")

    # -------------------------------------------------------------- HostPort

    async def read32(self, addr: int) -> int:
        value: int = U32.unpack(self.ask(Op.READ32, addr, answer=4))[0]
        return value

    async def write32(self, addr: int, value: int) -> None:
        self.tell(Op.WRITE32, addr, value & 0xFFFFFFFF)

    async def wait_irq(self) -> bool:
        return self.ask(Op.WAIT_IRQ, answer=1) == b"\x01"

    def now(self) -> int:
        value: int = U64.unpack(self.ask(Op.NOW, answer=8))[0]
        return value

    def knob(self, name: str, value: int) -> None:
        """Set a register of the host memory model (`sim.wire.KNOBS`)."""
        self.tell(Op.KNOB, KNOBS.index(name), value)

    # ------------------------------------------------------------- lifetime

    def close(self) -> None:
        """End the simulation; waves are complete afterwards."""
        if self._process.poll() is None:
            try:
                self.tell(Op.END)
                self._send()
                self._process.wait(timeout=30)
            except (SimulatorError, subprocess.TimeoutExpired):
                self._process.kill()
                self._process.wait()
        self._sock.close()

    def __enter__(self) -> RemoteSim:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
