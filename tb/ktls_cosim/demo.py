# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim demo`: an application sends data, and the device seals its records."""

from __future__ import annotations

import argparse
import typing
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress
from rich.table import Table

from ktls import CryptoInfo, KtlsNic, KtlsSocket, KtlsStack, connect_wire, run_sync, uapi
from ktls.ring import Completion
from ktls_cosim.capabilities import Capabilities
from ktls_cosim.capture.pcapng import Capture
from ktls_cosim.capture.secrets import Suite
from ktls_cosim.capture.transcript import SyntheticHandshake
from ktls_cosim.check.device import CheckedPort
from ktls_cosim.check.mismatch import MismatchError, NothingChecked
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.errors import CosimError
from ktls_cosim.options import add_capture, add_json, add_port, add_trace
from ktls_cosim.port import Port
from ktls_cosim.report import console, progress, table, write_json
from ktls_cosim.reproduce import this_command
from ktls_cosim.session import open_port, waves_of
from ktls_cosim.target import Target
from ktls_cosim.trace import traced
from ktls_hw.layout import Status
from ktls_hw.model import Fault, NicModel

FILE_SIZE = 65536
CIPHERS = {16: uapi.TLS_CIPHER_AES_GCM_128, 32: uapi.TLS_CIPHER_AES_GCM_256}
TYPE_NAMES = {20: "change_cipher_spec", 21: "alert", 22: "handshake", 23: "data"}


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `demo`."""
    add_port(parser, "sim", "model", default="sim")
    parser.add_argument(
        "--file", type=Path, help="file that sendfile sends (default: a Python module)"
    )
    parser.add_argument("--waves", action="store_true", help="leave an FST file under build/")
    parser.add_argument(
        "--fault",
        choices=[f.name for f in Fault],
        help="inject a fault into the model; the checkers must catch it",
    )
    add_capture(parser)
    add_trace(parser)
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(args: Namespace) -> int:
    return run_demo(
        args.port,
        target=args.target,
        file=args.file,
        waves=args.waves,
        fault=args.fault,
        capture=args.capture,
        trace=args.trace,
        json_out=args.json,
    )


@dataclass(slots=True)
class Row:
    """One row of the table: a record, its completion, and the verdict of the golden model."""

    rtype: int
    length: int
    completion: Completion
    verified: bool = False


class DemoObserver(Scoreboard):
    """A scoreboard that also keeps one row per record.

    Args:
        reproduce: The command that repeats the run.
        progress: Display that counts the sealed bytes.
        total: Bytes that the application sends.
    """

    def __init__(self, reproduce: str, progress: Progress, total: int) -> None:
        super().__init__(reproduce)
        self.rows: list[Row] = []
        self._progress = progress
        self._task = progress.add_task("sealing", total=total)

    def record_done(self, conn: int, rtype: int, length: int, completion: object) -> None:
        """Add a row for a record that the device has sealed."""
        super().record_done(conn, rtype, length, completion)
        assert isinstance(completion, Completion)
        self.rows.append(Row(rtype, length, completion))
        self._progress.advance(self._task, length)

    def wire_sent(self, conn: int, data: bytes) -> None:
        """Check a record on the wire, and mark its row as verified if the device sealed it."""
        records, findings = self.wire_records, len(self.mismatches)
        super().wire_sent(conn, data)
        if self.rows:
            # after an error the driver seals the record in software, which proves nothing here
            self.rows[-1].verified = (
                self.rows[-1].completion.status == Status.OK
                and self.device_records >= len(self.rows)
                and self.wire_records == records + 1
                and len(self.mismatches) == findings
            )


def real_file() -> Path:
    """Return a file of at least 64 KiB: a module of the standard library."""
    for module in (argparse, typing):
        path = Path(module.__file__ or "")
        if path.is_file() and path.stat().st_size >= FILE_SIZE:
            return path
    raise CosimError(f"no file of {FILE_SIZE} bytes found; name one with --file FILE")


def application(sock: KtlsSocket, keys: CryptoInfo, file: Path) -> None:
    """Use a kTLS socket as a program does: send, MSG_MORE, sendfile, an alert, close."""
    sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    # a real program takes its keys from the handshake
    sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, keys.pack())

    sock.send(b"hello world")

    sock.send(b"three calls ", uapi.MSG_MORE)
    sock.send(b"make one ", uapi.MSG_MORE)
    sock.send(b"record")

    with file.open("rb") as f:
        sock.sendfile(f, 0, file.stat().st_size)

    close_notify = b"\x01\x00"
    sock.sendmsg(
        [close_notify],
        [(uapi.SOL_TLS, uapi.TLS_SET_RECORD_TYPE, bytes([uapi.RECORD_TYPE_ALERT]))],
    )
    sock.close()


def _table(rows: list[Row]) -> Table:
    columns = ("record", "type", "bytes", "status", "cycles", "bytes/cycle", "verified")
    out = table(columns, left=("type", "status"))
    for row in rows:
        c = row.completion
        rate = f"{row.length / c.cycles:.2f}" if c.cycles else "-"
        out.add_row(
            "-" if c.rec_seq is None else str(c.rec_seq),
            TYPE_NAMES.get(row.rtype, str(row.rtype)),
            str(row.length),
            c.why,
            str(c.cycles),
            rate,
            "yes" if row.verified else "NO",
        )
    return out


def run_demo(
    port_kind: str,
    *,
    target: Target | None = None,
    file: Path | None,
    waves: bool,
    fault: str | None,
    capture: Path | None = None,
    trace: Path | None = None,
    json_out: Path | None = None,
) -> int:
    """Run the demo.

    Args:
        port_kind: `model` or `sim`.
        target: Simulator and lanes of `sim`.
        file: The file that `sendfile` sends; by default a module of the standard library.
        waves: Whether to record an FST file.
        fault: Name of the `Fault` to inject into the model.
        capture: The pcapng file to write.
        trace: File for the driver's accesses to the device.
        json_out: File for the rows of the table and the result.

    Returns:
        0 if every record was verified, 1 on any mismatch or if nothing was checked.

    Raises:
        CosimError: An argument cannot be used.
    """
    if waves and port_kind != "sim":
        raise CosimError("the functional model records no waves; use --waves with --port sim")
    file = file or real_file()
    if not file.is_file():
        raise CosimError(f"{file} is not a file; name a readable one with --file")
    out = console()
    can = target.can if target and port_kind == "sim" else Capabilities()
    if not can.seal or can.whole_blocks:
        raise CosimError("the demo seals TLS records of any length; the core does not declare that")
    suite = Suite(CIPHERS[can.key_bytes[0]])
    total = len(b"hello world") + 27 + file.stat().st_size + 2
    out.print(f"device: {port_kind}, file: {file} ({file.stat().st_size} bytes)")
    port = observer = None
    try:
        with (
            progress("bytes") as bar,
            open_port(port_kind, target=target, name="demo", waves=waves) as port,
        ):
            observer = DemoObserver(this_command(), bar, total)
            failure = _play(port, observer, suite, file, fault, capture, trace)
    finally:
        # also after an error of the device
        if port is not None and (path := waves_of(port)):
            from ktls_cosim.sim.waves import view_lines

            moments = [m.time_ns for m in observer.mismatches] if observer else []
            out.print("\n".join(view_lines(path, next(iter(moments), None))), markup=False)
    out.print(_table(observer.rows))
    if capture:
        out.print(f"capture: {capture} (open it with Wireshark, or: tshark -r {capture} -x)")
    if failure:
        out.print(failure, markup=False)
    print(
        f"records verified: {observer.wire_records}, bytes: {observer.wire_bytes}, "
        f"mismatches: {len(observer.mismatches)}"
    )
    write_json(json_out, _summary(port_kind, file, observer, failure))
    return 1 if failure else 0


def _summary(
    port_kind: str, file: Path, observer: DemoObserver, failure: str | None
) -> dict[str, object]:
    """Return the result of a run for `--json`."""
    records = [
        {
            "number": row.completion.rec_seq,
            "type": row.rtype,
            "bytes": row.length,
            "status": row.completion.why,
            "cycles": row.completion.cycles,
            "verified": row.verified,
        }
        for row in observer.rows
    ]
    return {
        "port": port_kind,
        "file": str(file),
        "records": records,
        "verified": observer.wire_records,
        "bytes": observer.wire_bytes,
        "mismatches": [str(m) for m in observer.mismatches],
        "passed": failure is None,
    }


def _play(
    port: Port,
    observer: DemoObserver,
    suite: Suite,
    file: Path,
    fault: str | None,
    capture: Path | None,
    trace: Path | None,
) -> str | None:
    if fault:
        if not isinstance(port, NicModel):
            raise CosimError("--fault needs the functional model; use it with --port model")
        port.inject(Fault[fault], record=2)
    with traced(CheckedPort(port, observer), trace) as checked:
        return _send(checked, observer, suite, file, capture)


def _send(
    port: Port, observer: DemoObserver, suite: Suite, file: Path, capture: Path | None
) -> str | None:
    """Run the application; return the findings as text, or None if all checks passed."""
    stack = KtlsStack(run_sync(KtlsNic.probe(port, strict=True)), observer)
    # the demo has no peer: its keys come from a synthetic handshake, which a capture can show
    handshake = SyntheticHandshake(suite, b"demo")
    if capture is None:
        # As after a real handshake, whose Finished message is number 0. A number other than 0
        # also reveals a wrong byte order.
        keys = handshake.server.at(1)
        application(connect_wire(stack, lambda _data: None), keys, file)
    else:
        with Capture(capture) as pcapng:
            conversation = pcapng.conversation(("192.0.2.1", 50000), ("192.0.2.2", 443))
            handshake.write(conversation)
            application(connect_wire(stack, conversation.server), handshake.server, file)
    try:
        observer.finish()
    except (MismatchError, NothingChecked) as e:
        return str(e)
    if observer.device_records != observer.wire_records:
        return (
            f"{observer.wire_records} records on the wire, but the device sealed "
            f"{observer.device_records}; the driver sealed the others in software\n"
            f"first refused: {observer.first_refused}\nreproduce: {observer.reproduce}"
        )
    return None
