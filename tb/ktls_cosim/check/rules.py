# SPDX-License-Identifier: Apache-2.0
"""The rules that a driver must follow, as docs/programmers-guide.md lists them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

GUIDE = "docs/programmers-guide.md"
"""The page that has a heading for each rule."""


class Rule(StrEnum):
    """Names of the rules; each is an anchor of `GUIDE`."""

    EARLY_READ = "early-read"
    OWNED_DESCRIPTOR = "owned-descriptor"
    OWNED_BUFFER = "owned-buffer"
    EMPTY_DESCRIPTOR = "empty-descriptor"
    RECORD_NUMBER = "record-number"
    DOORBELL_RANGE = "doorbell-range"
    COMPLETION_RANGE = "completion-range"
    REGISTER_STATE = "register-state"
    COMPLETION_LEFT = "completion-left"
    CONTEXT_LEFT = "context-left"
    KEY_LEFT = "key-left"
    MEMORY_LEFT = "memory-left"


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule that a driver has broken.

    Attributes:
        rule: The rule.
        text: What the driver did, in one line.
    """

    rule: Rule
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text} ({GUIDE}#{self.rule})"


def on_purpose(_breach: Breach) -> None:
    """Ignore a breach: the verification driver breaks the rules on purpose."""
