# SPDX-License-Identifier: Apache-2.0
"""Play the steps of a scenario on the model and record its observations.

Observations contain all bytes as hexadecimal digits; `compare` handles digests.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Callable

from ktls import Kernel, KtlsNic, KtlsOSError, KtlsSocket, KtlsStack, Pipe, socketpair, uapi
from ktls.errors import errno_name
from ktls.sockopt import pack_int
from ktls.stack import Observer
from ktls_cosim.conformance.records import control_buffer, iov, pattern
from ktls_cosim.conformance.scenario import Obs, ScenarioError, Step, injected

_CALL_BYTES = 1 << 16
# the recorder's pipes have room for everything that a scenario writes
_PIPE_SLOTS = 256


class Unplayable(Exception):
    """The model cannot play this scenario; the message names the reason."""


class Player:
    """The sockets, files and pipes of one scenario.

    Attributes:
        stack: Kernel of the sockets.

    Args:
        kernel: Kernel version to model.
        nic: Driver of a device; None for software mode.
        observer: Observer of the sockets.
    """

    def __init__(
        self, kernel: Kernel, nic: KtlsNic | None = None, observer: Observer | None = None
    ) -> None:
        self.stack = KtlsStack(nic, observer, kernel=kernel, sleep=self._sleep)
        self._socks: dict[str, KtlsSocket] = {}
        self._files: dict[str, io.BytesIO] = {}
        self._pipes: dict[str, Pipe] = {}
        self._blocked = False

    def _sleep(self, _what: str) -> bool:
        # the recorder ended blocking calls with a signal
        self._blocked = True
        return False

    def play(self, steps: list[Step]) -> list[Obs]:
        """Play all steps.

        Args:
            steps: Steps without observations.

        Returns:
            The observation of each step.

        Raises:
            Unplayable: The model has no counterpart for a step.
            ScenarioError: A step is invalid.
        """
        out = []
        for number, step in enumerate(steps):
            op: Callable[[Step], Obs] | None = getattr(self, "_op_" + step["op"], None)
            if op is None:
                raise Unplayable(f"step {number}: operation {step['op']!r} is unknown")
            try:
                out.append(self._observe(op, step))
            except (KeyError, ValueError, TypeError) as e:
                raise ScenarioError(
                    f"step {number} ({step['op']}) is invalid: {type(e).__name__}: {e}"
                ) from e
        return out

    def close(self) -> None:
        """Close all sockets, which deletes their contexts."""
        for sock in self._socks.values():
            if not sock.closed:
                sock.close()

    def _observe(self, op: Callable[[Step], Obs], step: Step) -> Obs:
        self._blocked = False
        sock = self._socks.get(step.get("fd") or "") or self._socks.get(step.get("to") or "")
        signals = sock.sigpipe if sock else 0
        try:
            obs = op(step)
        except KtlsOSError as e:
            obs = {"rc": -1, "err": errno_name(e.errno or 0)}
            if step["op"] == "getsockopt":
                obs["len"] = step["len"] if e.optlen is None else e.optlen
        if self._blocked:
            obs["blocked"] = 1
        if sock and sock.sigpipe > signals:
            obs["sigpipe"] = 1
        return obs

    def _sock(self, name: str) -> KtlsSocket:
        return self._socks[name]

    # ------------------------------------------------------------------------- set-up

    def _op_pair(self, step: Step) -> Obs:
        a, b = socketpair(self.stack)
        self._socks.update(a=a, b=b)
        for sock in (a, b):
            sock.setsockopt(uapi.SOL_TCP, uapi.TCP_NODELAY, pack_int(1))
            if not step.get("small"):
                sock.tcp.set_sndbuf(2 << 20)
                sock.tcp.set_rcvbuf(2 << 20)
        if "rcvbuf" in step:
            b.tcp.set_rcvbuf(step["rcvbuf"])
        return {"rc": 0}

    def _op_socket(self, step: Step) -> Obs:
        self._socks[step["fd"]] = KtlsSocket(self.stack, step.get("kind", "tcp"))
        return {"rc": 0}

    def _op_file(self, step: Step) -> Obs:
        self._files[step["fd"]] = io.BytesIO(pattern(step["seed"], step["n"]))
        return {"rc": step["n"]}

    def _op_pipe(self, step: Step) -> Obs:
        self._pipes[step["fd"]] = Pipe(bool(step.get("direct")), step.get("slots", _PIPE_SLOTS))
        return {"rc": 0}

    # ------------------------------------------------------------------------ options

    def _op_setsockopt(self, step: Step) -> Obs:
        value: bytes | None = bytes.fromhex(step["hex"])
        optlen = step.get("len", len(value or b""))
        if step.get("null"):
            value = None
        elif "map" in step:
            value = (value or b"")[: step["map"]]
        elif value is not None and optlen > len(value):
            value = value.ljust(optlen, b"\0")
        self._sock(step["fd"]).setsockopt(step["level"], step["opt"], value, optlen)
        return {"rc": 0}

    def _op_getsockopt(self, step: Step) -> Obs:
        sock, null = self._sock(step["fd"]), bool(step.get("null"))
        data = sock.getsockopt(step["level"], step["opt"], step["len"], null=null)
        return {"rc": 0, "len": len(data), "data": data.hex()}

    def _op_soerr(self, step: Step) -> Obs:
        raw = self._sock(step["fd"]).getsockopt(uapi.SOL_SOCKET, uapi.SO_ERROR, 4)
        number = int.from_bytes(raw, "little")
        return {"rc": 0, "so_error": errno_name(number) if number else "0"}

    def _op_nonblock(self, step: Step) -> Obs:
        self._sock(step["fd"]).nonblocking = bool(step["on"])
        return {"rc": 0}

    # --------------------------------------------------------------------------- send

    def _op_send(self, step: Step) -> Obs:
        data = pattern(step["seed"], step["n"], step.get("off", 0))
        return {"rc": self._sock(step["fd"]).send(data, step["flags"])}

    _op_sendto = _op_send

    def _op_write(self, step: Step) -> Obs:
        data = pattern(step["seed"], step["n"], step.get("off", 0))
        if step["fd"] in self._socks:
            return {"rc": self._sock(step["fd"]).write(data)}
        return {"rc": self._pipe(step["fd"]).write(data)}

    def _op_sendmsg(self, step: Step) -> Obs:
        lengths, fault_at = iov(step["iov"])
        data = memoryview(pattern(step["seed"], sum(lengths), step.get("off", 0)))
        parts = []
        at = 0
        for n in lengths:
            parts.append(data[at : at + n])
            at += n
        control = control_buffer(step.get("cm"), step.get("ctllen"))
        flags = step.get("flags", 0)
        sock = self._sock(step["fd"])
        return {"rc": sock.sendmsg(parts, control, flags, fault_at=fault_at)}

    def _op_writev(self, step: Step) -> Obs:
        if not any(iov(step["iov"])[0]):
            return {"rc": self._sock(step["fd"]).writev([])}
        return self._op_sendmsg(step)

    def _op_sendmmsg(self, step: Step) -> Obs:
        messages = []
        at = 0
        for n in (int(x) for x in step["iov"].split(",")):
            messages.append(pattern(step["seed"], n, at))
            at += n
        lens = self._sock(step["fd"]).sendmmsg(messages, step.get("flags", 0))
        return {"rc": len(lens), "lens": lens}

    def _op_sendloop(self, step: Step) -> Obs:
        sock = self._sock(step["fd"])
        rcs: list[list[int]] = []
        total = 0
        obs: Obs = {}
        for _ in range(step["max"]):
            data = pattern(step["seed"], step["n"], total)
            try:
                rc = sock.send(data, step["flags"])
            except KtlsOSError as e:
                rc = -1
                obs = {"err": errno_name(e.errno or 0)}
            if rcs and rcs[-1][0] == rc:
                rcs[-1][1] += 1
            else:
                rcs.append([rc, 1])
            if rc < 0:
                break
            total += rc
        return {"rcs": rcs, "total": total, "rc": rcs[-1][0] if rcs else 0, **obs}

    def _op_sendfile(self, step: Step) -> Obs:
        offset = step.get("off")
        sent = self._sock(step["fd"]).sendfile(self._files[step["from"]], offset, step["n"])
        return {"rc": sent} if offset is None else {"rc": sent, "newoff": offset + sent}

    # ----------------------------------------------------------------- splice and pipes

    def _pipe(self, end: str) -> Pipe:
        return self._pipes[end[:-1]]

    def _op_splice(self, step: Step) -> Obs:
        if step["to"] in self._socks:
            pipe = self._pipe(step["from"])
            return {"rc": self._sock(step["to"]).splice_from(pipe, step["n"], step["flags"])}
        pipe = self._pipe(step["to"])
        return {"rc": self._sock(step["from"]).splice_to(pipe, step["n"], step["flags"])}

    def _op_piperead(self, step: Step) -> Obs:
        data = self._pipe(step["fd"]).read(step["n"])
        return {"rc": len(data), "data": data.hex()}

    # ------------------------------------------------------------------------ receive

    def _op_recv(self, step: Step) -> Obs:
        data = self._sock(step["fd"]).recv(step["n"], step.get("flags", 0))
        return {"rc": len(data), "data": data.hex()}

    def _op_read(self, step: Step) -> Obs:
        if step["fd"] in self._socks:
            data = self._sock(step["fd"]).read(step["n"])
        else:
            data = self._pipe(step["fd"]).read(step["n"])
        return {"rc": len(data), "data": data.hex()}

    def _op_recvmsg(self, step: Step) -> Obs:
        lengths, fault_at = iov(step["iov"])
        got = self._sock(step["fd"]).recvmsg(
            sum(lengths), step.get("ctl", 0), step.get("flags", 0), fault_at=fault_at
        )
        return {
            "rc": len(got.data),
            "data": got.data.hex(),
            "msg_flags": f"{got.msg_flags:#x}" if got.msg_flags else "0",
            "ctllen": got.controllen,
            "cmsg": [[c.level, c.kind, c.length, c.data.hex()] for c in got.cmsgs],
        }

    def _op_readv(self, step: Step) -> Obs:
        lengths, fault_at = iov(step["iov"])
        data = self._sock(step["fd"]).readv(sum(lengths), fault_at=fault_at)
        return {"rc": len(data), "data": data.hex()}

    # --------------------------------------------------------------- the plain socket

    def _op_inject(self, step: Step) -> Obs:
        return {"rc": self._sock(step["fd"]).send(injected(step), uapi.MSG_NOSIGNAL)}

    def _op_drip(self, step: Step) -> Obs:
        data = injected(step)
        sent = 0
        for at in range(0, len(data), step["piece"]):
            piece = data[at : at + step["piece"]]
            sent += self._sock(step["fd"]).send(piece, uapi.MSG_NOSIGNAL)
        return {"rc": sent}

    def _op_drain(self, step: Step) -> Obs:
        sock = self._sock(step["fd"])
        wire = bytearray()
        obs: Obs = {}
        while True:
            try:
                data = sock.recv(_CALL_BYTES, uapi.MSG_DONTWAIT)
            except KtlsOSError as e:
                if e.errno != errno.EAGAIN:
                    obs["err"] = errno_name(e.errno or 0)
                break
            if not data:
                obs["eof"] = 1
                break
            wire += data
        return {"rc": len(wire), "wire": wire.hex(), **obs}

    # -------------------------------------------------------------------- other steps

    def _op_poll(self, step: Step) -> Obs:
        bits = self._sock(step["fd"]).poll(step["events"])
        return {"rc": 1 if bits else 0, "revents": f"{bits:#x}" if bits else "0"}

    def _op_inq(self, step: Step) -> Obs:
        return {"rc": 0, "n": self._sock(step["fd"]).inq}

    def _op_sleep(self, _step: Step) -> Obs:
        # a pause lets the device finish and packets arrive
        self.stack.sync_device()
        return {"rc": 0}

    def _op_listen(self, step: Step) -> Obs:
        self._sock(step["fd"]).listen()
        return {"rc": 0}

    def _op_disconnect(self, step: Step) -> Obs:
        self._sock(step["fd"]).disconnect()
        return {"rc": 0}

    def _op_shutdown(self, step: Step) -> Obs:
        self._sock(step["fd"]).shutdown(step["how"])
        return {"rc": 0}

    def _op_close(self, step: Step) -> Obs:
        name = step["fd"]
        if name in self._socks:
            self._sock(name).close()
        elif name.endswith("1") and name[:-1] in self._pipes:
            self._pipe(name).write_closed = True
        elif name in self._files:
            del self._files[name]
        else:
            raise Unplayable(f"closing {name!r} has no counterpart in the model")
        return {"rc": 0}

    def _op_reset(self, step: Step) -> Obs:
        self._sock(step["fd"]).reset()
        return {"rc": 0}

    def _op_stat(self, _step: Step) -> Obs:
        """Read the counters; those of the device count as those of software."""
        self.stack.sync_device()
        stat: dict[str, int] = {}
        for name, value in self.stack.tls_stat.items():
            if value:
                stat[as_software(name)] = stat.get(as_software(name), 0) + value
        return {"rc": 0, "stat": stat}


def as_software(name: str) -> str:
    """Return the counter that a machine without an offload device would have incremented."""
    return name.replace("Device", "Sw") if name.endswith("Device") else name
