# SPDX-License-Identifier: Apache-2.0
"""The device around a core of a user: the adapter of hw/examples/axis_core in its place."""

from __future__ import annotations

import pytest

from ktls_cosim.paths import HW
from ktls_cosim.scenarios.sockets import SCENARIOS
from ktls_cosim.sim.own_rtl import OwnRtl
from ktls_cosim.sim.runner import Build, rtl_sources

_CORE = (
    "aes256_hello_world|tls13_hello_world|many_connections|rekey_with_records_queued|"
    "reset_with_records_under_way|open_refuses_what_is_not_authentic|seal_and_open_mixed"
)


def _device() -> Build:
    own = OwnRtl.find([HW / "examples" / "axis_core"])
    return Build.device(own.in_place_of(rtl_sources()), LANES=1)


def test_a_foreign_core_in_the_device(simulate) -> None:
    results = simulate(_device(), "cocotb_device", testcase=rf"cocotb_device\.({_CORE})")
    assert len(results) == len(_CORE.split("|"))


@pytest.mark.slow
def test_every_scenario_on_a_foreign_core(simulate) -> None:
    results = simulate(_device(), "cocotb_device", timeout_s=1200)
    assert len(results) == len(SCENARIOS)
