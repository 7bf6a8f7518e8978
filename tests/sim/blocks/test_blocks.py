# SPDX-License-Identifier: Apache-2.0
"""Each block of the RTL on its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ktls_cosim.errors import SimulatorError
from ktls_cosim.paths import ROOT
from ktls_cosim.sim.build import Build, rtl_sources
from ktls_cosim.sim.fst import signals
from ktls_cosim.sim.runner import compile_build, run_tests
from ktls_cosim.target import Target
from support import Simulate

BLOCKS = [
    ("ktls_fifo", "cocotb_fifo"),
    ("ktls_bytes", "cocotb_bytes"),
    ("ktls_aes", "cocotb_aes"),
    ("ktls_keyexp", "cocotb_keyexp"),
    ("ktls_gfmul", "cocotb_gfmul"),
    ("ktls_gcm", "cocotb_gcm"),
    ("ktls_record", "cocotb_record"),
    ("ktls_release", "cocotb_release"),
    ("ktls_gather", "cocotb_gather"),
    ("ktls_scatter", "cocotb_scatter"),
    ("ktls_dma_rd", "cocotb_dma_rd"),
    ("ktls_dma_wr", "cocotb_dma_wr"),
    ("ktls_csr", "cocotb_csr"),
    ("ktls_sgl", "cocotb_sgl"),
    ("ktls_sq", "cocotb_sq"),
]

# blocks whose width follows that of the device
WIDE = [
    ("ktls_aes", "cocotb_aes", "LANES"),
    ("ktls_gcm", "cocotb_gcm", "LANES"),
    ("ktls_record", "cocotb_record", "LANES"),
    ("ktls_release", "cocotb_release", "LANES"),
    ("ktls_gather", "cocotb_gather", "DATA_W"),
    ("ktls_scatter", "cocotb_scatter", "DATA_W"),
    ("ktls_sgl", "cocotb_sgl", "DATA_W"),
    ("ktls_dma_rd", "cocotb_dma_rd", "DATA_W"),
    ("ktls_dma_wr", "cocotb_dma_wr", "DATA_W"),
]


# with `make smoke`: together a few seconds
QUICK = ("ktls_fifo", "ktls_aes", "ktls_keyexp", "ktls_bytes", "ktls_csr")


@pytest.mark.parametrize(
    ("toplevel", "module"),
    [pytest.param(*b, id=b[0], marks=[pytest.mark.quick] * (b[0] in QUICK)) for b in BLOCKS],
)
def test_block(simulate: Simulate, target: Target, toplevel: str, module: str) -> None:
    if target.rtl and toplevel == "ktls_gcm" and 1 not in target.can.lanes:
        pytest.skip(f"the core declares lanes = {[*target.can.lanes]}")
    simulate(Build.block(toplevel, own=target.rtl), module, timeout_s=600)


def test_bus_models(simulate: Simulate) -> None:
    """The classes of `ktls_cosim.sim.bus`, used and extended as a user would."""
    simulate(Build.block("ktls_fifo"), "cocotb_plugin")


@pytest.mark.parametrize("lanes", [2, 4, 8])
@pytest.mark.parametrize(("toplevel", "module", "width"), WIDE, ids=[w[0] for w in WIDE])
def test_wide_block(
    simulate: Simulate, target: Target, toplevel: str, module: str, width: str, lanes: int
) -> None:
    if target.rtl and toplevel == "ktls_gcm" and lanes not in target.can.lanes:
        pytest.skip(f"the core declares lanes = {[*target.can.lanes]}")
    parameters: dict[str, Any] = {width: lanes * (128 if width == "DATA_W" else 1)}
    simulate(Build.block(toplevel, own=target.rtl, **parameters), module)


@pytest.mark.parametrize("rings", [3, 8])
def test_several_rings(simulate: Simulate, rings: int) -> None:
    simulate(Build.block("ktls_csr", RINGS=rings), "cocotb_csr")
    width = {3: 128, 8: 1024}[rings]
    simulate(Build.block("ktls_sq", RINGS=rings, RING_W=3, DATA_W=width), "cocotb_sq")


@pytest.mark.parametrize("powers", [2, 4, 8])
def test_powers_of_the_hash_key(simulate: Simulate, powers: int) -> None:
    simulate(Build.block("ktls_gfpow", N=powers), "cocotb_gfpow")


def test_small_gcm_core(simulate: Simulate) -> None:
    """The small core passes all tests except two, which depend on the speed of the fast core."""
    results = simulate(
        Build.block("ktls_gcm_small"),
        "cocotb_gcm",
        testcase=r"cocotb_gcm\.(?!throughput|a_key_is_set_while).*",
    )
    assert len(results) == 8


@pytest.mark.parametrize("lanes", [1, 2, 4, 8])
@pytest.mark.parametrize("form", ["table", "loops"])
def test_ghash_forms(simulate: Simulate, form: str, lanes: int) -> None:
    """The table form of Icarus, and the form with the structure of the hardware."""
    defines = {"KTLS_HW_STYLE": 1} if form == "loops" else {}
    build = Build("ktls_ghash", tuple(rtl_sources()), {"LANES": lanes}, defines)
    simulate(build, "cocotb_ghash")


@pytest.mark.parametrize(
    ("form", "products"),
    # seven products as LUTs take minutes; they differ from three in nothing but their number
    [(f, n) for f in ("table", "loops", "luts") for n in (1, 3, 7) if (f, n) != ("luts", 7)],
)
def test_sum_of_products(simulate: Simulate, form: str, products: int) -> None:
    """Each form of `ktls_gfdot`; simulation otherwise avoids the tree of LUTs, which is slow."""
    defines = {
        "table": {},
        "loops": {"KTLS_HW_STYLE": 1},
        "luts": {"KTLS_HW_STYLE": 1, "KTLS_LUT_TREE": 1},
    }[form]
    build = Build("ktls_gfdot", tuple(rtl_sources()), {"N": products}, defines)
    simulate(build, "cocotb_gfdot", env={"KTLS_PAIRS": "3"} if form == "luts" else None)


def test_gfmul_as_synthesis_reads_it(simulate: Simulate) -> None:
    """The tree of LUTs, which simulation replaces by one parity per sum."""
    build = Build("ktls_gfmul", tuple(rtl_sources()), defines={"KTLS_LUT_TREE": 1})
    # a product takes seconds in an event-driven simulator; each one exercises the whole tree
    simulate(build, "cocotb_gfmul", env={"KTLS_PAIRS": "2"})


@pytest.mark.parametrize("w_log2", [4, 6])
@pytest.mark.parametrize("pack", [0, 1])
@pytest.mark.parametrize("form", ["simulation", "synthesis"])
def test_byte_queue(simulate: Simulate, w_log2: int, pack: int, form: str) -> None:
    """Both forms of the queue, aligning its input or its output."""
    defines = {"KTLS_HW_STYLE": 1} if form == "synthesis" else {}
    parameters = {"W_LOG2": w_log2, "PACK": pack}
    simulate(Build("ktls_bytes", tuple(rtl_sources()), parameters, defines), "cocotb_bytes")


def test_aes_as_synthesis_reads_it(simulate: Simulate) -> None:
    """S-boxes and MixColumns, which simulation replaces by tables."""
    build = Build("ktls_aes", tuple(rtl_sources()), defines={"KTLS_HW_STYLE": 1})
    results = simulate(build, "cocotb_aes")
    assert len(results) > 3


@pytest.mark.parametrize("lanes", [1, 4])
def test_gcm_as_synthesis_reads_it(simulate: Simulate, lanes: int) -> None:
    build = Build("ktls_gcm", tuple(rtl_sources()), {"LANES": lanes}, {"KTLS_HW_STYLE": 1})
    simulate(build, "cocotb_gcm", testcase="seal_and_open_with_pauses_on_both_sides")


@pytest.mark.parametrize(
    ("toplevel", "parameters", "message"),
    [
        ("ktls_gcm", {"LANES": 16}, "LANES_must_be_1_2_4_or_8"),
        ("ktls_nic", {"LANES": 3}, "LANES_must_be_1_2_4_or_8"),
        ("ktls_nic", {"LANES": 2, "SMALL_CORE": 1}, "small_supports_only_LANES_1"),
        ("ktls_nic", {"RINGS": 9}, "RINGS_must_be_1_to_8"),
        ("ktls_nic", {"JOBS_LOG2": 3}, "JOBS_LOG2_must_be_4_to_8"),
        ("ktls_nic", {"BURSTS_LOG2": 9}, "BURSTS_LOG2_must_be_4_to_8"),
        ("ktls_nic", {"BUFFER_LOG2": 4}, "BUFFER_LOG2_must_be_5_to_12"),
        ("ktls_nic", {"CONTEXTS": 48}, "CONTEXTS_must_be_a_power_of_two"),
        ("ktls_nic", {"CONTEXTS": 2048}, "CONTEXTS_must_be_a_power_of_two"),
    ],
)
def test_illegal_parameters_stop_elaboration(
    simulator: str, toplevel: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(SimulatorError, match=message):
        compile_build(Build.block(toplevel, **parameters), simulator)


def test_a_filter_that_matches_nothing_fails(simulator: str) -> None:
    with pytest.raises(SimulatorError, match="ran no test"):
        run_tests(
            Build.block("ktls_fifo"), "cocotb_fifo", simulator=simulator, testcase="no_such_test"
        )


def test_a_failure_leaves_waves_log_and_message(simulator: str) -> None:
    """The tests of the FIFO expect 16 words, so a FIFO of 8 words fails them."""
    results, out = run_tests(
        Build.block("ktls_fifo", LOG2=3), "cocotb_fifo", simulator=simulator,
        testcase="holds_16_words_and_no_more", waves=True, name="failing-on-purpose",
    )  # fmt: skip
    assert [r.passed for r in results] == [False]
    assert "assert" in results[0].message
    assert (out / "waves.fst").stat().st_size > 500
    log = (out / "run.log").read_text()
    assert "holds_16_words" in log
    assert "array word" not in log
    names = {name.replace("\\", "") for name, _ in signals(out / "waves.fst")}
    words = {f"ktls_fifo.mem[{i}][7:0]" for i in range(8)}
    assert {"ktls_fifo.clk", "ktls_fifo.s_data[7:0]"} <= names
    assert words <= names or simulator != "icarus"


def test_changed_parameter_changes_the_build(simulator: str) -> None:
    a = compile_build(Build.block("ktls_fifo", WIDTH=8), simulator)
    b = compile_build(Build.block("ktls_fifo", WIDTH=32), simulator)
    assert a != b


def test_file_list_is_complete() -> None:
    assert rtl_sources() == sorted((ROOT / "rtl").rglob("*.v"), key=Path.as_posix)
