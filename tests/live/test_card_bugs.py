# SPDX-License-Identifier: Apache-2.0
"""Bugs planted into a copy of the C driver: the card reports each with the rule that it breaks."""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cards import SOURCES, Work, build, card, play
from ktls_cosim.check.rules import Rule
from ktls_cosim.paths import HW
from support import have_simulator

Edit = tuple[str, str, str]
"""File, text that occurs once in it, and what replaces it."""

NEW_PHASE = "phase = ~(r->cons >> nic->o.ring_log2) & 1;"
FITS = "if (!fits(r, c, posted, slot)) {"
TRUST: Edit = ("ktls_drv.c", FITS, "if (0 && !fits(r, c, posted, slot)) {")
"""The driver's own check of completions would end it before the card sees anything."""
DOORBELL = "wr(nic, reg_of(ring, KTLS_REG_RING0_SQ_PROD), r->prod);"
WIPE_SLOT = """	d = &r->sq[*slot];
	wipe(d, sizeof *d);
"""


def some(work: Work) -> None:
    """Two contexts, more records than a ring has slots, and an orderly end."""
    for name in (0, 1):
        work.add(name, opens=bool(name))
    for n in range(12):
        work.record(n % 2, 700)
    work.commands.append("wait")
    for name in (0, 1):
        work.remove(name)


def long_ones(work: Work) -> None:
    """One doorbell that keeps the simulation busy for longer than a client may have to wait."""
    work.add(0, opens=False)
    for _ in range(6):
        work.record(0, 16000, pad=0, pieces=1)
    work.put("wait")
    work.remove(0)


def a_few(work: Work) -> None:
    """One context, and no slot is used twice."""
    work.add(0, opens=False)
    work.record(0, 100)
    work.remove(0)


def with_resync(work: Work) -> None:
    work.add(0, opens=True, seq=7)
    work.resync(0)
    work.remove(0)


def without_removal(work: Work) -> None:
    work.add(0, opens=False)
    work.record(0, 100)


@dataclass(frozen=True)
class Bug:
    """A mistake of a driver.

    Attributes:
        edits: How it gets into the sources.
        rule: The rule that it breaks.
        text: Regular expression of the report.
        steps: Commands for `ktls_play`.
        log2: log2 of the slots of a ring.
        port: The device that notices it.
        patience: Seconds after which the driver is killed.
    """

    edits: tuple[Edit, ...]
    rule: Rule
    text: str
    steps: Callable[[Work], None] = some
    log2: int = 2
    port: str = "model"
    patience: float = 2


BUGS = {
    # the read lets the card see the doorbell before the descriptor is there
    "doorbell before the descriptor": Bug(
        (
            (
                "ktls_drv.c",
                WIPE_SLOT,
                WIPE_SLOT
                + "\twr(nic, reg_of(ctx->ring, KTLS_REG_RING0_SQ_PROD), r->prod + 1);\n"
                + "\trd(nic, KTLS_REG_ID);\n",
            ),
        ),
        Rule.EMPTY_DESCRIPTOR,
        "descriptor 0 of ring 0 is empty: the doorbell came before the descriptor",
    ),
    # on the model the doorbell is executed before CQ_CONS arrives
    "inverted phase": Bug(
        (
            ("ktls_drv.c", NEW_PHASE, "phase = r->cons >> nic->o.ring_log2 & 1;"),
            (
                "ktls_drv.c",
                FITS,
                "if (r->cons == r->published)\n			break;\n		"
                "if (0 && !fits(r, c, posted, slot)) {",
            ),
        ),
        Rule.COMPLETION_RANGE,
        r"\d are new: a stale one was taken for new, the phase bit of completion \d must be 1",
        long_ones,
        log2=4,
        port="sim",
    ),
    "phase that ignores the round": Bug(
        (("ktls_drv.c", NEW_PHASE, "phase = 1;"), TRUST),
        Rule.COMPLETION_RANGE,
        r"RING0_CQ_CONS \d+ consumes \d+ completions, \d+ are new: a stale one.*must be 0",
    ),
    "record number in the wrong order": Bug(
        (("ktls_drv.c", "(uint8_t)(number >> (56 - 8 * i));", "(uint8_t)(number >> 8 * i);"),),
        Rule.RECORD_NUMBER,
        r"descriptor 1 of ring 0 has record number \d+: is it \d+ in the wrong order",
        with_resync,
    ),
    "buffer reused before its completion": Bug(
        (("ktls_play.c", "job->busy = true;", "job->busy = false;"),),
        Rule.OWNED_BUFFER,
        r"of descriptor \d+ of ring 0 at \S+ overlaps the \w+ of descriptor \d+ of ring 0",
        log2=4,
    ),
    "list reused before its completion": Bug(
        (("ktls_drv.c", "2 * slot + 1, j->dst", "1, j->dst"),),
        Rule.OWNED_BUFFER,
        r"of descriptor \d+ of ring 0 at \S+ overlaps",
        log2=4,
    ),
    "source wiped behind the doorbell": Bug(
        (
            (
                "ktls_play.c",
                "	for (unsigned ring = 0; ring < ktls_nic_rings(p->nic); ring++) {\n"
                "		ktls_submit(p->nic, ring);\n"
                "		p->unpublished[ring] = 0;\n"
                "	}\n",
                "	ktls_submit(p->nic, 0);\n"
                "	vfio_card_read32(p->card, 0);\n"
                "	for (unsigned i = 0; i < JOBS; i++)\n"
                "		memset(p->job[i].virt, 0, AREA);\n",
            ),
        ),
        Rule.OWNED_BUFFER,
        r"the source of descriptor \d+ of ring 0 at \S+ was changed between",
        long_ones,
        log2=4,
        port="sim",
    ),
    "ring that is not full in time": Bug(
        (("ktls_drv.c", "r->prod - r->cons == slots(nic)", "r->prod - r->cons == 2 * slots(nic)"),),
        Rule.DOORBELL_RANGE,
        r"publishes \d descriptors beside \d in flight, the ring has 4 slots",
    ),
    "ring that wraps too early": Bug(
        (
            (
                "ktls_drv.c",
                "*slot = r->prod & (slots(nic) - 1);",
                "*slot = r->prod & (slots(nic) / 2 - 1);",
            ),
        ),
        Rule.EMPTY_DESCRIPTOR,
        "descriptor 2 of ring 0 is empty",
    ),
    "no wait for the end of the reset": Bug(
        (
            (
                "ktls_drv.c",
                "PUT(CTRL_RESET, 1));\n	error = wait_ready(nic);",
                "PUT(CTRL_RESET, 1));\n	error = 0;",
            ),
        ),
        Rule.REGISTER_STATE,
        "RING0_SQ_BASE_LO was written before STATUS.ready was read as 1",
    ),
    "CQ_CONS is never written": Bug(
        (
            (
                "ktls_drv.c",
                "	if (n)\n		wr(nic, reg_of(ring, KTLS_REG_RING0_CQ_CONS)",
                "	if (0)\n		wr(nic, reg_of(ring, KTLS_REG_RING0_CQ_CONS)",
            ),
        ),
        Rule.COMPLETION_LEFT,
        "3 completions of ring 0 were never consumed; the first one is 0",
        a_few,
    ),
    "a context is forgotten": Bug(
        (), Rule.CONTEXT_LEFT, "context 0, installed by descriptor 0 of ring 0", without_removal
    ),
    "the key stays in its slot": Bug(
        (
            (
                "ktls_drv.c",
                "		wipe(&r->sq[r->cons & (slots(nic) - 1)], sizeof *r->sq);",
                "		;",
            ),
            ("ktls_drv.c", "	wipe(nic->dma, nic->dma_size);", "	;"),
        ),
        Rule.KEY_LEFT,
        "the slot at 0x7f00000000 still holds the key of a context",
        a_few,
    ),
    "memory stays mapped": Bug(
        (("ktls_play.c", "== p.job[i].virt)", "== p.job[i].virt && i)"),),
        Rule.MEMORY_LEFT,
        r"0x\w+ bytes at 0x\w+ were never unmapped",
        a_few,
    ),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, built; a test then compiles only what it changes."""
    folder = tmp_path_factory.mktemp("bugs")
    sources = folder / "driver" / "c"
    shutil.copytree(SOURCES, sources, ignore=shutil.ignore_patterns("*.o"))
    (folder / "hw").symlink_to(HW)
    build(sources, sources, CFLAGS="-O0 -g")
    return folder


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_reported(
    name: str, base: Path, tmp_path: Path, rng: random.Random
) -> None:
    bug = BUGS[name]
    if bug.port == "sim":
        have_simulator()
    folder = tmp_path / "copy"
    shutil.copytree(base, folder, symlinks=True)
    sources = folder / "driver" / "c"
    for file, old, new in bug.edits:
        text = (sources / file).read_text()
        assert text.count(old) == 1, f"{file}: {old!r} must occur once"
        (sources / file).write_text(text.replace(old, new))
    if bug.edits:
        build(sources, sources, CFLAGS="-O0 -g -Wno-error")
    work = Work(rng, rings=1)
    bug.steps(work)
    with card(tmp_path, "--port", bug.port, "--strict") as process:
        # a driver with a bug may wait for ever
        with contextlib.suppress(subprocess.TimeoutExpired):
            program = sources / "ktls_play"
            play(program, process.socket, 1, bug.log2, work.commands, timeout=bug.patience)
        assert process.stop() == 1
    found = re.findall(r"^ktls-cosim card: ([a-z-]+): (.*)$", process.output, re.M)
    assert any(rule == bug.rule and re.search(bug.text, text) for rule, text in found), (
        process.output
    )
    assert all(text.endswith(f"(docs/programmers-guide.md#{rule})") for rule, text in found)
    assert "ktls-cosim: a driver has broken rules" in process.output


def test_every_rule_that_a_card_notices_has_a_bug() -> None:
    """Reads cannot be observed; see docs/programmers-guide.md. Descriptors: test_checked.py."""
    assert {b.rule for b in BUGS.values()} == set(Rule) - {Rule.EARLY_READ, Rule.OWNED_DESCRIPTOR}
