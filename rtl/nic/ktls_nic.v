// SPDX-License-Identifier: Apache-2.0
//
// Purpose: TLS record offload engine of a NIC. It reads descriptors and records from host memory
//   and writes sealed or opened records back.
//
//    dma_rd --> sq --> exec --+-- jobs --> data --> dma_wr
//                             |             |
//                             |          reports
//                             |             v
//                             +-----------> cq ---> dma_wr
//
//   sq fetches descriptors. exec checks them and manages the contexts. data processes records; it
//   also reads through dma_rd. cq writes completions. csr holds the registers.
//
// Interface: AXI4-Lite slave (registers), AXI4 master (rings, lists, data), interrupt as
//   a level and as messages: use one, and tie msg_ready to 1 if it is the level.
//   docs/registers.md lists registers and structures in memory; docs/programmers-guide.md shows
//   how to use them. Either side of both buses may stall at any time.
// Latency/throughput: one word of 16 * LANES bytes per cycle if memory keeps up. A record of n
//   words occupies the engine for n + 2 cycles (OPEN: n + 3). Records of one or several contexts
//   overlap. `ktls-cosim bench rtl` measures cycles per record.
// Source: RFC 5246 and RFC 5288 (TLS 1.2), RFC 8446 (TLS 1.3). A context holds the fields of
//   Linux's struct tls12_crypto_info_*.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_nic #(
    // blocks per cycle and per beat of the master: 1, 2, 4 or 8
    parameter LANES = 1,
    // contexts, a power of two from 2 to 1024
    parameter CONTEXTS = 64,
    // ring pairs (submission and completion), 1 to 8
    parameter RINGS = 4,
    // 0: ktls_gcm, LANES blocks per cycle; 1: ktls_gcm_small, for LANES = 1
    parameter SMALL_CORE = 0,
    // windows, which cover the latency of memory; docs/use-the-rtl.md says how to choose them:
    // log2 of the records under way, 4 to 8
    parameter JOBS_LOG2 = LANES == 1 ? 6 : 7,
    // log2 of the bursts under way in each direction, 4 to 8
    parameter BURSTS_LOG2 = LANES == 1 ? 7 : 8,
    // log2 of the beats of source that may be requested or wait, 5 to 12
    parameter BUFFER_LOG2 = 9,
    // suites of the core: value of the register SUITES
    parameter [9:0] SUITES = 10'h3ff
) (
    input  wire                 clk,
    input  wire                 rst,
    output wire                 irq,
    // the same as messages, for MSI-X: vector n for ring n, and vector RINGS for errors
    output wire                 msg_valid,
    input  wire                 msg_ready,
    output wire [          3:0] msg_vector,
    // registers
    input  wire [         11:0] s_axil_awaddr,
    input  wire                 s_axil_awvalid,
    output wire                 s_axil_awready,
    input  wire [         31:0] s_axil_wdata,
    input  wire [          3:0] s_axil_wstrb,
    input  wire                 s_axil_wvalid,
    output wire                 s_axil_wready,
    output wire [          1:0] s_axil_bresp,
    output wire                 s_axil_bvalid,
    input  wire                 s_axil_bready,
    input  wire [         11:0] s_axil_araddr,
    input  wire                 s_axil_arvalid,
    output wire                 s_axil_arready,
    output wire [         31:0] s_axil_rdata,
    output wire [          1:0] s_axil_rresp,
    output wire                 s_axil_rvalid,
    input  wire                 s_axil_rready,
    // host memory
    output wire [         63:0] m_axi_awaddr,
    output wire [          7:0] m_axi_awlen,
    output wire [          2:0] m_axi_awsize,
    output wire [          1:0] m_axi_awburst,
    output wire [          3:0] m_axi_awcache,
    output wire [          2:0] m_axi_awprot,
    output wire                 m_axi_awvalid,
    input  wire                 m_axi_awready,
    output wire [128*LANES-1:0] m_axi_wdata,
    output wire [ 16*LANES-1:0] m_axi_wstrb,
    output wire                 m_axi_wlast,
    output wire                 m_axi_wvalid,
    input  wire                 m_axi_wready,
    input  wire [          1:0] m_axi_bresp,
    input  wire                 m_axi_bvalid,
    output wire                 m_axi_bready,
    output wire [         63:0] m_axi_araddr,
    output wire [          7:0] m_axi_arlen,
    output wire [          2:0] m_axi_arsize,
    output wire [          1:0] m_axi_arburst,
    output wire [          3:0] m_axi_arcache,
    output wire [          2:0] m_axi_arprot,
    output wire                 m_axi_arvalid,
    input  wire                 m_axi_arready,
    input  wire [128*LANES-1:0] m_axi_rdata,
    input  wire [          1:0] m_axi_rresp,
    input  wire                 m_axi_rlast,
    input  wire                 m_axi_rvalid,
    output wire                 m_axi_rready
);

  localparam DATA_W = 128 * LANES;
  localparam CTX_W = $clog2(CONTEXTS);
  localparam RING_W = RINGS == 1 ? 1 : $clog2(RINGS);
  localparam SLOT_W = JOBS_LOG2;  // each job has a slot

  `include "ktls_job.vh"
  `include "ktls_cpl.vh"

  // read clients, most urgent first: ktls_sq, then the three of ktls_data
  localparam RD_SQ = 0;
  localparam RD_N = 4;

  // write clients
  localparam WR_DATA = 0;
  localparam WR_CQ = 1;

  // An illegal parameter stops every tool: see "Conventions" in rtl/README.md.
  generate
    if (LANES != 1 && LANES != 2 && LANES != 4 && LANES != 8) begin : g_illegal_lanes
      ktls_nic_LANES_must_be_1_2_4_or_8 illegal_parameter ();
    end
    if (CONTEXTS < 2 || CONTEXTS > 1024 || (1 << CTX_W) != CONTEXTS) begin : g_illegal_contexts
      ktls_nic_CONTEXTS_must_be_a_power_of_two_from_2_to_1024 illegal_parameter ();
    end
    if (RINGS < 1 || RINGS > 8) begin : g_illegal_rings
      ktls_nic_RINGS_must_be_1_to_8 illegal_parameter ();
    end
    if (JOBS_LOG2 < 4 || JOBS_LOG2 > 8) begin : g_illegal_jobs
      ktls_nic_JOBS_LOG2_must_be_4_to_8 illegal_parameter ();
    end
    if (BURSTS_LOG2 < 4 || BURSTS_LOG2 > 8) begin : g_illegal_bursts
      ktls_nic_BURSTS_LOG2_must_be_4_to_8 illegal_parameter ();
    end
    if (BUFFER_LOG2 < 5 || BUFFER_LOG2 > 12) begin : g_illegal_buffer
      ktls_nic_BUFFER_LOG2_must_be_5_to_12 illegal_parameter ();
    end
  endgenerate

  // ------------------------------------------------------------------- registers

  wire flush, core_rst, data_rst;  // ktls_csr describes their order
  wire enable, ordered, cq_failed, bus_dead;
  wire sq_idle, exec_idle, cq_idle, rd_idle, wr_idle;
  wire idle = sq_idle && exec_idle && cq_idle;
  wire [23:0] now;
  wire [31:0] key_warn, key_limit, watchdog_limit;
  wire [64*RINGS-1:0] sq_base, cq_base;
  wire [4*RINGS-1:0] sq_log2, cq_log2;
  wire [32*RINGS-1:0] sq_prod, sq_cons, cq_prod, cq_written, cq_cons;
  wire push_valid;
  wire [2:0] push_ring;
  wire [511:0] push_data;
  wire done, done_record;
  wire [ 7:0] done_status;
  wire [14:0] done_len;
  wire key_valid, key_ready, key_clear, key_256;

  wire data_clean;
  reg  keys_ready;  // keys and text have been cleared after reset

  always @(posedge clk) begin
    if (data_rst) keys_ready <= 1'b0;
    else if (key_ready && data_clean) keys_ready <= 1'b1;
  end

  wire run = enable && keys_ready && !flush;

  ktls_csr #(
      .LANES(LANES),
      .CONTEXTS(CONTEXTS),
      .RINGS(RINGS),
      .SUITES(SUITES)
  ) csr (
      .clk(clk),
      .rst(rst),
      .s_axil_awaddr(s_axil_awaddr),
      .s_axil_awvalid(s_axil_awvalid),
      .s_axil_awready(s_axil_awready),
      .s_axil_wdata(s_axil_wdata),
      .s_axil_wstrb(s_axil_wstrb),
      .s_axil_wvalid(s_axil_wvalid),
      .s_axil_wready(s_axil_wready),
      .s_axil_bresp(s_axil_bresp),
      .s_axil_bvalid(s_axil_bvalid),
      .s_axil_bready(s_axil_bready),
      .s_axil_araddr(s_axil_araddr),
      .s_axil_arvalid(s_axil_arvalid),
      .s_axil_arready(s_axil_arready),
      .s_axil_rdata(s_axil_rdata),
      .s_axil_rresp(s_axil_rresp),
      .s_axil_rvalid(s_axil_rvalid),
      .s_axil_rready(s_axil_rready),
      .irq(irq),
      .msg_valid(msg_valid),
      .msg_ready(msg_ready),
      .msg_vector(msg_vector),
      .flush(flush),
      .core_rst(core_rst),
      .data_rst(data_rst),
      .masters_idle(rd_idle && wr_idle),
      .enable(enable),
      .ordered(ordered),
      .keys_ready(keys_ready),
      .idle(idle),
      .wr_idle(wr_idle),
      .cq_failed(cq_failed),
      .bus_dead(bus_dead),
      .now(now),
      .key_warn(key_warn),
      .key_limit(key_limit),
      .watchdog(watchdog_limit),
      .sq_base(sq_base),
      .sq_log2(sq_log2),
      .sq_prod(sq_prod),
      .sq_cons(sq_cons),
      .push_valid(push_valid),
      .push_ring(push_ring),
      .push_data(push_data),
      .cq_base(cq_base),
      .cq_log2(cq_log2),
      .cq_cons(cq_cons),
      .cq_prod(cq_prod),
      .cq_written(cq_written),
      .done(done),
      .done_status(done_status),
      .done_record(done_record),
      .done_len(done_len)
  );

  // An idle device owes no completion. Each ring is compared when the device becomes idle.
  reg was_idle;

  always @(posedge clk) begin
    was_idle <= idle;
    if (idle && !was_idle && !core_rst && !flush) begin
      `KTLS_ASSERT(sq_cons == cq_prod, "idle, and completions are owed")
    end
  end

  // ------------------------------------------------------------------ bus masters

  // After `bus_dead` the masters abandon their outstanding transactions.
  wire bus_rst = core_rst || bus_dead;

  wire [1:0] rd_stuck;
  wire [2:0] wr_stuck;
  wire rd_broken, wr_broken;

  wire [RD_N-1:0] rd_req_valid, rd_req_ready, rd_rsp_valid;
  wire [RD_N*64-1:0] rd_req_addr;
  wire [ RD_N*8-1:0] rd_req_beats;
  wire [ DATA_W-1:0] rd_rsp_data;
  wire rd_rsp_err, rd_rsp_last;

  ktls_dma_rd #(
      .N(RD_N),
      .DATA_W(DATA_W),
      .DEPTH_LOG2(BURSTS_LOG2)
  ) dma_rd (
      .clk(clk),
      .rst(bus_rst),
      .flush(flush),
      .idle(rd_idle),
      .stuck(rd_stuck),
      .broken(rd_broken),
      .req_valid(rd_req_valid),
      .req_ready(rd_req_ready),
      .req_addr(rd_req_addr),
      .req_beats(rd_req_beats),
      .rsp_valid(rd_rsp_valid),
      .rsp_data(rd_rsp_data),
      .rsp_err(rd_rsp_err),
      .rsp_last(rd_rsp_last),
      .m_axi_araddr(m_axi_araddr),
      .m_axi_arlen(m_axi_arlen),
      .m_axi_arsize(m_axi_arsize),
      .m_axi_arburst(m_axi_arburst),
      .m_axi_arcache(m_axi_arcache),
      .m_axi_arprot(m_axi_arprot),
      .m_axi_arvalid(m_axi_arvalid),
      .m_axi_arready(m_axi_arready),
      .m_axi_rdata(m_axi_rdata),
      .m_axi_rresp(m_axi_rresp),
      .m_axi_rlast(m_axi_rlast),
      .m_axi_rvalid(m_axi_rvalid),
      .m_axi_rready(m_axi_rready)
  );

  wire [1:0] wr_req_valid, wr_req_ready, wr_w_valid, wr_w_ready;
  wire [127:0] wr_req_addr;
  wire [15:0] wr_req_beats;
  wire wr_req_mark;
  wire [DATA_W-1:0] wr_w0_data, wr_w1_data;
  wire [DATA_W/8-1:0] wr_w0_strb, wr_w1_strb;
  wire mark_done, mark_err, cq_b_done, cq_b_err, wr_lost;

  ktls_dma_wr #(
      .DATA_W(DATA_W),
      .DEPTH_LOG2(BURSTS_LOG2)
  ) dma_wr (
      .clk(clk),
      .rst(bus_rst),
      .flush(flush),
      .ordered(ordered),
      .idle(wr_idle),
      .stuck(wr_stuck),
      .broken(wr_broken),
      .req_valid(wr_req_valid),
      .req_ready(wr_req_ready),
      .req_addr(wr_req_addr),
      .req_beats(wr_req_beats),
      .req0_mark(wr_req_mark),
      .w_valid(wr_w_valid),
      .w_ready(wr_w_ready),
      .w0_data(wr_w0_data),
      .w0_strb(wr_w0_strb),
      .w1_data(wr_w1_data),
      .w1_strb(wr_w1_strb),
      .mark_done(mark_done),
      .mark_err(mark_err),
      .b1_done(cq_b_done),
      .b1_err(cq_b_err),
      .lost(wr_lost),
      .m_axi_awaddr(m_axi_awaddr),
      .m_axi_awlen(m_axi_awlen),
      .m_axi_awsize(m_axi_awsize),
      .m_axi_awburst(m_axi_awburst),
      .m_axi_awcache(m_axi_awcache),
      .m_axi_awprot(m_axi_awprot),
      .m_axi_awvalid(m_axi_awvalid),
      .m_axi_awready(m_axi_awready),
      .m_axi_wdata(m_axi_wdata),
      .m_axi_wstrb(m_axi_wstrb),
      .m_axi_wlast(m_axi_wlast),
      .m_axi_wvalid(m_axi_wvalid),
      .m_axi_wready(m_axi_wready),
      .m_axi_bresp(m_axi_bresp),
      .m_axi_bvalid(m_axi_bvalid),
      .m_axi_bready(m_axi_bready)
  );

  ktls_watchdog watchdog (
      .clk(clk),
      .rst(core_rst),
      .stuck({wr_stuck, rd_stuck}),
      .broken(rd_broken || wr_broken),
      .limit(watchdog_limit),
      .dead(bus_dead)
  );

  // ------------------------------------------------------- descriptors, contexts

  wire d_valid, d_ready, d_err;
  wire [511:0] d_data;
  wire [RING_W-1:0] d_ring;
  wire [31:0] d_index;

  ktls_sq #(
      .RINGS(RINGS),
      .RING_W(RING_W),
      .DATA_W(DATA_W),
      .DEPTH_LOG2(SLOT_W - 1)
  ) sq (
      .clk(clk),
      .rst(core_rst),
      .data_rst(data_rst),
      .enable(run),
      .base(sq_base),
      .size_log2(sq_log2),
      .prod(sq_prod),
      .push_valid(push_valid),
      .push_ring(push_ring),
      .push_data(push_data),
      .cons(sq_cons),
      .cq_log2(cq_log2),
      .cq_cons(cq_cons),
      .idle(sq_idle),
      .req_valid(rd_req_valid[RD_SQ]),
      .req_ready(rd_req_ready[RD_SQ]),
      .req_addr(rd_req_addr[64*RD_SQ+:64]),
      .req_beats(rd_req_beats[8*RD_SQ+:8]),
      .rsp_valid(rd_rsp_valid[RD_SQ]),
      .rsp_data(rd_rsp_data),
      .rsp_err(rd_rsp_err),
      .rsp_last(rd_rsp_last),
      .d_valid(d_valid),
      .d_ready(d_ready),
      .d_data(d_data),
      .d_ring(d_ring),
      .d_index(d_index),
      .d_err(d_err)
  );

  wire [CTX_W-1:0] key_ctx;
  wire [255:0] key;
  wire job_valid, job_ready;
  wire [JOB_BITS-1:0] job_data;
  wire cpl_valid, cpl_ready;
  wire [CPL_BITS-1:0] cpl_data;
  wire retire, wipe;

  ktls_exec #(
      .CONTEXTS(CONTEXTS),
      .CTX_W(CTX_W),
      .SLOT_W(SLOT_W),
      .RING_W(RING_W),
      .SUITES(SUITES),
      .JOB_W(JOB_BITS),
      .CPL_W(CPL_BITS)
  ) exec (
      .clk(clk),
      .rst(data_rst),
      .enable(run),
      .idle(exec_idle),
      .d_valid(d_valid),
      .d_ready(d_ready),
      .d_data(d_data),
      .d_ring(d_ring),
      .d_index(d_index),
      .d_err(d_err),
      .key_valid(key_valid),
      .key_ready(key_ready),
      .key_clear(key_clear),
      .key_ctx(key_ctx),
      .key_256(key_256),
      .key(key),
      .job_valid(job_valid),
      .job_ready(job_ready),
      .job_data(job_data),
      .cpl_valid(cpl_valid),
      .cpl_ready(cpl_ready),
      .cpl_data(cpl_data),
      .now(now),
      .key_warn(key_warn),
      .key_limit(key_limit),
      .retire(retire),
      .wipe(wipe),
      .clean(data_clean)
  );

  // ----------------------------------------------------------------------- data path

  wire src_done, src_short, src_err, dst_done, dst_short, dst_err;
  wire [SLOT_W-1:0] cycles_slot;
  wire [31:0] cycles;
  wire res_take, res_valid, res_ok;
  wire [ 7:0] res_rtype;
  wire [14:0] res_len;

  ktls_data #(
      .LANES(LANES),
      .CTX_W(CTX_W),
      .SLOT_W(SLOT_W),
      .BUFFER_LOG2(BUFFER_LOG2),
      .JOB_W(JOB_BITS),
      .SMALL_CORE(SMALL_CORE)
  ) data (
      .clk(clk),
      .rst(data_rst),
      .wipe(wipe),
      .clean(data_clean),
      .key_valid(key_valid),
      .key_ready(key_ready),
      .key_clear(key_clear),
      .key_ctx(key_ctx),
      .key_256(key_256),
      .key(key),
      .job_valid(job_valid),
      .job_ready(job_ready),
      .job_data(job_data),
      .rd_req_valid(rd_req_valid[RD_N-1:1]),
      .rd_req_ready(rd_req_ready[RD_N-1:1]),
      .rd_req_addr(rd_req_addr[RD_N*64-1:64]),
      .rd_req_beats(rd_req_beats[RD_N*8-1:8]),
      .rd_rsp_valid(rd_rsp_valid[RD_N-1:1]),
      .rd_rsp_data(rd_rsp_data),
      .rd_rsp_err(rd_rsp_err),
      .rd_rsp_last(rd_rsp_last),
      .wr_valid(wr_req_valid[WR_DATA]),
      .wr_ready(wr_req_ready[WR_DATA]),
      .wr_addr(wr_req_addr[64*WR_DATA+:64]),
      .wr_beats(wr_req_beats[8*WR_DATA+:8]),
      .wr_mark(wr_req_mark),
      .w_valid(wr_w_valid[WR_DATA]),
      .w_ready(wr_w_ready[WR_DATA]),
      .w_data(wr_w0_data),
      .w_strb(wr_w0_strb),
      .src_done(src_done),
      .src_short(src_short),
      .src_err(src_err),
      .dst_done(dst_done),
      .dst_short(dst_short),
      .dst_err(dst_err),
      .cycles_slot(cycles_slot),
      .cycles(cycles),
      .res_take(res_take),
      .res_valid(res_valid),
      .res_ok(res_ok),
      .res_rtype(res_rtype),
      .res_len(res_len)
  );

  // ---------------------------------------------------------------- completions

  ktls_cq #(
      .RINGS(RINGS),
      .RING_W(RING_W),
      .DATA_W(DATA_W),
      .SLOT_W(SLOT_W),
      .OPEN_LOG2(BURSTS_LOG2 + 1),
      .CPL_W(CPL_BITS)
  ) cq (
      .clk(clk),
      .rst(core_rst),
      .flush(flush),
      .base(cq_base),
      .size_log2(cq_log2),
      .cons(cq_cons),
      .prod(cq_prod),
      .written(cq_written),
      .failed(cq_failed),
      .idle(cq_idle),
      .cpl_valid(cpl_valid),
      .cpl_ready(cpl_ready),
      .cpl_data(cpl_data),
      .now(now),
      .src_done(src_done),
      .src_short(src_short),
      .src_err(src_err),
      .dst_done(dst_done),
      .dst_short(dst_short),
      .dst_err(dst_err),
      .mark_done(mark_done),
      .mark_err(mark_err),
      .cycles_slot(cycles_slot),
      .cycles(cycles),
      .res_valid(res_valid),
      .res_ok(res_ok),
      .res_rtype(res_rtype),
      .res_len(res_len),
      .res_take(res_take),
      .req_valid(wr_req_valid[WR_CQ]),
      .req_ready(wr_req_ready[WR_CQ]),
      .req_addr(wr_req_addr[64*WR_CQ+:64]),
      .req_beats(wr_req_beats[8*WR_CQ+:8]),
      .w_valid(wr_w_valid[WR_CQ]),
      .w_ready(wr_w_ready[WR_CQ]),
      .w_data(wr_w1_data),
      .w_strb(wr_w1_strb),
      .b_done(cq_b_done),
      .b_err(cq_b_err),
      .lost(wr_lost),
      .retire(retire),
      .done(done),
      .done_status(done_status),
      .done_record(done_record),
      .done_len(done_len)
  );

endmodule

`resetall
