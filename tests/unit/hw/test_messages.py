# SPDX-License-Identifier: Apache-2.0
"""Interrupt messages of the functional model: the rules of RINGn_MSG and ERROR_MSG."""

from __future__ import annotations

import pytest

from ktls_hw.messages import Messages

RINGS = 3
REFUSED, FATAL = 1 << RINGS, 2 << RINGS


def taken(messages: Messages) -> list[int]:
    out = []
    while (vector := messages.take()) is not None:
        out.append(vector)
    return out


@pytest.fixture
def messages() -> Messages:
    m = Messages(RINGS)
    for vector in range(RINGS + 1):
        m.enable(vector, True)
    return m


def test_a_request_sends_one_message(messages: Messages) -> None:
    messages.update(0b101)
    messages.update(0b101)
    assert taken(messages) == [0, 2]
    messages.update(0b111)
    assert taken(messages) == [1]
    messages.update(0)
    messages.update(0b010)
    assert taken(messages) == [1]


def test_a_request_that_stays_behind_its_acknowledgement_sends_another(messages: Messages) -> None:
    messages.update(0b001)
    messages.acknowledge(0)
    messages.update(0b001)
    assert taken(messages) == [0], "the host takes both as one"
    messages.acknowledge(0)
    messages.update(0b001)
    assert taken(messages) == [0]
    messages.acknowledge(1)
    messages.update(0b001)
    assert taken(messages) == []


def test_a_masked_message_is_pending_until_its_request_ends() -> None:
    m = Messages(RINGS)
    m.update(0b010)
    assert taken(m) == []
    assert [m.register(v) for v in range(RINGS + 1)] == [0, 2, 0, 0]
    m.update(0)
    assert m.register(1) == 0
    m.update(0b010)
    m.enable(1, True)
    assert m.register(1) == 3
    m.update(0b010)
    assert (taken(m), m.register(1)) == ([1], 1)
    m.enable(1, True)
    m.update(0b010)
    assert taken(m) == [1], "a write of the register asks again"


def test_both_causes_of_the_error_vector_are_announced(messages: Messages) -> None:
    messages.update(REFUSED)
    messages.update(REFUSED | FATAL)
    assert taken(messages) == [RINGS]
    messages.update(REFUSED | FATAL)
    assert taken(messages) == []
    messages.update(REFUSED)
    messages.update(REFUSED | FATAL)
    assert taken(messages) == [RINGS]


def test_a_reset_masks_and_forgets(messages: Messages) -> None:
    messages.update(0b111)
    messages.reset()
    messages.update(0b111)
    assert taken(messages) == []
    assert messages.register(0) == 2
