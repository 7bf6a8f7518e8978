# SPDX-License-Identifier: Apache-2.0
"""What the drivers of a card do wrong, in lines for their developer."""

from __future__ import annotations

import logging
from collections import Counter

from ktls_cosim.check.rules import Breach, Rule

_SHOWN = 5  # breaches of one rule that are shown for a client
_log = logging.getLogger("ktls.card")


class AuditReport:
    """Collects breaches, client by client.

    Attributes:
        total: Breaches of all clients.

    Args:
        strict: Show each breach when it happens.
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
                _log.error("%s", breach)

    def client_gone(self, number: int) -> None:
        """Show the report of a client and start the next one."""
        if self._counts:
            _log.warning("audit of client %d: breaches: %d", number, self._counts.total())
            for line in self._lines:
                _log.warning("  %s", line)
            for rule, n in self._counts.items():
                if n > _SHOWN:
                    _log.warning("  %s: %d more", rule, n - _SHOWN)
        self._counts.clear()
        self._lines.clear()
