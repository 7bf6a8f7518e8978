# SPDX-License-Identifier: Apache-2.0
"""Deliberate faults in the RTL: the responsible check must catch each of them."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from ktls import CryptoInfo, DeviceError, KtlsNic, KtlsStack, connect_wire, run_sync, uapi
from ktls_cosim.check.device import CheckedPort
from ktls_cosim.check.mismatch import MismatchError
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.errors import CosimError, SimulatorError
from ktls_cosim.paths import build_root
from ktls_cosim.scenarios import SCENARIOS, Env
from ktls_cosim.sim.build import Build, rtl_sources
from ktls_cosim.sim.remote import RemoteSim
from ktls_cosim.sim.runner import run_tests
from ktls_cosim.target import Target


@dataclass(frozen=True)
class Mutant:
    """A change at one place of one file.

    Attributes:
        name: Name of the fault.
        file: File of the RTL.
        old: The text to replace; it occurs once.
        new: Its replacement.
        caught: `check/field` of the first mismatch, `driver` if the driver itself stops, or
            `assertion` if one in the RTL does.
    """

    name: str
    file: str
    old: str
    new: str
    caught: str

    def sources(self) -> list[Path]:
        """Write the RTL with this fault, and return its files."""
        folder = build_root() / "mutants" / self.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        text = next(p for p in rtl_sources() if p.name == self.file).read_text()
        assert text.count(self.old) == 1, f"{self.file} does not contain {self.old!r} once"
        changed = folder / self.file
        changed.write_text(text.replace(self.old, self.new))
        return [changed if p.name == self.file else p for p in rtl_sources()]


DEVICE = [
    Mutant("wrong_nonce", "ktls_record.v", "{salt, tls13 ? iv ^ seq : iv};",
           "{salt, tls13 ? iv ^ seq : iv ^ 64'd1};", "golden/ciphertext"),
    Mutant("wrong_aad_length", "ktls_record.v", "WIRE_VERSION, 1'b0, len, 24'd0}",
           "WIRE_VERSION, 1'b0, len + 15'd1, 24'd0}", "golden/tag"),
    Mutant("counter_start", "ktls_gcm.v", "ctr <= 32'd2;", "ctr <= 32'd3;", "golden/ciphertext"),
    Mutant("swapped_tag_bytes", "ktls_record.v", "{DATA_W{1'b0}} : m_data;",
           "{DATA_W{1'b0}} : m_tag ? {m_data[7:0], m_data[DATA_W-1:8]} : m_data;", "golden/tag"),
    Mutant("flipped_ciphertext_bit", "ktls_record.v", "{DATA_W{1'b0}} : m_data;",
           "{DATA_W{1'b0}} : m_data ^ {o_left == 15'd36, {DATA_W - 1{1'b0}}};",
           "golden/ciphertext"),
    Mutant("header_length", "ktls_record.v", "{1'b0, o_inner} + (o_tls13 ? TAG : EXTRA_1_2);",
           "{1'b0, o_inner} + (o_tls13 ? TAG : EXTRA_1_2) + 16'd1;", "golden/header"),
    Mutant("swapped_record_numbers", "ktls_exec.v", "explicit_nonce : iv;",
           "explicit_nonce : iv ^ 64'd1;", "golden/nonce"),
    Mutant("lost_completion", "ktls_cq.v", "state <= ST_REQUEST;",
           "state <= index == 32'd3 ? ST_WAIT : ST_REQUEST;", "assertion"),
    Mutant("doubled_completion", "ktls_cq.v", ".m_ready(take),",
           ".m_ready(take && (index != 32'd3 || beat[7])),", "driver"),
    Mutant("ghash_polynomial", "ktls_gftable.v", "8'he1", "8'he0", "golden/tag"),
    Mutant("key_schedule_256", "ktls_keyexp.v", "(cur_k256 && phase == 3'd4) ? sub : newest",
           "newest", "golden/ciphertext"),
    Mutant("record_number_in_aad", "ktls_record.v", "{seq, rtype, WIRE", "{iv, rtype, WIRE",
           "golden/tag"),
    Mutant("tls13_nonce_without_number", "ktls_record.v", "tls13 ? iv ^ seq : iv};", "iv};",
           "golden/ciphertext"),
    Mutant("tls13_aad", "ktls_record.v", "{1'b0, inner} + TAG;",
           "{1'b0, inner} + 16'd24;", "golden/tag"),
    Mutant("tls13_type_too_early", "ktls_record.v",
           "{rtype, {DATA_W - 8{1'b0}}} >> {end_at, 3'b000}",
           "{rtype, {DATA_W - 8{1'b0}}}", "golden/ciphertext"),
    Mutant("tls13_iv_counts", "ktls_exec.v", "if (!tls13) iv_mem[ctx] <= iv + 64'd1;",
           "iv_mem[ctx] <= iv + 64'd1;",
           "golden/ciphertext"),
    Mutant("strobes_ignore_the_end", "ktls_scatter.v", "(ones << off) & ~(ones << stop)",
           "ones << off", "scenario"),
]  # fmt: skip


@pytest.mark.parametrize("mutant", DEVICE[:-1], ids=lambda m: m.name)
def test_device_mutant_is_caught(simulator: str, target: Target, mutant: Mutant) -> None:
    """Ten records with AES-256 through the driver."""
    version = uapi.TLS_1_3_VERSION if mutant.name.startswith("tls13") else uapi.TLS_1_2_VERSION
    info = CryptoInfo(version, 52, bytes(range(8)), bytes(range(32)), b"salt", bytes(8))
    scoreboard = Scoreboard()
    build = Build.device(mutant.sources(), lanes=target.lanes)
    found = "nothing"
    with RemoteSim(build, simulator=simulator, name=f"mutant-{mutant.name}") as port:
        try:
            nic = run_sync(KtlsNic.probe(CheckedPort(port, scoreboard), strict=True))
            sock = connect_wire(KtlsStack(nic, scoreboard), lambda _data: None)
            sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
            sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, info.pack())
            for i in range(10):
                sock.send(bytes((i + k) & 255 for k in range(100)))
            sock.close()
            scoreboard.finish()
        except MismatchError as e:
            first = e.mismatches[0]
            found = f"{first.check}/{first.field}"
        except DeviceError:
            found = "driver"
        except SimulatorError as e:
            found = "assertion" if "idle, and completions are owed" in str(e) else "simulator"
    assert found == mutant.caught


SCENARIO = [
    (Mutant("tag_not_compared", "ktls_release.v", "good = equal && ", "good = ", "open"),
     "open_rejects_forged_records"),
    (Mutant("tag_compared_in_part", "ktls_release.v", "{128{1'b1}} >> {a_tag_len, 3'b000}",
            "128'hff", "open"),
     "open_rejects_forged_records"),
    (Mutant("text_released_anyway", "ktls_release.v",
            "opened && !authentic[slot] ? {DATA_W{1'b0}} : held", "held", "open"),
     "open_rejects_forged_records"),
    (Mutant("zeros_instead_of_text", "ktls_release.v",
            "opened && !authentic[slot] ? {DATA_W{1'b0}} : held",
            "opened ? {DATA_W{1'b0}} : held", "open"),
     "open_every_tail"),
    (Mutant("released_before_the_tag", "ktls_release.v", "if (!a_open) cp <= wp_next;",
            "cp <= wp_next;", "open"),
     "open_every_tail"),
    (Mutant("padding_kept", "ktls_release.v", "a_tls13 ? last_at : a_len", "a_len", "open"),
     "open_tls13_padding"),
    (Mutant("record_without_a_type", "ktls_release.v", "(!a_tls13 || has_type)", "1'b1", "open"),
     "open_tls13_padding"),
    (Mutant("half_of_the_tag", "ktls_record.v",
            "if (tag_word) joined =", "if (1'b0) joined =", "open"),
     "open_every_tail"),
    (Mutant("open_aad", "ktls_record.v", "{1'b0, inner} + TAG;",
            "{1'b0, inner} + 16'd17;", "open"),
     "open_every_tail"),
    (Mutant("hash_over_the_text", "ktls_record.v", "assign cmd_decrypt = opening;",
            "assign cmd_decrypt = 1'b0;", "open"),
     "open_every_tail"),
    (Mutant("explicit_nonce_ignored", "ktls_exec.v", "raw || (opening && !tls13) ?",
            "raw ?", "open"),
     "open_rejects_forged_records"),
    (Mutant("direction_not_checked", "ktls_exec.v", " || receive != opening", "", "scenario"),
     "bad_open_descriptors"),
    (Mutant("completed_too_early", "ktls_cq.v", "(!has_job || !opened || res_valid)", "1'b1",
            "scenario"),
     "open_every_tail"),
    (Mutant("short_tag_compared_in_part", "ktls_release.v", "{128{1'b1}} >> {a_tag_len, 3'b000}",
            "a_tag_len == 5'd16 ? 128'd0 : {{32{1'b0}}, {96{1'b1}}}", "open"),
     "plain_gcm"),
    (Mutant("tag_always_whole", "ktls_record.v", "header_sent ? o_tag_len",
            "header_sent ? 5'd16", "scenario"),
     "plain_gcm"),
    (Mutant("plain_nonce_of_the_context", "ktls_exec.v", "raw ? swap4", "1'b0 ? swap4", "golden"),
     "plain_gcm"),
    (Mutant("plain_aad_missing", "ktls_record.v", "raw ? {1'b0, aad_len}",
            "raw ? {1'b0, aad_len} & 16'hfffe", "scenario"),
     "plain_gcm"),
    (Mutant("padding_one_short", "ktls_exec.v", "len[14:0] + pad[14:0] +",
            "len[14:0] + (pad[14:0] & 15'h7ffe) +",
            "scenario"),
     "tls13_padding_on_seal"),
    (Mutant("padding_is_not_zero", "ktls_record.v", "tail ? type_byte : {DATA_W{1'b0}}",
            "type_byte",
            "golden"),
     "tls13_padding_on_seal"),
    (Mutant("resync_goes_back", "ktls_exec.v", "raw || backward", "raw", "number"), "resync"),
    (Mutant("resync_keeps_the_explicit_nonce", "ktls_exec.v", "iv + (new_seq - seq)", "iv",
            "golden"),
     "resync"),
    (Mutant("one_record_beyond_the_limit", "ktls_exec.v", "uses >= key_limit", "uses > key_limit",
            "scenario"),
     "key_limits"),
    (Mutant("warned_too_late", "ktls_exec.v", "uses_next >= key_warn", "uses_next > key_warn",
            "scenario"),
     "key_limits"),
    (Mutant("full_ring_holds_up_others", "ktls_sq.v",
            "unread >> cq_log2[4*g+:4] == 16'd0", "1'b1", "scenario"),
     "full_ring_does_not_block_the_others"),
    (Mutant("completion_in_another_ring", "ktls_cq.v", "ring_base = base[64*ring+:64]",
            "ring_base = base[63:0]", "scenario"),
     "several_rings"),
    (Mutant("completion_of_another_ring", "ktls_exec.v", "ring <= d_ring;",
            "ring <= {RING_W{1'b0}};", "scenario"),
     "several_rings"),
    (Mutant("index_of_another_ring", "ktls_sq.v", "part_index <= cons[32*arriver+:32];",
            "part_index <= cons[31:0];", "completion"),
     "several_rings"),
    (Mutant("moderation_of_ring_0", "ktls_csr.v", "irq_mod[32*g+RING0_IRQ_MOD_COUNT_LSB+:",
            "irq_mod[RING0_IRQ_MOD_COUNT_LSB+:", "scenario"),
     "rings_raise_the_interrupt"),
    (Mutant("direct_needs_alignment", "ktls_exec.v", "(d_data[SQE_RECORD_SRC_DIRECT_LSB] ||",
            "(1'b0 ||", "scenario"),
     "direct_buffers"),
    (Mutant("interrupt_outlives_its_answer", "ktls_csr.v", "else if (written) s_axil_bvalid",
            "else if (write) s_axil_bvalid", "scenario"),
     "several_rings"),
]  # fmt: skip


@pytest.mark.parametrize(("mutant", "name"), SCENARIO, ids=lambda x: getattr(x, "name", ""))
def test_scenario_mutant_is_caught(
    simulator: str, target: Target, rng: random.Random, mutant: Mutant, name: str
) -> None:
    """The scoreboard or the scenario itself finds the fault."""
    build = Build.device(mutant.sources(), lanes=target.lanes)
    _scenario_finds(build, simulator, rng, mutant, name)


def _scenario_finds(
    build: Build, simulator: str, rng: random.Random, mutant: Mutant, name: str
) -> None:
    scoreboard = Scoreboard()
    with RemoteSim(build, simulator=simulator, name=f"mutant-{mutant.name}") as port:
        env = Env(port, scoreboard, rng, lambda *_: None)
        failed = False
        try:
            run_sync(SCENARIOS[name](env))
        except (AssertionError, CosimError, DeviceError):
            failed = True
    checks = {m.check for m in scoreboard.mismatches}
    assert mutant.caught in checks or (mutant.caught == "scenario" and failed), checks


LANES = [
    (Mutant("power_of_the_last_word", "ktls_gcm.v", "x_tail - 1'b1;", "{TAIL_W{1'b1}};", "golden"),
     "sizes_around_blocks"),
    (Mutant("power_of_the_length", "ktls_gcm.v", "x_kind_next == KIND_LEN ? {TAIL_W{1'b0}} :", "",
            "golden"),
     "hello_world"),
    (Mutant("powers_of_another_key", "ktls_gcm.v", "if (x_first_next) powers", "if (x_v) powers",
            "golden"),
     "many_connections"),
    (Mutant("lane_forgotten", "ktls_gfdot.v", "m = 1; m < N; m = m + 1) sum",
            "m = 1; m < N - 1; m = m + 1) sum", "golden"),
     "sizes_around_blocks"),
    (Mutant("counter_of_a_lane", "ktls_gcm.v", "ctr + g :", "ctr + (g != 0) :", "golden"),
     "sizes_around_blocks"),
    (Mutant("cut_ignored", "ktls_gather.v", "cut != 0 && cut < BEAT[14:0]", "1'b0", "golden"),
     "plain_gcm"),
    (Mutant("list_starts_with_its_beat", "ktls_sgl.v", "first_mem[rp];", "0;", "scenario"),
     "any_alignment"),
    (Mutant("completion_in_the_wrong_half", "ktls_cq.v", "first << addr[BUS_LOG2-1:0]", "first",
            "scenario"),
     "hello_world"),
]  # fmt: skip


@pytest.mark.parametrize(("mutant", "name"), LANES, ids=lambda x: getattr(x, "name", ""))
def test_lane_mutant_is_caught(
    simulator: str, rng: random.Random, mutant: Mutant, name: str
) -> None:
    """Faults that only a device with several lanes can have."""
    _scenario_finds(Build.device(mutant.sources(), lanes=4), simulator, rng, mutant, name)


AXI = [
    Mutant("last_beat_unmarked", "ktls_dma_wr.v", "m_axi_wlast  <= left == 8'd0;",
           "m_axi_wlast  <= left == 8'd1;", "WLAST at the wrong beat"),
    Mutant("address_dropped", "ktls_dma_rd.v", "else if (m_axi_arready) begin",
           "else begin", "AR changed before ARREADY"),
    Mutant("address_changed", "ktls_dma_wr.v", "burst_room = (!m_axi_awvalid || m_axi_awready) &&",
           "burst_room =", "AW changed before AWREADY"),
    Mutant("fixed_reads", "ktls_dma_rd.v", "m_axi_arburst = 2'b01", "m_axi_arburst = 2'b00",
           "ARBURST"),
    Mutant("narrow_reads", "ktls_dma_rd.v", "m_axi_arsize  = SIZE[2:0]", "m_axi_arsize  = 3'd0",
           "ARSIZE"),
    Mutant("uncached_reads", "ktls_dma_rd.v", "m_axi_arcache = 4'b0011", "m_axi_arcache = 4'b0010",
           "ARCACHE"),
    Mutant("privileged_reads", "ktls_dma_rd.v", "m_axi_arprot  = 3'b010",
           "m_axi_arprot  = 3'b011", "ARPROT"),
    Mutant("fixed_writes", "ktls_dma_wr.v", "m_axi_awburst = 2'b01", "m_axi_awburst = 2'b00",
           "AWBURST"),
    Mutant("narrow_writes", "ktls_dma_wr.v", "m_axi_awsize  = SIZE[2:0]", "m_axi_awsize  = 3'd0",
           "AWSIZE"),
    Mutant("uncached_writes", "ktls_dma_wr.v", "m_axi_awcache = 4'b0011",
           "m_axi_awcache = 4'b0010", "AWCACHE"),
    Mutant("secure_writes", "ktls_dma_wr.v", "m_axi_awprot  = 3'b010", "m_axi_awprot  = 3'b000",
           "AWPROT"),
    Mutant("bytes_of_another_record", "ktls_dma_wr.v", "if (!strb[i])", "if (1'b0)",
           "data in a byte without a strobe"),
    # a burst of several beats starts at the last beat of its page
    Mutant("read_crosses_a_page", "ktls_plan.v", "req_addr = {addr[63:BEAT_LOG2], ",
           "req_addr = {addr[63:12], addr[11:BEAT_LOG2] | {12 - BEAT_LOG2{c_beats != 4'd0}}, ",
           "crosses 4 KiB"),
]  # fmt: skip


@pytest.mark.parametrize("mutant", AXI, ids=lambda m: m.name)
def test_broken_bus_rule_stops_the_simulation(
    simulator: str, target: Target, rng: random.Random, mutant: Mutant
) -> None:
    """The AXI4 checks of the test bench find the fault, before any record is wrong."""
    build = Build.device(mutant.sources(), lanes=target.lanes)
    with RemoteSim(build, simulator=simulator, name=f"mutant-{mutant.name}") as port:
        for knob in ("stall_ar", "stall_aw"):
            port.knob(knob, 200)
        env = Env(port, Scoreboard(), rng, lambda *_: None)
        with pytest.raises(SimulatorError, match=mutant.caught):
            run_sync(SCENARIOS["any_alignment"](env))


ASSERTIONS = [
    (Mutant("read_credits_ignored", "ktls_gather.v",
            "wire room = held <= (1 << BUF_LOG2) - 16;", "wire room = 1'b1;",
            r"gather\.buffer at \d+: FIFO overflow"),
     "sizes_around_blocks"),
    (Mutant("word_without_a_word", "ktls_fifo.v", "stored != 0 && (!m_valid", "(!m_valid",
            "FIFO underflow"),
     "hello_world"),
    (Mutant("command_withdrawn", "ktls_record.v", "take_cmd = cmd_valid && cmd_ready",
            "take_cmd = cmd_valid",
            r"record\.g_cmd_stable at \d+: valid fell before ready"),
     "sizes_around_blocks"),
    (Mutant("command_changes", "ktls_record.v", "cmd_len = {17'd0, inner};",
            "cmd_len = {17'd0, inner ^ {14'd0, src_valid}};",
            r"record\.g_cmd_stable at \d+: data changed before ready"),
     "sizes_around_blocks"),
    (Mutant("every_completion_retires_a_job", "ktls_cq.v", "retire = take && has_job",
            "retire = take", r"exec at \d+: a job finishes although none is under way"),
     "hello_world"),
    (Mutant("idle_while_completions_are_owed", "ktls_nic.v", "sq_idle && exec_idle && cq_idle",
            "sq_idle && exec_idle", "idle, and completions are owed"),
     "any_alignment"),
    (Mutant("data_answers_count_as_entries", "ktls_dma_wr.v",
            ": answered && tag_client[rp];", ": answered;",
            r"cq at \d+: a write response without an outstanding entry"),
     "hello_world"),
]  # fmt: skip


@pytest.mark.parametrize(("mutant", "name"), ASSERTIONS, ids=lambda x: getattr(x, "name", ""))
def test_assertion_stops_the_simulation(
    simulator: str, target: Target, rng: random.Random, mutant: Mutant, name: str
) -> None:
    """Each kind of assertion in the RTL names the instance, the time and the broken rule."""
    build = Build.device(mutant.sources(), lanes=target.lanes)
    with RemoteSim(build, simulator=simulator, name=f"mutant-{mutant.name}") as port:
        port.knob("stall_w", 252)  # of 256: until every queue is full
        env = Env(port, Scoreboard(), rng, lambda *_: None)
        with pytest.raises(SimulatorError, match=mutant.caught):
            run_sync(SCENARIOS[name](env))


def test_writing_after_the_end_is_caught(
    simulator: str, target: Target, rng: random.Random
) -> None:
    """The record is correct, but the device overwrites the guard bytes after it."""
    build = Build.device(DEVICE[-1].sources(), lanes=target.lanes)
    with RemoteSim(build, simulator=simulator, name="mutant-strobes") as port:
        env = Env(port, Scoreboard(), rng, lambda *_: None)
        with pytest.raises(AssertionError, match="byte 0x"):
            run_sync(SCENARIOS["any_alignment"](env))


BLOCK = [
    (Mutant("no_poison", "ktls_record.v", "o_poison ?", "1'b0 ?",
            ""),
     "ktls_record", "cocotb_record", "a_source_error_turns_the_rest_into_zeros"),
    (Mutant("stale_round_key", "ktls_aes.v", "if (kw_en) last_ok <= 1'b0;", "", ""),
     "ktls_aes", "cocotb_aes", "a_new_key_of_the_same_context_is_used"),
    (Mutant("key_not_wiped", "ktls_aes.v", "kw_stage == 4'd15)) key_mem", "1'b0)) key_mem", ""),
     "ktls_aes", "cocotb_aes", "stage_15_wipes_a_context"),
    (Mutant("hash_key_not_wiped", "ktls_gcm.v", "h_mem[kw_ctx] <= {DATA_W{1'b0}};", ";", ""),
     "ktls_gcm", "cocotb_gcm", "a_wiped_key_is_gone"),
    (Mutant("tail_not_masked", "ktls_gcm.v", "if (x_tail != 0) `KTLS_V(x_text)",
            "if (1'b0) `KTLS_V(x_text)", ""),
     "ktls_gcm", "cocotb_gcm", "seal_and_open_without_pauses"),
    (Mutant("bubble_per_record", "ktls_gcm.v", "assign cmd_ready = !busy || go_len;",
            "assign cmd_ready = !busy;", ""),
     "ktls_gcm", "cocotb_gcm", "throughput_and_latency"),
    (Mutant("counter_of_10_bits", "ktls_gcm.v", "ctr <= ctr + LANES[31:0];",
            "ctr <= {ctr[31:10], ctr[9:0] + LANES[9:0]};", ""),
     "ktls_gcm", "cocotb_gcm", "long_records"),
    (Mutant("key_kept_by_a_wipe", "ktls_gcm_small.v", "state <= key_clear ? ST_WIPE : ST_KEY;",
            "state <= key_clear ? ST_IDLE : ST_KEY;", ""),
     "ktls_gcm_small", "cocotb_gcm", "a_wiped_key_is_gone"),
    (Mutant("keys_kept_by_a_reset", "ktls_gcm_small.v", "wipe_all <= 1'b1;", "wipe_all <= 1'b0;",
            ""),
     "ktls_gcm_small", "cocotb_gcm", "a_reset_wipes_every_key"),
    (Mutant("credits_ignored", "ktls_gcm.v", "room = credit != 0;",
            "room = 1'b1;", ""),
     "ktls_gcm", "cocotb_gcm", "output_blocked_for_long"),
    (Mutant("same_ring_again", "ktls_sq.v", "ring   <= next;", "ring <= 0;", ""),
     "ktls_sq", "cocotb_sq", "rings_take_turns"),
    (Mutant("irq_while_cons_is_ahead", "ktls_csr.v", "!ahead[16] && ahead != 17'd0",
            "ahead != 17'd0", ""),
     "ktls_csr", "cocotb_csr", "interrupt_is_a_level"),
    (Mutant("reset_in_mid_burst", "ktls_csr.v", "if (reset_wanted && masters_idle &&",
            "if (reset_wanted &&", ""),
     "ktls_csr", "cocotb_csr", "reset_wipes_at_once_and_ends_when_the_bus_masters_are_idle"),
    (Mutant("moderation_of_8_bits", "ktls_csr.v", "waited >= timer;",
            "waited[7:0] >= timer[7:0];", ""),
     "ktls_csr", "cocotb_csr", "moderation_uses_all_bits"),
    (Mutant("moderation_counts_8_bits", "ktls_csr.v", "ahead[15:0] >= count",
            "ahead[15:0] >= {8'd0, count[7:0]}", ""),
     "ktls_csr", "cocotb_csr", "moderation_uses_all_bits"),
    (Mutant("moderation_counts_down", "ktls_csr.v", "waited <= waited + 16'd1;",
            "waited <= waited - 16'd1;", ""),
     "ktls_csr", "cocotb_csr", "moderation_uses_all_bits"),
    (Mutant("message_without_its_mask", "ktls_msg.v", "send = pending & enable;",
            "send = pending;", ""),
     "ktls_csr", "cocotb_csr", "masked_message_is_pending"),
    (Mutant("message_lost_by_its_mask", "ktls_msg.v", "if (offer) begin",
            "if (due[turn]) sent[turn] <= 1'b1;\n      if (offer) begin", ""),
     "ktls_csr", "cocotb_csr", "masked_message_is_pending"),
    (Mutant("message_only_at_the_edge", "ktls_msg.v", "& cause & ~{rearm[RINGS], rearm};",
            "& cause;", ""),
     "ktls_csr", "cocotb_csr", "no_request_is_lost_around_an_acknowledgement"),
    (Mutant("acknowledged_too_early", "ktls_msg.v", "rearm = ack_late | set;",
            "rearm = ack | set;", ""),
     "ktls_csr", "cocotb_csr", "error_messages"),
    (Mutant("message_every_cycle", "ktls_msg.v", "sent <= (sent | {picked[RINGS], picked})",
            "sent <= sent", ""),
     "ktls_csr", "cocotb_csr", "one_message_for_each_request"),
    (Mutant("fatal_error_hides_behind_a_refusal", "ktls_msg.v",
            "|due[RINGS+1:RINGS]", "due[RINGS]", ""),
     "ktls_csr", "cocotb_csr", "error_messages"),
    (Mutant("errors_not_acknowledged", "ktls_csr.v",
            "w_first == REG_RING0_ERRORS && w_to != 0;", "1'b0;", ""),
     "ktls_csr", "cocotb_csr", "error_messages"),
    (Mutant("lowest_vector_first", "ktls_msg.v", "turn == LAST ? 4'd0", "send[0] ? 4'd0", ""),
     "ktls_csr", "cocotb_csr", "messages_wait_for_the_bus_wrapper"),
    (Mutant("message_overwritten", "ktls_msg.v", "!msg_valid && askers[turn];", "askers[turn];",
            ""),
     "ktls_csr", "cocotb_csr", "messages_wait_for_the_bus_wrapper"),
    (Mutant("message_cut_by_a_reset", "ktls_msg.v", "if (rst) msg_valid",
            "if (soft_rst) msg_valid", ""),
     "ktls_csr", "cocotb_csr", "messages_wait_for_the_bus_wrapper"),
    (Mutant("messages_survive_a_reset", "ktls_msg.v",
            "enable <= {RINGS + 1{1'b0}};", "turn <= 4'd0;", ""),
     "ktls_csr", "cocotb_csr", "messages_wait_for_the_bus_wrapper"),
    (Mutant("bytes_of_32_bits", "ktls_csr.v", "cnt_bytes   <= cnt_bytes + {49'd0, done_len};",
            "cnt_bytes   <= {cnt_bytes[63:32], cnt_bytes[31:0] + {17'd0, done_len}};", ""),
     "ktls_csr", "cocotb_csr", "counters_carry"),
    (Mutant("one_latch_for_two_counters", "ktls_csr.v", "bytes_hi <= cnt_bytes[63:32];",
            "cycles_hi <= cnt_bytes[63:32];", ""),
     "ktls_csr", "cocotb_csr", "counters_carry"),
    (Mutant("text_stays_on_the_bus", "ktls_dma_wr.v",
            "m_axi_wvalid <= 1'b0;\n      m_axi_wdata  <= {DATA_W{1'b0}};\n    end",
            "m_axi_wvalid <= 1'b0;\n    end", ""),
     "ktls_dma_wr", "cocotb_dma_wr", "bursts_and_marks_of_two_clients"),
    (Mutant("keys_stay_after_an_error", "ktls_csr.v", "core_rst || wipe_cnt != 0", "core_rst", ""),
     "ktls_csr", "cocotb_csr", "fatal_error_wipes_once"),
    (Mutant("pushed_past_a_read", "ktls_sq.v", "!chosen && !waits && !held", "!chosen && !held",
            ""),
     "ktls_sq", "cocotb_sq", "pushed_descriptors_are_not_read"),
    (Mutant("pushed_before_those_that_wait", "ktls_sq.v", "!served[pushed_ring] &&", "", ""),
     "ktls_sq", "cocotb_sq", "a_pushed_descriptor_does_not_overtake"),
    (Mutant("pushed_though_refused", "ktls_csr.v", "push_ok <= prod_ok;", "push_ok <= 1'b1;", ""),
     "ktls_csr", "cocotb_csr", "a_doorbell_offers_the_push_window"),
    (Mutant("pushed_with_others", "ktls_csr.v", "prod_new[15:0] == prod_old[15:0] + 16'd1",
            "1'b1", ""),
     "ktls_csr", "cocotb_csr", "a_doorbell_offers_the_push_window"),
    (Mutant("pushed_without_room", "ktls_sq.v", "push_valid && enable && has_room[pushed_ring]",
            "push_valid && enable", ""),
     "ktls_sq", "cocotb_sq", "a_pushed_descriptor_needs_room_and_an_enabled_device"),
    (Mutant("done_before_the_address", "ktls_dma_wr.v", "&& !(address_open && !active);", ";", ""),
     "ktls_dma_wr", "cocotb_dma_wr", "ordered_bursts_are_done_when_the_bus_has_them"),
    (Mutant("lost_write_ignored", "ktls_dma_wr.v", "assign lost = ordered &&",
            "assign lost = 1'b0 &&", ""),
     "ktls_dma_wr", "cocotb_dma_wr", "ordered_bursts_are_done_when_the_bus_has_them"),
    (Mutant("direct_overtakes", "ktls_sgl.v", ".m_ready(leaves && e_last),", ".m_ready(leaves),",
            ""),
     "ktls_sgl", "cocotb_sgl", "direct_buffers_keep_their_place"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("mutant", "toplevel", "module", "test"), BLOCK, ids=lambda x: getattr(x, "name", "")
)
def test_block_mutant_is_caught(
    simulator: str, mutant: Mutant, toplevel: str, module: str, test: str, seed: int
) -> None:
    parameters = {"ktls_sq": {"RINGS": 4, "RING_W": 2}, "ktls_csr": {"RINGS": 3}}.get(toplevel, {})
    build = Build(toplevel, tuple(mutant.sources()), parameters)
    (result,), _ = run_tests(
        build, module, simulator=simulator, testcase=test, seed=seed,
        name=f"mutant-{mutant.name}",
    )  # fmt: skip
    assert not result.passed


DEAD_ENDS = [
    (Mutant("masters_wait_for_a_dead_bus", "ktls_nic.v", "wire bus_rst = core_rst || bus_dead;",
            "wire bus_rst = core_rst;", ""),
     "dead_bus_is_reported_and_reset_recovers"),
    (Mutant("keys_survive_an_error", "ktls_csr.v", "core_rst || wipe_cnt != 0", "core_rst", ""),
     "completion_ring_error_wipes_the_keys"),
    (Mutant("descriptor_kept_after_reset", "ktls_exec.v", "descriptor <= 512'd0;\n      salt",
            "salt", ""),
     "reset_during_set_256"),
]  # fmt: skip


@pytest.mark.parametrize(("mutant", "test"), DEAD_ENDS, ids=lambda x: getattr(x, "name", ""))
def test_dead_end_mutant_is_caught(
    simulator: str, target: Target, mutant: Mutant, test: str, seed: int
) -> None:
    build = Build.device(mutant.sources(), lanes=target.lanes, CONTEXTS=2)
    (result,), _ = run_tests(
        build, "cocotb_reset", simulator=simulator, testcase=test, seed=seed,
        name=f"mutant-{mutant.name}", env={"KTLS_RESET_EVERY": "3"},
    )  # fmt: skip
    assert not result.passed


WIPE = [
    (Mutant("no_flush_after_a_wipe", "ktls_keyexp.v",
            "win <= 256'd0;\n            state <= ST_FLUSH",
            "win <= 256'd0;\n            state <= ST_IDLE", ""),
     "a_deleted_context_leaves_nothing"),
    (Mutant("no_flush_after_a_reset", "ktls_keyexp.v", "if (&cur_ctx) state <= ST_FLUSH;",
            "if (&cur_ctx) state <= ST_IDLE;", ""),
     "a_reset_leaves_nothing"),
    (Mutant("flush_before_the_key_is_gone", "ktls_keyexp.v", "state == ST_FLUSH && !kw_en",
            "state == ST_FLUSH", ""),
     "a_deleted_context_leaves_nothing"),
    (Mutant("descriptor_stays_in_its_queue", "ktls_sq.v", ".WIPE  (1)", ".WIPE  (0)", ""),
     "a_deleted_context_leaves_nothing"),
    (Mutant("descriptor_stays_where_it_is_joined", "ktls_sq.v",
            "data_rst || (part_full && !rsp_valid)", "data_rst", ""),
     "a_deleted_context_leaves_nothing"),
    (Mutant("last_descriptor_survives_a_reset", "ktls_sq.v",
            "data_rst || (part_full && !rsp_valid)", "part_full && !rsp_valid", ""),
     "half_a_descriptor_leaves_nothing"),
    (Mutant("iv_survives_a_reset", "ktls_exec.v", "iv_mem[ctx] <= 64'd0;", "", ""),
     "a_reset_leaves_nothing"),
    (Mutant("iv_survives_its_context", "ktls_exec.v", "iv_mem[ctx] <= key_clear ? 64'd0 :",
            "iv_mem[ctx] <=", ""),
     "a_deleted_context_leaves_nothing"),
    (Mutant("iv_survives_in_a_register", "ktls_exec.v",
            "iv <= 64'd0;\n        state <= ST_IDLE;", "state <= ST_IDLE;", ""),
     "a_deleted_context_leaves_nothing"),
    (Mutant("iv_survives_in_a_job", "ktls_data.v", ".WIPE (1)", ".WIPE (0)", ""),
     "a_deleted_context_leaves_nothing"),
    (Mutant("iv_survives_behind_the_core", "ktls_record.v", ".WIPE (1)", ".WIPE (0)", ""),
     "a_deleted_context_leaves_nothing"),
    (Mutant("iv_survives_in_framing", "ktls_record.v", "if (wipe || rst) begin",
            "if (rst) begin", ""),
     "a_deleted_context_leaves_nothing"),
    (Mutant("nonce_survives_in_the_core", "ktls_gcm.v", "if (wiping) nonce <= 96'd0;", "", ""),
     "a_deleted_context_leaves_nothing"),
    (Mutant("hash_key_survives_in_a_register", "ktls_gcm.v",
            "if (wiping) begin\n      h <= {DATA_W{1'b0}};", "if (wiping) begin", ""),
     "a_deleted_context_leaves_nothing"),
    (Mutant("text_survives_in_the_core", "ktls_gcm.v", ".WIPE  (1)", ".WIPE  (0)", ""),
     "text_vanishes_while_its_context_lives"),
    (Mutant("half_a_descriptor_overwrites_another", "ktls_sq.v",
            "part_full ? (from_push ? push_data : part) : 512'd0", "from_push ? push_data : part",
            ""),
     "a_deleted_context_leaves_nothing"),
    (Mutant("text_survives_in_a_stage", "ktls_gcm.v", "g_out <= {DATA_W{1'b0}};\n", "\n", ""),
     "the_reset_pin_leaves_nothing"),
    (Mutant("source_survives", "ktls_gather.v", ".WIPE  (1)", ".WIPE  (0)", ""),
     "a_deleted_context_leaves_nothing"),
    (Mutant("source_survives_in_the_core", "ktls_gcm.v",
            "meta_block[meta_wipe[META_LOG2-1:0]] <= {DATA_W{1'b0}};", ";", ""),
     "a_deleted_context_leaves_nothing"),
    (Mutant("text_survives_in_the_output_queue", "ktls_release.v",
            "ring[xp[RING_W-1:0]] <= {ENTRY_W{1'b0}};", ";", ""),
     "text_vanishes_while_its_context_lives"),
    (Mutant("text_survives_beside_the_output_queue", "ktls_release.v", "leaves || enters || rst",
            "leaves || enters", ""),
     "a_reset_leaves_nothing"),
    (Mutant("reset_forgets_the_output_queue", "ktls_release.v", " rp   <= wp;", " rp   <= xp;", ""),
     "a_reset_leaves_nothing"),
    (Mutant("wipe_waits_for_the_bus", "ktls_csr.v", "if (flush && !wiped) begin",
            "if (flush && masters_idle && !wiped) begin", ""),
     "a_dead_bus_leaves_nothing"),
    (Mutant("deletion_does_not_wait", "ktls_exec.v", "(!key_clear || clean)", "1'b1", ""),
     "a_deleted_context_leaves_nothing"),
    (Mutant("answers_after_the_wipe", "ktls_dma_rd.v", "(taken && !flush) ?", "taken ?", ""),
     "a_completion_ring_error_leaves_nothing"),
    (Mutant("other_lanes_keep_their_keys", "ktls_gcm.v", "one_block || wipe_block",
            "one_block || (wipe_block && g == 0)", "4"),
     "a_deleted_context_leaves_nothing"),
    (Mutant("powers_survive", "ktls_gcm.v", "powers = {DATA_W{1'b0}};\n    end\n    if",
            "end\n    if", "4"),
     "a_deleted_context_leaves_nothing"),
    (Mutant("window_survives_its_doorbell", "ktls_csr.v", "if (here || push_clear || data_rst)",
            "if (here || data_rst)", ""),
     "a_deleted_context_leaves_nothing"),
    (Mutant("window_survives_a_reset", "ktls_csr.v", "if (here || push_clear || data_rst)",
            "if (here || push_clear)", ""),
     "a_reset_empties_the_push_window"),
    (Mutant("small_core_keeps_aes", "ktls_gcm_small.v", "rst || state == ST_WIPE", "rst", "small"),
     "a_deleted_context_leaves_nothing"),
    (Mutant("small_core_keeps_the_nonce", "ktls_gcm_small.v", "nonce <= 96'd0;", "", "small"),
     "a_deleted_context_leaves_nothing"),
    (Mutant("small_core_keeps_text", "ktls_gcm_small.v", "out   <= 128'd0;", "", "small"),
     "a_reset_leaves_nothing"),
]  # fmt: skip


def _third(cases: list[tuple[Mutant, str]]) -> list[object]:
    """All cases; two of three run in `make soak` only, because each compiles the device."""
    marks = ((), (pytest.mark.slow,), (pytest.mark.slow,))
    return [pytest.param(*c, marks=marks[n % 3], id=c[0].name) for n, c in enumerate(cases)]


@pytest.mark.parametrize(("mutant", "test"), _third(WIPE))
def test_what_survives_is_found(simulator: str, mutant: Mutant, test: str, seed: int) -> None:
    """`Mutant.caught` is the variant of the device: number of lanes, or the small core."""
    if simulator != "icarus":
        pytest.skip("the scan needs Icarus")
    lanes = int(mutant.caught) if mutant.caught.isdigit() else 1
    small = int(mutant.caught == "small")
    build = Build.device(
        mutant.sources(), lanes=lanes, CONTEXTS=4, RINGS=1, SMALL_CORE=small
    )  # fmt: skip
    (result,), _ = run_tests(
        build, "cocotb_wipe", simulator=simulator, testcase=test, seed=seed,
        name=f"mutant-{mutant.name}",
    )  # fmt: skip
    assert not result.passed
    assert "AssertionError" in result.message


HOSTILE = [
    (Mutant("rlast_ignored", "ktls_dma_rd.v", "owed && m_axi_rlast == (beat == length[rp])",
            "owed", ""),
     "rlast_early_on_a_descriptor"),
    (Mutant("unasked_data_dropped", "ktls_dma_rd.v", "!good && (owed || begun)", "!good && owed",
            ""),
     "unasked_answers_break_the_bus"),
    (Mutant("late_data_breaks_the_bus", "ktls_dma_rd.v", "!good && (owed || begun)", "!good", ""),
     "late_answers_after_a_reset_are_dropped"),
    (Mutant("exclusive_okay_is_okay", "ktls_dma_rd.v", "m_axi_rresp != 2'b00", "m_axi_rresp[1]",
            ""),
     "every_answer_but_okay_is_an_error"),
    (Mutant("exclusive_okay_of_a_write", "ktls_dma_wr.v",
            "else if (!tag_client[rp] && m_axi_bresp != 2'b00)",
            "else if (!tag_client[rp] && m_axi_bresp[1])", ""),
     "every_answer_but_okay_is_an_error"),
    (Mutant("early_response_taken", "ktls_dma_wr.v",
            "complete != {{DEPTH_LOG2{1'b0}}, address_late}", "tags != 0", ""),
     "a_response_before_the_data_breaks_the_bus"),
    (Mutant("unasked_response_dropped", "ktls_dma_wr.v", "!owed && begun;", "1'b0;", ""),
     "unasked_answers_break_the_bus"),
    (Mutant("late_response_breaks_the_bus", "ktls_dma_wr.v", "!owed && begun;", "!owed;", ""),
     "late_answers_after_a_reset_are_dropped"),
    (Mutant("entry_wraps", "ktls_plan.v", "end else if (passes) begin",
            "end else if (1'b0) begin", ""),
     "nothing_passes_the_top_of_the_addresses"),
    (Mutant("list_wraps", "ktls_sgl.v", "over <= after[60];", "over <= 1'b0;", ""),
     "nothing_passes_the_top_of_the_addresses"),
    (Mutant("list_ends_without_an_error", "ktls_sgl.v", "rsp_valid ? rsp_err : over;",
            "rsp_valid && rsp_err;", ""),
     "nothing_passes_the_top_of_the_addresses"),
    (Mutant("submission_ring_wraps", "ktls_sq.v", "over_now[g] = &base[64*g+21+:43] &&",
            "over_now[g] = 1'b0 && ", ""),
     "rings_that_pass_the_top"),
    (Mutant("completion_ring_wraps", "ktls_cq.v", "{over, addr} <=", "over <= 1'b0; addr <=", ""),
     "rings_that_pass_the_top"),
    (Mutant("skipped_descriptor_overtakes", "ktls_sq.v",
            "room && over[ring] && !waits && !part_full", "room && over[ring]", ""),
     "rings_that_pass_the_top"),
    (Mutant("upper_half_of_the_ring_ignored", "ktls_sq.v", "wire [63:0] first = base[64*ring+:64];",
            "wire [63:0] first = {32'd0, base[64*ring+:32]};", ""),
     "rings_anywhere"),
    (Mutant("watchdog_0_is_at_once", "ktls_watchdog.v", "limit != 32'd0 &&", "", ""),
     "without_a_watchdog_a_bus_may_take_forever"),
    (Mutant("watchdog_one_early", "ktls_watchdog.v", "waited[i] >= limit",
            "waited[i] + 32'd1 >= limit", ""),
     "the_watchdog_counts_exactly"),
    (Mutant("watchdog_one_late", "ktls_watchdog.v", "waited[i] >= limit", "waited[i] > limit", ""),
     "the_watchdog_counts_exactly"),
    (Mutant("watchdog_never_restarts", "ktls_watchdog.v",
            "waited[i] <= 32'd1;\n        end\n      end",
            "end\n      end", ""),
     "a_slow_bus_is_not_dead"),
    (Mutant("one_timer_for_all", "ktls_nic.v", ".stuck({wr_stuck, rd_stuck})",
            ".stuck({5{|{wr_stuck, rd_stuck} && !m_axi_rvalid}})", ""),
     "a_moving_channel_does_not_hide_a_dead_one"),
    (Mutant("writes_not_watched", "ktls_nic.v", ".stuck({wr_stuck, rd_stuck})",
            ".stuck({3'd0, rd_stuck})", ""),
     "each_dead_channel_is_noticed_in_time"),
    (Mutant("reads_not_watched", "ktls_nic.v", ".stuck({wr_stuck, rd_stuck})",
            ".stuck({wr_stuck, 2'd0})", ""),
     "each_dead_channel_is_noticed_in_time"),
    (Mutant("strobes_ignored", "ktls_csr.v", "strb[i] ? data[8*i+:8]", "1'b1 ? data[8*i+:8]", ""),
     "strobes_of_register_writes_count"),
    (Mutant("answer_overwritten", "ktls_csr.v", "(!s_axil_rvalid || s_axil_rready);", "1'b1;", ""),
     "register_reads_wait_for_a_slow_master"),
    (Mutant("mark_does_not_wait", "ktls_dma_wr.v", "wire head_mark = tags != 0 && tag_mark[rp];",
            "wire head_mark = tags != 0 && tag_mark[rp] || accept && is_mark;", ""),
     "a_completion_follows_its_data"),
]  # fmt: skip


@pytest.mark.parametrize(("mutant", "test"), _third(HOSTILE))
def test_hostile_bus_finds(simulator: str, mutant: Mutant, test: str, seed: int) -> None:
    build = Build("ktls_nic", tuple(mutant.sources()), {"CONTEXTS": 4, "RINGS": 2})
    (result,), _ = run_tests(
        build, "cocotb_attacks", simulator=simulator, testcase=rf"\.{test}$", seed=seed,
        name=f"mutant-{mutant.name}",
    )  # fmt: skip
    assert not result.passed


CLOCK = [
    (Mutant("constant_latency", "ktls_cq.v", "<= now - head[CPL_START_LSB+:CPL_START_W];",
            "<= 24'd7;", ""),
     "latency_is_the_time_in_the_device"),
    (Mutant("constant_cycles", "ktls_cq.v", "<= has_job ? cycles : 32'd0;",
            "<= has_job ? 32'd1 : 32'd0;", ""),
     "cycles_of_a_record_that_nothing_stalls"),
    (Mutant("cycles_of_the_other_direction", "ktls_record.v",
            "inner_over && !opening ? count - 32'd1", "inner_over && opening ? count - 32'd1", ""),
     "cycles_of_a_record_that_nothing_stalls"),
    (Mutant("clock_three_times_too_fast", "ktls_csr.v", "cycles <= cycles + 64'd1;",
            "cycles <= cycles + 64'd3;", ""),
     "cycles_register_counts_each_cycle"),
]  # fmt: skip


@pytest.mark.parametrize(("mutant", "test"), CLOCK, ids=lambda x: getattr(x, "name", ""))
def test_wrong_clock_figure_is_found(
    simulator: str, target: Target, mutant: Mutant, test: str, seed: int
) -> None:
    build = Build.device(mutant.sources(), lanes=target.lanes, CONTEXTS=4, RINGS=1)
    (result,), _ = run_tests(
        build, "cocotb_clock", simulator=simulator, testcase=test, seed=seed,
        name=f"mutant-{mutant.name}",
    )  # fmt: skip
    assert not result.passed
