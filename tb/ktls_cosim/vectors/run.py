# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim vectors`: published cases through driver, descriptors, DMA and device."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.table import Table

from ktls import CryptoInfo, KtlsNic, run_sync, uapi
from ktls.nic_aead import aead, aead_add
from ktls.nic_contexts import DeviceContext
from ktls.ring import Completion
from ktls_cosim.capabilities import Capabilities
from ktls_cosim.check.device import CheckedPort
from ktls_cosim.check.mismatch import MismatchError, NothingChecked
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.errors import CosimError
from ktls_cosim.port import Port
from ktls_cosim.report import console, progress, table, write_json
from ktls_cosim.reproduce import this_command
from ktls_cosim.session import open_port
from ktls_cosim.target import Target
from ktls_cosim.trace import traced
from ktls_cosim.vectors.cases import GcmCase, RecordCase, cavp, rfc8448, wycheproof
from ktls_hw.layout import Opcode, Status

# number of cases whose contexts are installed at the same time
_TOGETHER = 16
_SHOWN = 10


@dataclass
class Group:
    """The cases of one source and their results.

    Attributes:
        name: Source.
        cases: Cases to play.
        wrong: Name and status of each case with a wrong result.
    """

    name: str
    cases: Sequence[GcmCase | RecordCase]
    wrong: list[str] = field(default_factory=list)

    @property
    def must_fail(self) -> int:
        """Number of cases that the device must reject."""
        return sum(isinstance(c, GcmCase) and not c.valid for c in self.cases)


def all_groups() -> list[Group]:
    """Return all cases with a 96-bit nonce and a 128- or 256-bit key.

    Raises:
        CosimError: A package of vectors is not installed.
    """
    groups = [
        Group(f"CAVP AES-{bits} {operation}", list(cavp(operation, bits)))
        for operation in ("encrypt", "decrypt")
        for bits in (128, 256)
    ]
    return [*groups, Group("Wycheproof", list(wycheproof())), Group("RFC 8448", list(rfc8448()))]


class Player:
    """Plays cases on a device.

    Args:
        port: Device, inside a `CheckedPort`.
    """

    def __init__(self, port: Port) -> None:
        self._nic = run_sync(KtlsNic.probe(port, strict=True))

    def play(self, group: Group, advance: Callable[[int], None] = lambda _n: None) -> None:
        """Play all cases of a group and note those with a wrong result.

        Args:
            group: Cases to play.
            advance: Called with the number of cases played since its last call.
        """
        for i in range(0, len(group.cases), _TOGETHER):
            cases = group.cases[i : i + _TOGETHER]
            run_sync(self._play(group, cases))
            advance(len(cases))

    async def _play(self, group: Group, cases: Sequence[GcmCase | RecordCase]) -> None:
        contexts: list[DeviceContext] = []
        for case in cases:
            contexts += await self._contexts(case)
        todo = iter(contexts)
        for case in cases:
            if isinstance(case, RecordCase):
                await self._record(group, case, next(todo), next(todo))
            else:
                await self._gcm(group, case, next(todo))
        await self._nic.flush()
        for context in contexts:
            await self._nic.tls_dev_del(context)

    async def _contexts(self, case: GcmCase | RecordCase) -> list[DeviceContext]:
        if isinstance(case, GcmCase):
            direction = uapi.TLS_TX if case.sealing else uapi.TLS_RX
            return [await aead_add(self._nic, direction, case.key)]
        info = CryptoInfo(
            uapi.TLS_1_3_VERSION,
            uapi.TLS_CIPHER_AES_GCM_128,
            iv=case.iv[4:],
            key=case.key,
            salt=case.iv[:4],
            rec_seq=case.number.to_bytes(8, "big"),
        )
        return [await self._nic.tls_dev_add(d, info) for d in (uapi.TLS_TX, uapi.TLS_RX)]

    async def _gcm(self, group: Group, case: GcmCase, context: DeviceContext) -> None:
        sealed = case.ciphertext + case.tag

        def done(c: Completion) -> None:
            if case.sealing:
                good = (c.status, c.data) == (Status.OK, sealed)
            elif case.valid:
                good = (c.status, c.data) == (Status.OK, case.plaintext)
            else:
                good = c.status == Status.AUTH_FAILED and not c.data
            if not good:
                group.wrong.append(f"{case.name}: {c.why}")

        opcode = Opcode.SEAL if case.sealing else Opcode.OPEN
        data = case.plaintext if case.sealing else sealed
        tag_len = len(case.tag)
        await aead(self._nic, context, opcode, case.nonce, case.aad, data, done, tag_len)

    async def _record(
        self, group: Group, case: RecordCase, tx: DeviceContext, rx: DeviceContext
    ) -> None:
        """Seal a record from its text, and open the published record."""

        def sealed(c: Completion) -> None:
            if (c.status, c.data) != (Status.OK, case.record):
                group.wrong.append(f"{case.name}: sealed {c.why}")

        def opened(c: Completion) -> None:
            if (c.status, c.data, c.rtype) != (Status.OK, case.text, case.rtype):
                group.wrong.append(f"{case.name}: opened {c.why}")

        await self._nic.xmit(tx, case.rtype, case.text, sealed)
        await self._nic.open(rx, case.record[0], b"", case.record[5:], opened)


def _possible(case: GcmCase | RecordCase, can: Capabilities) -> bool:
    """Return whether a core can play the case; an RFC 8448 record is sealed and opened."""
    if len(case.key) not in can.key_bytes:
        return False
    if isinstance(case, RecordCase):
        return can.seal and can.open and not can.whole_blocks
    return case.sealing in [not d for d in can.directions] and can.allows(len(case.ciphertext))


def run_vectors(
    port_name: str,
    sample: int | None,
    seed: int,
    *,
    target: Target | None = None,
    trace: Path | None = None,
    json_out: Path | None = None,
) -> int:
    """Play all cases, or a sample of each group, and print a table.

    Args:
        port_name: Device: `model` or `sim`.
        sample: Number of cases of each group; None: all.
        seed: Seed of the sample.
        target: Simulator and lanes of `sim`.
        trace: File for the driver's accesses to the device.
        json_out: File for the result.

    Returns:
        0 if every case ended as published and every check passed, else 1.

    Raises:
        CosimError: There is no case, or vectors or simulator are not installed.
    """
    out = console(100)
    command = f"ktls-cosim vectors --port {port_name}"
    groups = all_groups()
    can = target.can if target and port_name == "sim" else Capabilities()
    for g in groups:
        g.cases = [c for c in g.cases if _possible(c, can)]
    if sample is not None:
        command += f" --sample {sample} --seed {seed}"
        rng = random.Random(seed)
        for g in groups:
            g.cases = rng.sample(g.cases, min(sample, len(g.cases)))
    if not any(g.cases for g in groups):
        raise CosimError("there is no case to play")
    scoreboard = Scoreboard(this_command())
    out.print(_play(groups, port_name, target, scoreboard, command, trace))
    wrong = [w for g in groups for w in g.wrong]
    for line in wrong[:_SHOWN]:
        out.print(f"wrong: {line}")
    failure = None
    try:
        scoreboard.finish()
    except (MismatchError, NothingChecked) as e:
        failure = str(e)
    out.print(
        failure
        or f"{scoreboard.device_records} jobs sealed or opened and compared with the golden model, "
        f"{scoreboard.device_refused} refused with nothing but zeros in memory",
        markup=False,
    )
    if left_out := can.left_out():
        out.print(f"left out: {'; '.join(left_out)}")
    passed = not wrong and failure is None
    summary = {
        "port": port_name,
        "sample": sample,
        "seed": seed,
        "groups": [
            {"name": g.name, "cases": len(g.cases), "must_fail": g.must_fail, "wrong": g.wrong}
            for g in groups
        ],
        "mismatches": [str(m) for m in scoreboard.mismatches],
        "passed": passed,
    }
    write_json(json_out, summary)
    return 0 if passed else 1


def _play(
    groups: list[Group],
    port_name: str,
    target: Target | None,
    scoreboard: Scoreboard,
    title: str,
    trace: Path | None,
) -> Table:
    """Play all groups on a device and return the table of results."""
    columns = ("source", "cases", "must fail", "wrong", "seconds")
    rows = table(columns, left=("source",), title=title)
    with (
        progress("cases") as bar,
        open_port(port_name, target=target, name="vectors") as port,
        traced(CheckedPort(port, scoreboard), trace) as checked,
    ):
        player = Player(checked)
        task = bar.add_task("vectors", total=sum(len(g.cases) for g in groups))
        for g in groups:
            begin = time.perf_counter()
            player.play(g, partial(bar.advance, task))
            seconds = f"{time.perf_counter() - begin:.1f}"
            rows.add_row(g.name, *map(str, _counts(g)), seconds)
    total = map(sum, zip(*map(_counts, groups), strict=True))
    rows.add_row("total", *map(str, total))
    return rows


def _counts(group: Group) -> tuple[int, int, int]:
    """Return the numbers of cases, of cases that must fail, and of wrong results."""
    return len(group.cases), group.must_fail, len(group.wrong)
