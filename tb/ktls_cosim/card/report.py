# SPDX-License-Identifier: Apache-2.0
"""What the drivers of a card do wrong, in lines for their developer."""

from __future__ import annotations

from collections import Counter

from ktls_cosim.check.rules import Breach, Rule

_SHOWN = 5  # breaches of one rule that are shown for a client


class AuditReport:
    """Collects breaches, client by client.

    Attributes:
        total: Breaches of all clients.

    Args:
        strict: Print each breach when it happens.
    """

    def __init__(self, *, strict: bool) -> None:
        self.total = 0
        self._strict = strict
        self._counts: Counter[Rule] = Counter()
        self._lines: list[str] = []

    def add(self, breach: Breach) -> None:
        """Note a breach."""
        self.total += 1
        self._counts[breach.rule] += 1
        if self._counts[breach.rule] <= _SHOWN:
            self._lines.append(str(breach))
            if self._strict:
                print(f"error: {breach}", flush=True)

    def client_gone(self, number: int) -> None:
        """Print the report of a client and start the next one."""
        lines = [f"audit of client {number}: breaches: {self._counts.total()}"]
        lines += [f"  {line}" for line in self._lines]
        lines += [f"  {r}: {n - _SHOWN} more" for r, n in self._counts.items() if n > _SHOWN]
        print("\n".join(lines), flush=True)
        self._counts.clear()
        self._lines.clear()
