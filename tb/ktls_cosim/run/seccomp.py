# SPDX-License-Identifier: Apache-2.0
"""Seccomp user notification: answer the system calls of another process.

It needs Linux 5.9 or later, but neither root nor a change to the program. See seccomp(2),
seccomp_unotify(2), include/uapi/linux/seccomp.h and include/uapi/linux/filter.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import signal
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ktls_cosim.errors import CosimError

_LIBC = ctypes.CDLL(None, use_errno=True)

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER = 1
_FLAG_NEW_LISTENER = 1 << 3
_RET_ALLOW = 0x7FFF0000
_RET_USER_NOTIF = 0x7FC00000
_FLAG_CONTINUE = 1
_ADDFD_SETFD = 1

# BPF instructions: load a word of struct seccomp_data, jump if equal, return
_LD, _JEQ, _RET = 0x20, 0x15, 0x06
_DATA_NR, _DATA_ARCH, _DATA_ARG1 = 0, 4, 24

_NOTIF = struct.Struct("=QIIiIQ6Q")
_RESP = struct.Struct("=QqiI")
_ADDFD = struct.Struct("=QIIII")


# system calls added since Linux 5.0 have one number on all architectures
PIDFD_GETFD = 438
_EVERYWHERE = {"io_uring_setup": 425}


def _ioctl(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | ord("!") << 8 | number


_IOCTL_RECV = _ioctl(3, 0, _NOTIF.size)
_IOCTL_SEND = _ioctl(3, 1, _RESP.size)
_IOCTL_VALID = _ioctl(1, 2, 8)
_IOCTL_ADDFD = _ioctl(1, 3, _ADDFD.size)


@dataclass(frozen=True, slots=True)
class Arch:
    """System call numbers of one architecture.

    Attributes:
        audit: AUDIT_ARCH_* of include/uapi/linux/audit.h.
        seccomp: Number of seccomp(2).
        calls: Numbers of the trapped system calls by name.
    """

    audit: int
    seccomp: int
    calls: Mapping[str, int]


ARCHS = {
    "x86_64": Arch(
        0xC000003E,
        317,
        {
            "read": 0, "write": 1, "poll": 7, "ioctl": 16, "readv": 19, "writev": 20,
            "sendfile": 40, "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47,
            "connect": 42, "bind": 49, "listen": 50,
            "shutdown": 48, "getsockname": 51, "getpeername": 52, "setsockopt": 54,
            "getsockopt": 55, "ppoll": 271, "splice": 275, "sendmmsg": 307, "recvmmsg": 299,
            "epoll_ctl": 233, **_EVERYWHERE,
        },
    ),
    "aarch64": Arch(
        0xC00000B7,
        277,
        {
            "ioctl": 29, "read": 63, "write": 64, "readv": 65, "writev": 66, "sendfile": 71,
            "ppoll": 73, "splice": 76, "getsockname": 204, "getpeername": 205, "sendto": 206,
            "recvfrom": 207, "setsockopt": 208, "getsockopt": 209, "shutdown": 210,
            "sendmsg": 211, "recvmsg": 212, "bind": 200, "listen": 201, "connect": 203,
            "recvmmsg": 243, "sendmmsg": 269, "epoll_ctl": 21, **_EVERYWHERE,
        },
    ),
}  # fmt: skip


def arch() -> Arch:
    """Return the system call numbers of this machine.

    Raises:
        CosimError: The architecture is not supported.
    """
    name = platform.machine()
    if name not in ARCHS:
        raise CosimError(f"`run` supports {' and '.join(ARCHS)}, not {name}")
    return ARCHS[name]


def filter_program(
    numbers: Arch, trapped: Sequence[str], by_arg1: Mapping[str, Sequence[int]]
) -> bytes:
    """Build a BPF program that traps some system calls and allows all others.

    Args:
        numbers: Architecture to trap; calls of any other architecture are allowed.
        trapped: Names of calls to trap; names unknown to the architecture are ignored.
        by_arg1: Names of calls to trap for these values of their second argument.

    Returns:
        `struct sock_filter` entries, 8 bytes each.
    """
    code: list[tuple[int, int, int, int]] = [
        (_LD, 0, 0, _DATA_ARCH),
        (_JEQ, 1, 0, numbers.audit),
        (_RET, 0, 0, _RET_ALLOW),
        (_LD, 0, 0, _DATA_NR),
    ]
    for name in trapped:
        if name in numbers.calls:
            code += [(_JEQ, 0, 1, numbers.calls[name]), (_RET, 0, 0, _RET_USER_NOTIF)]
    for name, values in by_arg1.items():
        count = len(values)
        code += [(_JEQ, 0, count + 3, numbers.calls[name]), (_LD, 0, 0, _DATA_ARG1)]
        code += [(_JEQ, count - i, 0, value) for i, value in enumerate(values)]
        code += [(_RET, 0, 0, _RET_ALLOW), (_RET, 0, 0, _RET_USER_NOTIF)]
    code.append((_RET, 0, 0, _RET_ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in code)


@dataclass(frozen=True, slots=True)
class Call:
    """A trapped system call.

    Attributes:
        cookie: Id of the notification.
        tid: Thread id of the caller.
        number: System call number.
        args: Six arguments as unsigned 64-bit registers.
    """

    cookie: int
    tid: int
    number: int
    args: tuple[int, ...]

    def int_arg(self, index: int) -> int:
        """Return an argument of C type int."""
        value = self.args[index] & 0xFFFFFFFF
        return value - (1 << 32) if value >> 31 else value


class Listener:
    """The receiving end of trapped calls.

    Attributes:
        fd: Readable while a call waits; hangs up when the last process has ended.

    Args:
        fd: Descriptor of a seccomp listener; `close` closes it.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def receive(self) -> Call | None:
        """Return the next call; None if its caller has been interrupted meanwhile."""
        buffer = bytearray(_NOTIF.size)
        try:
            fcntl.ioctl(self.fd, _IOCTL_RECV, buffer)
        except OSError as e:
            if e.errno in (errno.ENOENT, errno.EINTR):
                return None
            raise
        cookie, tid, _flags, number, _arch, _ip, *args = _NOTIF.unpack(buffer)
        return Call(cookie, tid, number, tuple(args))

    def answer(self, call: Call, value: int = 0, error: int = 0) -> None:
        """Complete a call with a return value, or with an errno."""
        self._send(call, value, -error, 0)

    def proceed(self, call: Call) -> None:
        """Let the kernel execute the call."""
        self._send(call, 0, 0, _FLAG_CONTINUE)

    def _send(self, call: Call, value: int, error: int, flags: int) -> None:
        try:
            fcntl.ioctl(self.fd, _IOCTL_SEND, _RESP.pack(call.cookie, value, error, flags))
        except OSError as e:
            # the caller has ended, or a signal interrupted the call
            if e.errno != errno.ENOENT:
                raise

    def waits(self, call: Call) -> bool:
        """Return whether the caller still waits for its answer."""
        try:
            fcntl.ioctl(self.fd, _IOCTL_VALID, call.cookie.to_bytes(8, "little"))
        except OSError:
            return False
        return True

    def replace_fd(self, call: Call, target: int, source: int, cloexec: bool) -> None:
        """Replace a descriptor of the caller, as dup3(2) would.

        Args:
            call: A trapped call of that process.
            target: Descriptor of the caller.
            source: Descriptor of this process to copy.
            cloexec: Set FD_CLOEXEC.
        """
        flags = os.O_CLOEXEC if cloexec else 0
        packed = _ADDFD.pack(call.cookie, _ADDFD_SETFD, source, target, flags)
        fcntl.ioctl(self.fd, _IOCTL_ADDFD, packed)

    def close(self) -> None:
        """Close the descriptor; trapped calls then fail with ENOSYS."""
        os.close(self.fd)


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """Return a copy of another process's descriptor (pidfd_getfd(2)).

    Raises:
        OSError: EBADF, EPERM, ESRCH.
    """
    got: int = _LIBC.syscall(PIDFD_GETFD, pidfd, fd, 0)
    if got < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return got


class _Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def _install(seccomp: int, program: bytes) -> int:
    if _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return -ctypes.get_errno()
    fprog = _Program(len(program) // 8, program)
    fd: int = _LIBC.syscall(seccomp, _SET_MODE_FILTER, _FLAG_NEW_LISTENER, ctypes.byref(fprog))
    return fd if fd >= 0 else -ctypes.get_errno()


# exit status of a shell that cannot start a command
_CANNOT_START = 127


def spawn(
    command: Sequence[str], env: Mapping[str, str], numbers: Arch, program: bytes
) -> tuple[int, Listener]:
    """Start a program under a seccomp filter.

    Args:
        command: Program and arguments.
        env: Environment of the program.
        numbers: Architecture of this machine.
        program: Filter from `filter_program`.

    Returns:
        Process id, and the listener for its trapped calls.

    Raises:
        CosimError: The system does not permit this; the message names the reason.
    """
    pid = os.fork()
    if pid == 0:
        _child(command, env, numbers.seccomp, program)
    _, status = os.waitpid(pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        number = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0
        raise CosimError(
            f"seccomp user notification is not possible here ({os.strerror(number)}): it needs "
            "Linux 5.9 or later; in a container it also needs a seccomp profile that allows "
            "seccomp(2) (docker run --security-opt seccomp=unconfined)"
        )
    try:
        pidfd = os.pidfd_open(pid)
        try:
            listener = Listener(pidfd_getfd(pidfd, _listener_of(pid)))
        finally:
            os.close(pidfd)
    except OSError as e:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise CosimError(
            f"cannot copy descriptors of a child process here ({e}): pidfd_getfd needs "
            "Linux 5.6 or later and permission to trace one's own children "
            "(/proc/sys/kernel/yama/ptrace_scope below 2)"
        ) from e
    os.kill(pid, signal.SIGCONT)
    return pid, listener


def _child(command: Sequence[str], env: Mapping[str, str], seccomp: int, program: bytes) -> None:
    code = errno.EPERM
    try:
        fd = _install(seccomp, program)
        if fd < 0:
            code = -fd
            return
        # the parent copies the listener while this process is stopped, before any trapped call
        os.kill(os.getpid(), signal.SIGSTOP)
        code = _CANNOT_START
        os.execvpe(command[0], list(command), dict(env))
    except OSError as e:
        # in exact mode this write is trapped, so it needs the parent to answer
        os.write(2, f"ktls-cosim: {command[0]}: {e.strerror}\n".encode())
    finally:
        os._exit(code)


def _listener_of(pid: int) -> int:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        if os.readlink(entry) == "anon_inode:seccomp notify":
            return int(entry.name)
    raise OSError(errno.ENOENT, "the child has no seccomp listener")
