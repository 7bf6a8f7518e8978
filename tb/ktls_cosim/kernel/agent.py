# SPDX-License-Identifier: Apache-2.0
"""Play scripts on the running kernel, as process 1 of a User-Mode Linux.

    linux.uml ... init=PYTHON -- -I -S agent.py MODULE_DIR SCRIPTS RESULTS

This file uses only the standard library, because the project cannot be imported there. The
steps of each script are those of tests/oracle/README.md, without observations. The
observations of a script become one line of RESULTS.

All scripts run in one process, because starting a process takes User-Mode Linux a tenth of
a second. Therefore counters are reported as differences, and every script closes its
descriptors.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import select
import signal
import socket
import struct
import sys
import termios
import time
import traceback
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

libc = ctypes.CDLL(None, use_errno=True)

FINIT_MODULE = 313  # x86-64, as User-Mode Linux
LINUX_REBOOT_CMD_POWER_OFF = 0x4321FEDC
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
F_SETPIPE_SZ = 1031
PAGE = 4096
DEFAULT_LIMIT_MS = 300
# limit of calls that do not wait; even those are slow on a busy machine
NONBLOCKING_LIMIT_MS = 5000
# operations that may leave packets in flight
MOVING = {
    "send", "sendto", "sendmsg", "sendmmsg", "write", "writev", "sendfile", "splice", "sendloop",
    "inject", "drip", "shutdown", "close", "reset",
}  # fmt: skip
# Python calls this number ENOTSUP, Linux calls it EOPNOTSUPP
ERRNO_NAMES = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}


class MsgHdr(ctypes.Structure):
    """`struct msghdr`."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class IoVec(ctypes.Structure):
    """`struct iovec`."""

    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class MMsgHdr(ctypes.Structure):
    """`struct mmsghdr`."""

    _fields_ = (("hdr", MsgHdr), ("len", ctypes.c_uint))


def name_of(number: int) -> str:
    """Return the name of an errno."""
    return ERRNO_NAMES.get(number, str(number))


# the data pattern of seed 0, and tables that add the contribution of a seed
BASE = bytes((i * 11 + (i >> 8) * 5 + (i >> 16) * 3) & 0xFF for i in range(1 << 18))
PLUS = [bytes((i + n) & 0xFF for i in range(256)) for n in range(256)]


def pattern(seed: int, count: int, offset: int = 0) -> bytes:
    """Return bytes of the data pattern of a seed."""
    return BASE[offset : offset + count].translate(PLUS[seed * 37 & 0xFF])


class Memory:
    """Buffers, some of which end at an address that cannot be accessed."""

    def __init__(self) -> None:
        self.kept: list[object] = []

    def buffer(self, size: int, good: int, content: bytes) -> int:
        """Return the address of `size` bytes of which the first `good` can be accessed."""
        if good == size:
            buf = ctypes.create_string_buffer(content, max(size, 1))
            self.kept.append(buf)
            return ctypes.addressof(buf)
        room = (good + PAGE - 1) // PAGE * PAGE
        area = mmap.mmap(-1, room + PAGE * (2 + size // PAGE))
        base = ctypes.addressof(ctypes.c_char.from_buffer(area))
        libc.mprotect(ctypes.c_void_p(base + room), ctypes.c_size_t(len(area) - room), 0)
        start = room - good
        ctypes.memmove(base + start, content[:good], good)
        self.kept.append(area)
        return base + start

    def iovecs(self, text: str, data: bytes) -> tuple[Any, list[tuple[int, int]]]:
        """Return the iovec array of a step, and its (address, length) pairs."""
        parts = []
        at = 0
        for part in text.split(","):
            size, _, good = part.strip("BG").partition(":")
            n = int(size)
            reach = n if part[0] not in "BG" else int(good or 0)
            parts.append((self.buffer(n, reach, data[at : at + n]), n))
            at += n
        array = (IoVec * len(parts))(*(IoVec(*part) for part in parts))
        self.kept.append(array)
        return array, parts


class Script:
    """Plays one script and owns its descriptors."""

    def __init__(self) -> None:
        self.socks: dict[str, socket.socket] = {}
        self.fds: dict[str, int] = {}
        self.fired = False
        self.piped = False
        self.stat = tls_stat()
        signal.signal(signal.SIGALRM, self._alarm)
        signal.signal(signal.SIGPIPE, self._pipe)

    def _alarm(self, *_: object) -> None:
        self.fired = True

    def _pipe(self, *_: object) -> None:
        self.piped = True

    def fd(self, name: str) -> int:
        """Return the descriptor with a name."""
        return self.socks[name].fileno() if name in self.socks else self.fds[name]

    def call(self, step: Json, function: Callable[..., int], *args: object) -> tuple[int, int]:
        """Execute a system call with a time limit; return its result and errno."""
        waits = not step.get("flags", 0) & socket.MSG_DONTWAIT
        limit = (step.get("limit", DEFAULT_LIMIT_MS) if waits else NONBLOCKING_LIMIT_MS) / 1000
        signal.setitimer(signal.ITIMER_REAL, limit, 0.05)
        rc = function(*args)
        number = ctypes.get_errno()
        signal.setitimer(signal.ITIMER_REAL, 0)
        return rc, number

    def play(self, steps: list[Json]) -> list[Json]:
        """Play all steps; return the observation of each."""
        return [self.step(step) for step in steps]

    def step(self, step: Json) -> Json:
        """Play one step."""
        self.fired = self.piped = False
        obs: Json
        try:
            obs = getattr(self, "op_" + step["op"])(step)
        except OSError as e:
            obs = {"rc": -1, "err": name_of(e.errno or 0)}
        if step["op"] in MOVING:
            self.settle()
        if self.fired:
            obs["blocked"] = 1
        if self.piped:
            obs["sigpipe"] = 1
        return obs

    def result(self, step: Json, function: Callable[..., int], *args: object) -> Json:
        """Execute a system call; return its observation."""
        rc, number = self.call(step, function, *args)
        return {"rc": rc} if rc >= 0 else {"rc": -1, "err": name_of(number)}

    # ------------------------------------------------------------------------- set-up

    def op_pair(self, step: Json) -> Json:
        """Connect sockets a and b over the loopback interface."""
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        a = socket.socket()
        for s in (a, listener):
            if not step.get("small"):
                s.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 2 << 20)
                s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 2 << 20)
        if "rcvbuf" in step:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, step["rcvbuf"])
        a.connect(listener.getsockname())
        b, _ = listener.accept()
        listener.close()
        for s in (a, b):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socks.update(a=a, b=b)
        return {"rc": 0}

    def op_socket(self, step: Json) -> Json:
        """Create an unconnected socket."""
        kind = socket.SOCK_DGRAM if step.get("kind") == "udp" else socket.SOCK_STREAM
        self.socks[step["fd"]] = socket.socket(socket.AF_INET, kind)
        return {"rc": 0}

    def op_file(self, step: Json) -> Json:
        """Create a file with a data pattern."""
        fd = os.memfd_create("script")
        os.write(fd, pattern(step["seed"], step["n"]))
        os.lseek(fd, 0, os.SEEK_SET)
        self.fds[step["fd"]] = fd
        return {"rc": step["n"]}

    def op_pipe(self, step: Json) -> Json:
        """Create a pipe."""
        r, w = os.pipe2(os.O_DIRECT if step.get("direct") else 0)
        fcntl.fcntl(w, F_SETPIPE_SZ, step.get("slots", 256) * PAGE)
        self.fds[step["fd"] + "0"], self.fds[step["fd"] + "1"] = r, w
        return {"rc": 0}

    # ------------------------------------------------------------------------ options

    def op_setsockopt(self, step: Json) -> Json:
        """Execute setsockopt(2), also with bad addresses."""
        value = bytes.fromhex(step["hex"])
        optlen = step.get("len", len(value))
        memory = Memory()
        if step.get("null"):
            address = None
        elif "map" in step:
            address = memory.buffer(max(optlen, len(value)), step["map"], value)
        else:
            room = max(optlen, len(value))
            address = memory.buffer(room, room, value)
        return self.result(
            step, libc.setsockopt, self.fd(step["fd"]), step["level"], step["opt"],
            ctypes.c_void_p(address), ctypes.c_int(optlen),
        )  # fmt: skip

    def op_getsockopt(self, step: Json) -> Json:
        """Execute getsockopt(2)."""
        length = ctypes.c_int(step["len"])
        buf = ctypes.create_string_buffer(max(step["len"], 1) + 64)
        rc, number = self.call(
            step, libc.getsockopt, self.fd(step["fd"]), step["level"], step["opt"],
            None if step.get("null") else buf, ctypes.byref(length),
        )  # fmt: skip
        if rc < 0:
            return {"rc": -1, "err": name_of(number), "len": length.value}
        return {"rc": 0, "len": length.value, "data": buf.raw[: length.value].hex()}

    def op_soerr(self, step: Json) -> Json:
        """Read and clear SO_ERROR."""
        number = self.socks[step["fd"]].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return {"rc": 0, "so_error": name_of(number) if number else "0"}

    def op_nonblock(self, step: Json) -> Json:
        """Set or clear O_NONBLOCK."""
        fd = self.fd(step["fd"])
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        on = flags | os.O_NONBLOCK if step["on"] else flags & ~os.O_NONBLOCK
        fcntl.fcntl(fd, fcntl.F_SETFL, on)
        return {"rc": 0}

    # --------------------------------------------------------------------------- send

    def op_send(self, step: Json) -> Json:
        """Execute send(2)."""
        data = pattern(step["seed"], step["n"], step.get("off", 0))
        flags = ctypes.c_int(step.get("flags", 0))
        return self.result(
            step, libc.send, self.fd(step["fd"]), data, ctypes.c_size_t(len(data)), flags
        )

    op_sendto = op_send

    def op_write(self, step: Json) -> Json:
        """Execute write(2)."""
        data = pattern(step["seed"], step["n"], step.get("off", 0))
        return self.result(step, libc.write, self.fd(step["fd"]), data, ctypes.c_size_t(len(data)))

    def op_sendmsg(self, step: Json) -> Json:
        """Execute sendmsg(2) with control messages."""
        memory = Memory()
        size = sum(int(p.strip("BG").split(":")[0]) for p in step["iov"].split(","))
        array, parts = memory.iovecs(step["iov"], pattern(step["seed"], size, step.get("off", 0)))
        control = b""
        for part in (step.get("cm") or "").split("|"):
            if part:
                level, kind, length, data = part.split(":")
                raw = bytes.fromhex(data)
                n = 16 + len(raw) if int(length) == -1 else int(length)
                control += struct.pack("=Qii", n, int(level), int(kind)) + raw
                control += bytes(-len(raw) % 8)
        buf = ctypes.create_string_buffer(control, max(len(control), 1) + 64)
        msg = MsgHdr(iov=ctypes.addressof(array), iovlen=len(parts))
        if control:
            msg.control = ctypes.addressof(buf)
            msg.controllen = step.get("ctllen", len(control))
        flags = ctypes.c_int(step.get("flags", 0))
        return self.result(step, libc.sendmsg, self.fd(step["fd"]), ctypes.byref(msg), flags)

    def op_writev(self, step: Json) -> Json:
        """Execute writev(2)."""
        memory = Memory()
        size = sum(int(p.strip("BG").split(":")[0]) for p in step["iov"].split(","))
        array, parts = memory.iovecs(step["iov"], pattern(step["seed"], size))
        return self.result(step, libc.writev, self.fd(step["fd"]), array, len(parts))

    def op_sendmmsg(self, step: Json) -> Json:
        """Execute sendmmsg(2), one buffer for each message."""
        memory = Memory()
        array, parts = memory.iovecs(
            step["iov"], pattern(step["seed"], sum(int(n) for n in step["iov"].split(",")))
        )
        size = ctypes.sizeof(IoVec)
        messages = (MMsgHdr * len(parts))()
        for i in range(len(parts)):
            messages[i].hdr = MsgHdr(iov=ctypes.addressof(array) + i * size, iovlen=1)
        rc, number = self.call(
            step, libc.sendmmsg, self.fd(step["fd"]), messages, len(parts), step.get("flags", 0)
        )
        if rc < 0:
            return {"rc": -1, "err": name_of(number)}
        return {"rc": rc, "lens": [m.len for m in messages[:rc]]}

    def op_sendfile(self, step: Json) -> Json:
        """Execute sendfile(2)."""
        offset = ctypes.c_int64(step.get("off", 0))
        pointer = ctypes.byref(offset) if "off" in step else None
        obs = self.result(
            step, libc.sendfile, self.fd(step["fd"]), self.fd(step["from"]), pointer,
            ctypes.c_size_t(step["n"]),
        )  # fmt: skip
        if "off" in step and obs["rc"] >= 0:
            obs["newoff"] = offset.value
        return obs

    def op_splice(self, step: Json) -> Json:
        """Execute splice(2)."""
        return self.result(
            step, libc.splice, self.fd(step["from"]), None, self.fd(step["to"]), None,
            ctypes.c_size_t(step["n"]), ctypes.c_uint(step["flags"]),
        )  # fmt: skip

    # ------------------------------------------------------------------------ receive

    def op_recv(self, step: Json) -> Json:
        """Execute recv(2)."""
        buf = ctypes.create_string_buffer(max(step["n"], 1))
        flags = ctypes.c_int(step.get("flags", 0))
        obs = self.result(
            step, libc.recv, self.fd(step["fd"]), buf, ctypes.c_size_t(step["n"]), flags
        )
        if obs["rc"] >= 0:
            obs["data"] = buf.raw[: obs["rc"]].hex()
        return obs

    def op_read(self, step: Json) -> Json:
        """Execute read(2)."""
        buf = ctypes.create_string_buffer(max(step["n"], 1))
        obs = self.result(step, libc.read, self.fd(step["fd"]), buf, ctypes.c_size_t(step["n"]))
        if obs["rc"] >= 0:
            obs["data"] = buf.raw[: obs["rc"]].hex()
        return obs

    def op_recvmsg(self, step: Json) -> Json:
        """Execute recvmsg(2)."""
        memory = Memory()
        array, parts = memory.iovecs(step["iov"], b"")
        size = step.get("ctl", 0)
        control = ctypes.create_string_buffer(max(size, 1) + 64)
        msg = MsgHdr(iov=ctypes.addressof(array), iovlen=len(parts))
        if size:
            msg.control = ctypes.addressof(control)
            msg.controllen = size
        flags = ctypes.c_int(step.get("flags", 0))
        obs = self.result(step, libc.recvmsg, self.fd(step["fd"]), ctypes.byref(msg), flags)
        if obs["rc"] >= 0:
            obs["data"] = gathered(parts, obs["rc"]).hex()
            obs["msg_flags"] = f"{msg.flags:#x}" if msg.flags else "0"
            obs["ctllen"] = msg.controllen
            obs["cmsg"] = control_messages(control.raw[: msg.controllen])
        return obs

    def op_readv(self, step: Json) -> Json:
        """Execute readv(2)."""
        memory = Memory()
        array, parts = memory.iovecs(step["iov"], b"")
        obs = self.result(step, libc.readv, self.fd(step["fd"]), array, len(parts))
        if obs["rc"] >= 0:
            obs["data"] = gathered(parts, obs["rc"]).hex()
        return obs

    # --------------------------------------------------------------- the plain socket

    def op_inject(self, step: Json) -> Json:
        """Send given bytes from the plain socket."""
        data = bytes.fromhex(step["hex"])
        flags = ctypes.c_int(socket.MSG_NOSIGNAL)
        return self.result(
            step, libc.send, self.fd(step["fd"]), data, ctypes.c_size_t(len(data)), flags
        )

    def op_drip(self, step: Json) -> Json:
        """Send given bytes in pieces, each of which arrives before the next."""
        data = bytes.fromhex(step["hex"])
        for at in range(0, len(data), step["piece"]):
            self.socks[step["fd"]].send(data[at : at + step["piece"]], socket.MSG_NOSIGNAL)
            self.arrived(step["fd"])
        return {"rc": len(data)}

    def settle(self) -> None:
        """Send bytes that MSG_MORE holds back, and wait until they have arrived."""
        for name, sock in self.socks.items():
            if sock.type == socket.SOCK_STREAM:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.arrived(name)

    def arrived(self, name: str) -> None:
        """Wait until all sent bytes of a socket are acknowledged."""
        for _ in range(100):
            if not self.unsent(name):
                break
            time.sleep(0.001)

    def unsent(self, name: str) -> int:
        """Return the number of unacknowledged bytes (TIOCOUTQ)."""
        if name not in self.socks:
            return 0
        try:
            raw = fcntl.ioctl(self.fd(name), termios.TIOCOUTQ, bytes(4))
        except OSError:  # a listening socket
            return 0
        return int(struct.unpack("i", raw)[0])

    def op_drain(self, step: Json) -> Json:
        """Read everything that a socket has received."""
        sock = self.socks[step["fd"]]
        peer = "a" if step["fd"] == "b" else "b"
        wire = bytearray()
        obs: Json = {}
        empty = 0
        while empty < 3:
            try:
                data = sock.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                if not self.unsent(peer):
                    break
                empty += 1
                time.sleep(0.01)
                continue
            except OSError as e:
                obs["err"] = name_of(e.errno or 0)
                break
            if not data:
                obs["eof"] = 1
                break
            empty = 0
            wire += data
        return {"rc": len(wire), "wire": wire.hex(), **obs}

    # -------------------------------------------------------------------- other steps

    def op_poll(self, step: Json) -> Json:
        """Execute poll(2)."""
        poller = select.poll()
        poller.register(self.fd(step["fd"]), step["events"])
        got = poller.poll(step["ms"])
        bits = got[0][1] if got else 0
        return {"rc": len(got), "revents": f"{bits:#x}" if bits else "0"}

    def op_inq(self, step: Json) -> Json:
        """Read the number of readable bytes (FIONREAD)."""
        raw = fcntl.ioctl(self.fd(step["fd"]), termios.FIONREAD, bytes(4))
        return {"rc": 0, "n": struct.unpack("i", raw)[0]}

    def op_piperead(self, step: Json) -> Json:
        pipe = self.fd(step["fd"])
        os.set_blocking(pipe, False)
        try:
            data = os.read(pipe, step["n"])
        finally:
            os.set_blocking(pipe, True)
        return {"rc": len(data), "data": data.hex()}

    def op_sleep(self, step: Json) -> Json:
        """Wait."""
        time.sleep(step["ms"] / 1000)
        return {"rc": 0}

    def op_listen(self, step: Json) -> Json:
        """Execute listen(2)."""
        return self.result(step, libc.listen, self.fd(step["fd"]), 1)

    def op_disconnect(self, step: Json) -> Json:
        """Execute connect(2) with AF_UNSPEC."""
        return self.result(step, libc.connect, self.fd(step["fd"]), bytes(16), 16)

    def op_shutdown(self, step: Json) -> Json:
        """Execute shutdown(2)."""
        return self.result(step, libc.shutdown, self.fd(step["fd"]), step["how"])

    def op_close(self, step: Json) -> Json:
        """Execute close(2)."""
        name = step["fd"]
        if name in self.socks:
            self.socks.pop(name).close()
        else:
            os.close(self.fds.pop(name))
        return {"rc": 0}

    def op_reset(self, step: Json) -> Json:
        """Close a socket with a TCP reset."""
        sock = self.socks.pop(step["fd"])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        return {"rc": 0}

    def op_stat(self, _step: Json) -> Json:
        """Read the TLS counters, relative to the start of the script."""
        now = tls_stat()
        added = {name: now[name] - before for name, before in self.stat.items()}
        return {"rc": 0, "stat": {name: n for name, n in added.items() if n}}

    def close(self) -> None:
        """Close all descriptors."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        for sock in self.socks.values():
            sock.close()
        for fd in self.fds.values():
            os.close(fd)


def gathered(parts: list[tuple[int, int]], count: int) -> bytes:
    """Return the first `count` bytes of the buffers."""
    out = b""
    for address, size in parts:
        n = min(size, count - len(out))
        if n:
            out += ctypes.string_at(address, n)
    return out


def control_messages(raw: bytes) -> list[list[Any]]:
    """Return level, type, length and data of each control message."""
    out: list[list[Any]] = []
    at = 0
    while at + 16 <= len(raw):
        length, level, kind = struct.unpack_from("=Qii", raw, at)
        out.append([level, kind, length, raw[at + 16 : at + length].hex()])
        at += (max(length, 16) + 7) // 8 * 8
    return out


def up_loopback() -> None:
    """Enable the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(s, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def tls_stat() -> dict[str, int]:
    """Read /proc/net/tls_stat."""
    with open("/proc/net/tls_stat", encoding="ascii") as f:
        return {name: int(value) for name, value in (line.split() for line in f)}


def run_script(steps: list[Json]) -> list[Json] | Json:
    """Play a script; return its observations, or a traceback under `broken`."""
    script = Script()
    try:
        return script.play(steps)
    except Exception:  # reported to the host
        return {"broken": traceback.format_exc()}
    finally:
        script.close()


# TLS and its ciphers; a module that is built in, or has another name in this kernel, has no file
MODULES = (
    "ctr", "ghash-generic", "gcm", "cmac", "ccm", "chacha", "chacha_generic", "poly1305_generic",
    "chacha20poly1305", "tls",
)  # fmt: skip


def load_modules(folder: str) -> None:
    """Load TLS and its ciphers, each after the modules that `modules.dep` lists for it.

    Args:
        folder: The modules of this kernel; their places and dependencies differ between kernels.
    """
    needs = {}  # the files to load for a module, in order; modules.dep has them in reverse
    with open(os.path.join(folder, "modules.dep"), encoding="ascii") as f:
        for line in f:
            file, _, others = line.partition(":")
            needs[os.path.basename(file).removesuffix(".ko")] = [*reversed(others.split()), file]
    for name in MODULES:
        for path in needs.get(name, []):
            load_module(os.path.join(folder, path))


def load_module(path: str) -> None:
    """Load one module; it may be loaded already."""
    with open(path, "rb") as f:
        failed = libc.syscall(FINIT_MODULE, f.fileno(), b"", 0)
    if failed and ctypes.get_errno() != errno.EEXIST:
        raise OSError(ctypes.get_errno(), f"cannot load {path}")


def main() -> None:
    """Play all scripts and power off."""
    modules, scripts, results = sys.argv[1:4]
    for kind, where in ((b"proc", b"/proc"), (b"sysfs", b"/sys")):
        libc.mount(kind, where, kind, 0, None)
    with open(results, "w", encoding="ascii") as out:
        what = "failed"  # the set-up
        try:
            load_modules(modules)
            up_loopback()
            what = "broken"  # the agent
            with open(scripts, encoding="ascii") as f:
                for line in f:
                    out.write(json.dumps(run_script(json.loads(line))) + "\n")
                    out.flush()
        except BaseException:
            out.write(json.dumps({what: traceback.format_exc()}) + "\n")
    libc.sync()
    libc.reboot(ctypes.c_int(LINUX_REBOOT_CMD_POWER_OFF))


if __name__ == "__main__":
    main()
