# SPDX-License-Identifier: Apache-2.0
"""Cores of users: their declared capabilities and the files that `--rtl` stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ktls_cosim.capabilities import Capabilities, CapabilitiesError
from ktls_cosim.paths import HW
from ktls_cosim.sim.build import rtl_sources
from ktls_cosim.sim.own_rtl import OwnRtl, RtlError

EXAMPLES = HW / "examples"


def declared(tmp_path: Path, text: str) -> Capabilities:
    path = tmp_path / "capabilities.toml"
    path.write_text(text)
    return Capabilities.load(path)


def test_a_core_without_a_declaration_is_held_to_everything() -> None:
    can = Capabilities.load(None)
    assert can == Capabilities()
    assert can.suites == 0x3FF
    assert can.left_out() == ()
    assert can.fast


def test_an_empty_declaration_declares_everything(tmp_path: Path) -> None:
    assert declared(tmp_path, "") == Capabilities()


def test_everything_that_is_left_out_is_named_with_its_entry(tmp_path: Path) -> None:
    can = declared(
        tmp_path,
        "open = false\nkey_sizes = [128]\nwhole_blocks = true\nlanes = [1]\n"
        "cycles_per_block = 64\n",
    )
    assert can.left_out() == (
        "opening (open = false)",
        "AES-256 (key_sizes)",
        "text that ends within a block (whole_blocks = true)",
        "LANES=2 (lanes)",
        "LANES=4 (lanes)",
        "LANES=8 (lanes)",
        "the throughput formula (cycles_per_block = 64)",
    )
    assert can.directions == (False,)
    assert can.key_bytes == (16,)
    assert not can.allows(17)
    assert can.allows(0)


@pytest.mark.parametrize(
    ("text", "suites"),
    [
        ("seal = false", 0x3F0),
        ("open = false", 0x30F),
        ("key_sizes = [256]", 0x2AA),
        ("open = false\nkey_sizes = [128]", 0x105),
    ],
)
def test_the_device_offers_the_suites_of_its_core(tmp_path: Path, text: str, suites: int) -> None:
    assert declared(tmp_path, text).suites == suites


def test_time_limits_grow_with_a_slow_core(tmp_path: Path) -> None:
    assert Capabilities().patience(1000) == 1000
    assert declared(tmp_path, "cycles_per_block = 33").patience(1000) == 2000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("opens = true", "unknown entry 'opens'; known are seal, open"),
        ("seal = 1", "seal = 1 must be true or false"),
        ("key_sizes = [192]", r"key_sizes = \[192\] must be a list of some of \[128, 256\]"),
        ("key_sizes = []", "must be a list of some"),
        ("lanes = 1", "lanes = 1 must be a list"),
        ("lanes = [true]", "must be a list"),
        ("cycles_per_block = 0", "must be a number from 1 to 10000"),
        ("seal = false\nopen = false", "nothing is left to judge"),
        ("seal =", "capabilities.toml: "),
    ],
)
def test_a_wrong_declaration_names_file_entry_and_rule(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(CapabilitiesError, match=message) as e:
        declared(tmp_path, text)
    assert str(tmp_path) in str(e.value)


def test_a_missing_declaration_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CapabilitiesError, match="No such file"):
        Capabilities.load(tmp_path / "capabilities.toml")


@pytest.mark.parametrize("core", ["axis_core", "block_core"])
def test_a_folder_stands_for_its_file_list_and_its_declaration(core: str) -> None:
    own = OwnRtl.find([EXAMPLES / core])
    assert own.sources[-1] == EXAMPLES / core / "ktls_gcm.v"
    assert own.can == Capabilities.load(EXAMPLES / core / "capabilities.toml")
    assert own.can.lanes == (1,)


def test_a_module_of_the_user_replaces_the_file_of_its_name() -> None:
    own = OwnRtl.find([EXAMPLES / "axis_core"])
    files = own.in_place_of(rtl_sources())
    names = [p.name for p in files]
    assert names.count("ktls_gcm.v") == 1
    assert files[-3:] == own.sources
    assert len(files) == len(rtl_sources()) - 1 + 3


def test_files_folders_include_paths_and_defines(tmp_path: Path) -> None:
    (tmp_path / "inc").mkdir()
    (tmp_path / "a.sv").write_text("// module not_this (\nmodule ktls_gcm; endmodule\n")
    (tmp_path / "b.v").write_text("/* module nor\n this */ module b; endmodule\n")
    (tmp_path / "c.f").write_text(
        "# a comment\n+incdir+inc +define+FAST -Iinc2\n+define+WIDTH=8 // another\na.sv\nb.v\n"
    )
    own = OwnRtl.find([tmp_path])
    assert own.sources == (tmp_path / "a.sv", tmp_path / "b.v")
    assert own.includes == (tmp_path / "inc", tmp_path / "inc2")
    assert own.defines == {"FAST": "1", "WIDTH": "8"}
    assert own.modules() == {"ktls_gcm", "b"}
    assert own.capabilities is None
    alone = OwnRtl.find([tmp_path / "a.sv", tmp_path / "b.v"])
    assert alone.sources == own.sources
    assert alone.includes == (tmp_path,)


def test_a_folder_without_a_list_stands_for_its_verilog_files(tmp_path: Path) -> None:
    for name in ("b.v", "a.sv", "notes.txt", "c.vh"):
        (tmp_path / name).write_text("")
    assert [p.name for p in OwnRtl.find([tmp_path]).sources] == ["a.sv", "b.v"]


@pytest.mark.parametrize(
    ("files", "named", "message"),
    [
        ({}, "core.v", "no such file or folder"),
        ({"x.txt": ""}, ".", "neither a Verilog file"),
        ({"x.vhd": ""}, "x.vhd", "do not read VHDL"),
        ({"x.txt": ""}, "x.txt", "not a Verilog file"),
        ({"x.f": "gone.v"}, "x.f", r"x\.f:1: .*gone\.v: no such file"),
        ({"x.f": "\n-y lib"}, "x.f", r"x\.f:2: '-y' is not supported"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    tmp_path: Path, files: dict[str, str], named: str, message: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(RtlError, match=message):
        OwnRtl.find([tmp_path / named])


def test_the_error_for_a_core_without_an_adapter_names_what_it_needs() -> None:
    own = OwnRtl.find([EXAMPLES / "axis_core" / "axis_aes.v"])
    with pytest.raises(RtlError, match=r"axis_aes replace none .* hw/examples/empty_core"):
        own.in_place_of(rtl_sources())


def test_the_empty_core_has_the_ports_of_the_core() -> None:
    """Names, directions, widths and parameters, in the same order."""

    def ports(path: Path) -> list[str]:
        text = path.read_text()
        head = text[text.index("\nmodule ktls_gcm") : text.index(");", text.index("\nmodule"))]
        lines = [" ".join(line.split("//")[0].split()).rstrip(",") for line in head.splitlines()]
        return [line.replace("[ ", "[") for line in lines if line not in ("", ") (", "(")]

    ours = next(p for p in rtl_sources() if p.name == "ktls_gcm.v")
    for core in ("empty_core", "axis_core", "block_core"):
        assert ports(EXAMPLES / core / "ktls_gcm.v") == ports(ours), core
