# SPDX-License-Identifier: Apache-2.0
"""The findings of a checker and the errors that end a run."""

from __future__ import annotations

from dataclasses import dataclass

from ktls_cosim.port import moment

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One failed check.

    Attributes:
        check: Check that failed: `golden`, `open`, `stream`, `received`, `completion`,
            `number`, `access`, `push`, `driver` or `leftover`.
        where: Connection or context, and record.
        details: Lines for the reader.
        field: First wrong field of a sealed record: `header`, `nonce`, `ciphertext` or `tag`.
        cause: A fault that would produce this result.
        time_ns: Time of the device when the check failed, in nanoseconds; the scoreboard adds it.
    """

    check: str
    where: str
    details: tuple[str, ...]
    field: str | None = None
    cause: str | None = None
    time_ns: int | None = None

    def __str__(self) -> str:
        when = "" if self.time_ns is None else f" at {moment(self.time_ns)}"
        head = f"{self.check} check{when}: {self.where}"
        if self.field:
            head += f": wrong {self.field}"
        lines = [head, *("  " + d for d in self.details)]
        if self.cause:
            lines.append(f"  likely cause: {self.cause}")
        return "\n".join(lines)


class MismatchError(AssertionError):
    """The run failed at least one check.

    Attributes:
        mismatches: All findings, in the order in which they were reported.

    Args:
        mismatches: At least one finding.
        reproduce: Command that repeats the run, with its seed.
    """

    def __init__(self, mismatches: list[Mismatch], reproduce: str) -> None:
        self.mismatches = mismatches
        shown = "\n".join(str(m) for m in mismatches[:_SHOWN])
        hidden = len(mismatches) - _SHOWN
        more = f"\n... and {hidden} more" if hidden > 0 else ""
        super().__init__(f"{len(mismatches)} mismatches\n{shown}{more}\nreproduce: {reproduce}")


class NothingChecked(AssertionError):
    """The run checked no record, so it proves nothing."""
