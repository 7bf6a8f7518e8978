// SPDX-License-Identifier: Apache-2.0
//
// Purpose: TLS record offload engine of a NIC: descriptors in host memory in,
//   sealed TLS records in host memory out.
// Interface: AXI4-Lite slave (registers), AXI4 master (rings, lists, data), level
//   interrupt. What stands in registers and memory: docs/registers.md; how to use
//   it: docs/programmers-guide.md. Either side of both buses may stall at any time.
// Latency/throughput: 16 * LANES bytes per cycle inside a record, n + 2 cycles for a
//   record of n words of that size as long as memory keeps up; records of one or many contexts
//   overlap. `ktls-cosim bench rtl` measures it.
// Source: RFC 5246 and RFC 5288 for records, Linux's struct tls12_crypto_info_* for
//   the contexts.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_nic #(
    // blocks per cycle: 1, 2 or 4; a beat of the master has as many
    parameter LANES = 1,
    // contexts, a power of two from 2 to 1024
    parameter CONTEXTS = 64,
    // pairs of a submission and a completion ring, 1 to 8
    parameter RINGS = 4,
    // 0: ktls_gcm, a block per cycle; 1: ktls_gcm_small, one thing after the other
    parameter SMALL_CORE = 0
) (
    input  wire                 clk,
    input  wire                 rst,
    output wire                 irq,
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
  localparam SLOT_W = 5;  // 32 records under way, to cover the latency of memory

  // read clients, most urgent first
  localparam RD_SQ = 0;
  localparam RD_DST_LIST = 1;
  localparam RD_SRC_LIST = 2;
  localparam RD_DATA = 3;
  localparam RD_N = 4;

  // write clients
  localparam WR_DATA = 0;
  localparam WR_CQ = 1;

  generate
    // instances of modules that do not exist: every tool stops and prints their names
    if (LANES != 1 && LANES != 2 && LANES != 4)
      ktls_nic_LANES_must_be_1_2_or_4 illegal_parameter ();
    if (CONTEXTS < 2 || CONTEXTS > 1024 || (1 << CTX_W) != CONTEXTS)
      ktls_nic_CONTEXTS_must_be_a_power_of_two_from_2_to_1024 illegal_parameter ();
    if (RINGS < 1 || RINGS > 8) ktls_nic_RINGS_must_be_1_to_8 illegal_parameter ();
  endgenerate

  // ------------------------------------------------------------------- registers

  wire flush;
  wire core_rst;
  wire data_rst;
  wire enable;
  wire [23:0] now;
  wire [64*RINGS-1:0] sq_base;
  wire [4*RINGS-1:0] sq_log2;
  wire [32*RINGS-1:0] sq_prod;
  wire [32*RINGS-1:0] sq_cons;
  wire [64*RINGS-1:0] cq_base;
  wire [4*RINGS-1:0] cq_log2;
  wire [32*RINGS-1:0] cq_cons;
  wire [32*RINGS-1:0] cq_prod;
  wire cq_failed;
  wire bus_dead;
  wire bus_rst;  // a dead bus owes us nothing any more
  assign bus_rst = core_rst || bus_dead;
  wire [31:0] key_warn;
  wire [31:0] key_limit;
  wire [31:0] watchdog_limit;
  wire rd_idle;
  wire wr_idle;
  wire sq_idle;
  wire exec_idle;
  wire cq_idle;
  wire key_ready;
  wire done;
  wire [7:0] done_status;
  wire done_record;
  wire [14:0] done_len;

  reg keys_ready;  // the key memory has been cleared after reset

  always @(posedge clk) begin
    if (data_rst) keys_ready <= 1'b0;
    else if (key_ready) keys_ready <= 1'b1;
  end

  wire run = enable && keys_ready && !flush;

  ktls_csr #(
      .LANES(LANES),
      .CONTEXTS(CONTEXTS),
      .RINGS(RINGS)
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
      .flush(flush),
      .core_rst(core_rst),
      .data_rst(data_rst),
      .masters_idle(rd_idle && wr_idle),
      .enable(enable),
      .keys_ready(keys_ready),
      .idle(sq_idle && exec_idle && cq_idle),
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
      .cq_base(cq_base),
      .cq_log2(cq_log2),
      .cq_cons(cq_cons),
      .cq_prod(cq_prod),
      .done(done),
      .done_status(done_status),
      .done_record(done_record),
      .done_len(done_len)
  );

  // ------------------------------------------------------------------ bus masters

  wire [RD_N-1:0] rd_req_valid;
  wire [RD_N-1:0] rd_req_ready;
  wire [RD_N*64-1:0] rd_req_addr;
  wire [RD_N*8-1:0] rd_req_beats;
  wire [RD_N-1:0] rd_rsp_valid;
  wire [DATA_W-1:0] rd_rsp_data;
  wire rd_rsp_err;
  wire rd_rsp_last;

  ktls_dma_rd #(
      .N(RD_N),
      .DATA_W(DATA_W)
  ) dma_rd (
      .clk(clk),
      .rst(bus_rst),
      .flush(flush),
      .idle(rd_idle),
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

  wire [1:0] wr_req_valid;
  wire [1:0] wr_req_ready;
  wire [127:0] wr_req_addr;
  wire [15:0] wr_req_beats;
  wire wr_req_mark;
  wire [1:0] wr_w_valid;
  wire [1:0] wr_w_ready;
  wire [DATA_W-1:0] wr_w0_data;
  wire [DATA_W/8-1:0] wr_w0_strb;
  wire [DATA_W-1:0] wr_w1_data;
  wire [DATA_W/8-1:0] wr_w1_strb;
  wire mark_done;
  wire mark_err;
  wire cq_b_done;
  wire cq_b_err;

  ktls_dma_wr #(
      .DATA_W(DATA_W)
  ) dma_wr (
      .clk(clk),
      .rst(bus_rst),
      .flush(flush),
      .idle(wr_idle),
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

  wire progress = (m_axi_arvalid && m_axi_arready) || (m_axi_rvalid && m_axi_rready) ||
      (m_axi_awvalid && m_axi_awready) || (m_axi_wvalid && m_axi_wready) ||
      (m_axi_bvalid && m_axi_bready);

  ktls_watchdog watchdog (
      .clk(clk),
      .rst(core_rst),
      .busy(!rd_idle || !wr_idle),
      .progress(progress),
      .limit(watchdog_limit),
      .dead(bus_dead)
  );

  // ------------------------------------------------------- descriptors, contexts

  wire d_valid;
  wire d_ready;
  wire [511:0] d_data;
  wire [RING_W-1:0] d_ring;
  wire [31:0] d_index;
  wire d_err;

  ktls_sq #(
      .RINGS (RINGS),
      .RING_W(RING_W),
      .DATA_W(DATA_W)
  ) sq (
      .clk(clk),
      .rst(core_rst),
      .enable(run),
      .base(sq_base),
      .size_log2(sq_log2),
      .prod(sq_prod),
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

  wire key_valid;
  wire key_clear;
  wire [CTX_W-1:0] key_ctx;
  wire key_256;
  wire [255:0] key;
  wire seal_valid;
  wire seal_ready;
  wire [SLOT_W-1:0] seal_slot;
  wire [CTX_W-1:0] seal_ctx;
  wire [7:0] seal_rtype;
  wire seal_open;
  wire seal_tls13;
  wire seal_raw;
  wire [14:0] seal_len;
  wire [14:0] seal_inner;
  wire [14:0] seal_aad_len;
  wire [4:0] seal_tag_len;
  wire [16:0] seal_src_len;
  wire [14:0] seal_src_aad;
  wire [31:0] seal_salt;
  wire [63:0] seal_iv;
  wire [63:0] seal_seq;
  wire [63:0] seal_src_sg;
  wire [15:0] seal_src_cnt;
  wire [63:0] seal_dst_sg;
  wire [15:0] seal_dst_cnt;
  wire [16:0] seal_out_len;
  wire cpl_valid;
  wire cpl_ready;
  wire [RING_W-1:0] cpl_ring;
  wire [7:0] cpl_opcode;
  wire [15:0] cpl_cookie;
  wire [7:0] cpl_status;
  wire [15:0] cpl_ctx;
  wire [7:0] cpl_rtype;
  wire cpl_rekey;
  wire cpl_numbered;
  wire [63:0] cpl_seq;
  wire [31:0] cpl_index;
  wire cpl_data;
  wire [SLOT_W-1:0] cpl_slot;
  wire [14:0] cpl_len;
  wire [14:0] cpl_out_len;
  wire [23:0] cpl_start;
  wire retire;

  ktls_exec #(
      .CONTEXTS(CONTEXTS),
      .CTX_W(CTX_W),
      .SLOT_W(SLOT_W),
      .RING_W(RING_W)
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
      .seal_valid(seal_valid),
      .seal_ready(seal_ready),
      .seal_slot(seal_slot),
      .seal_ctx(seal_ctx),
      .seal_rtype(seal_rtype),
      .seal_open(seal_open),
      .seal_tls13(seal_tls13),
      .seal_raw(seal_raw),
      .seal_len(seal_len),
      .seal_inner(seal_inner),
      .seal_aad_len(seal_aad_len),
      .seal_tag_len(seal_tag_len),
      .seal_src_len(seal_src_len),
      .seal_src_aad(seal_src_aad),
      .seal_salt(seal_salt),
      .seal_iv(seal_iv),
      .seal_seq(seal_seq),
      .seal_src_sg(seal_src_sg),
      .seal_src_cnt(seal_src_cnt),
      .seal_dst_sg(seal_dst_sg),
      .seal_dst_cnt(seal_dst_cnt),
      .seal_out_len(seal_out_len),
      .cpl_valid(cpl_valid),
      .cpl_ready(cpl_ready),
      .cpl_ring(cpl_ring),
      .cpl_opcode(cpl_opcode),
      .cpl_cookie(cpl_cookie),
      .cpl_status(cpl_status),
      .cpl_ctx(cpl_ctx),
      .cpl_rtype(cpl_rtype),
      .cpl_rekey(cpl_rekey),
      .cpl_numbered(cpl_numbered),
      .cpl_seq(cpl_seq),
      .cpl_index(cpl_index),
      .cpl_data(cpl_data),
      .cpl_slot(cpl_slot),
      .cpl_len(cpl_len),
      .cpl_out_len(cpl_out_len),
      .cpl_start(cpl_start),
      .now(now),
      .key_warn(key_warn),
      .key_limit(key_limit),
      .retire(retire)
  );

  // ------------------------------------------------ one queue of jobs per data unit
  //
  // They are as deep as records may be under way, so that gather reads ahead while
  // the core still works on earlier records.

  localparam LIST_W = 64 + 16;
  localparam LEN_W = 17;
  localparam RECORD_W = SLOT_W + CTX_W + 8 + 1 + 1 + 1 + 15 + 15 + 15 + 5 + 32 + 64 + 64;

  wire [4:0] job_room;
  assign seal_ready = &job_room;

  wire src_list_valid;
  wire src_list_ready;
  wire [63:0] src_list_addr;
  wire [15:0] src_list_cnt;
  wire dst_list_valid;
  wire dst_list_ready;
  wire [63:0] dst_list_addr;
  wire [15:0] dst_list_cnt;
  wire gather_valid;
  wire gather_ready;
  wire [16:0] gather_len;
  wire [14:0] gather_cut;
  wire scatter_valid;
  wire scatter_ready;
  wire [16:0] scatter_len;
  wire rec_valid;
  wire rec_ready;
  wire [SLOT_W-1:0] rec_slot;
  wire [CTX_W-1:0] rec_ctx;
  wire [7:0] rec_rtype;
  wire rec_open;
  wire rec_tls13;
  wire rec_raw;
  wire [14:0] rec_len;
  wire [14:0] rec_inner;
  wire [14:0] rec_aad_len;
  wire [4:0] rec_tag_len;
  wire [31:0] rec_salt;
  wire [63:0] rec_iv;
  wire [63:0] rec_seq;
  wire [5*(SLOT_W+1)-1:0] unused_counts;

  wire seal_push = seal_valid && seal_ready;

  ktls_fifo #(
      .WIDTH(LIST_W),
      .LOG2 (SLOT_W)
  ) src_lists (
      .clk(clk),
      .rst(data_rst),
      .s_valid(seal_push),
      .s_ready(job_room[0]),
      .s_data({seal_src_sg, seal_src_cnt}),
      .m_valid(src_list_valid),
      .m_ready(src_list_ready),
      .m_data({src_list_addr, src_list_cnt}),
      .count(unused_counts[0*(SLOT_W+1)+:SLOT_W+1])
  );

  ktls_fifo #(
      .WIDTH(LIST_W),
      .LOG2 (SLOT_W)
  ) dst_lists (
      .clk(clk),
      .rst(data_rst),
      .s_valid(seal_push),
      .s_ready(job_room[1]),
      .s_data({seal_dst_sg, seal_dst_cnt}),
      .m_valid(dst_list_valid),
      .m_ready(dst_list_ready),
      .m_data({dst_list_addr, dst_list_cnt}),
      .count(unused_counts[1*(SLOT_W+1)+:SLOT_W+1])
  );

  ktls_fifo #(
      .WIDTH(LEN_W + 15),
      .LOG2 (SLOT_W)
  ) gather_jobs (
      .clk(clk),
      .rst(data_rst),
      .s_valid(seal_push),
      .s_ready(job_room[2]),
      .s_data({seal_src_len, seal_src_aad}),
      .m_valid(gather_valid),
      .m_ready(gather_ready),
      .m_data({gather_len, gather_cut}),
      .count(unused_counts[2*(SLOT_W+1)+:SLOT_W+1])
  );

  ktls_fifo #(
      .WIDTH(LEN_W),
      .LOG2 (SLOT_W)
  ) scatter_jobs (
      .clk(clk),
      .rst(data_rst),
      .s_valid(seal_push),
      .s_ready(job_room[3]),
      .s_data(seal_out_len),
      .m_valid(scatter_valid),
      .m_ready(scatter_ready),
      .m_data(scatter_len),
      .count(unused_counts[3*(SLOT_W+1)+:SLOT_W+1])
  );

  ktls_fifo #(
      .WIDTH(RECORD_W),
      .LOG2 (SLOT_W)
  ) record_jobs (
      .clk(clk),
      .rst(data_rst),
      .s_valid(seal_push),
      .s_ready(job_room[4]),
      .s_data({
        seal_slot,
        seal_ctx,
        seal_rtype,
        seal_open,
        seal_tls13,
        seal_raw,
        seal_len,
        seal_inner,
        seal_aad_len,
        seal_tag_len,
        seal_salt,
        seal_iv,
        seal_seq
      }),
      .m_valid(rec_valid),
      .m_ready(rec_ready),
      .m_data({
        rec_slot,
        rec_ctx,
        rec_rtype,
        rec_open,
        rec_tls13,
        rec_raw,
        rec_len,
        rec_inner,
        rec_aad_len,
        rec_tag_len,
        rec_salt,
        rec_iv,
        rec_seq
      }),
      .count(unused_counts[4*(SLOT_W+1)+:SLOT_W+1])
  );

  // --------------------------------------------------------------------- gather

  wire src_e_valid;
  wire src_e_ready;
  wire [63:0] src_e_addr;
  wire [31:0] src_e_len;
  wire src_e_last;
  wire src_e_err;

  ktls_sgl #(
      .DATA_W(DATA_W)
  ) src_sgl (
      .clk(clk),
      .rst(data_rst),
      .job_valid(src_list_valid),
      .job_ready(src_list_ready),
      .job_addr(src_list_addr),
      .job_cnt(src_list_cnt),
      .req_valid(rd_req_valid[RD_SRC_LIST]),
      .req_ready(rd_req_ready[RD_SRC_LIST]),
      .req_addr(rd_req_addr[64*RD_SRC_LIST+:64]),
      .req_beats(rd_req_beats[8*RD_SRC_LIST+:8]),
      .rsp_valid(rd_rsp_valid[RD_SRC_LIST]),
      .rsp_data(rd_rsp_data),
      .rsp_err(rd_rsp_err),
      .rsp_last(rd_rsp_last),
      .e_valid(src_e_valid),
      .e_ready(src_e_ready),
      .e_addr(src_e_addr),
      .e_len(src_e_len),
      .e_last(src_e_last),
      .e_err(src_e_err)
  );

  wire blk_valid;
  wire blk_ready;
  wire [DATA_W-1:0] blk_data;
  wire blk_err;
  wire src_done;
  wire src_short;
  wire src_err;

  ktls_gather #(
      .DATA_W(DATA_W)
  ) gather (
      .clk(clk),
      .rst(data_rst),
      .job_valid(gather_valid),
      .job_ready(gather_ready),
      .job_len(gather_len),
      .job_cut(gather_cut),
      .e_valid(src_e_valid),
      .e_ready(src_e_ready),
      .e_addr(src_e_addr),
      .e_len(src_e_len),
      .e_last(src_e_last),
      .e_err(src_e_err),
      .req_valid(rd_req_valid[RD_DATA]),
      .req_ready(rd_req_ready[RD_DATA]),
      .req_addr(rd_req_addr[64*RD_DATA+:64]),
      .req_beats(rd_req_beats[8*RD_DATA+:8]),
      .rsp_valid(rd_rsp_valid[RD_DATA]),
      .rsp_data(rd_rsp_data),
      .rsp_err(rd_rsp_err),
      .m_valid(blk_valid),
      .m_ready(blk_ready),
      .m_data(blk_data),
      .m_err(blk_err),
      .done_valid(src_done),
      .done_short(src_short),
      .done_err(src_err)
  );

  // ------------------------------------------------------------ framing and core

  wire cmd_valid;
  wire cmd_ready;
  wire [CTX_W-1:0] cmd_ctx;
  wire cmd_decrypt;
  wire [95:0] cmd_nonce;
  wire [15:0] cmd_aad_len;
  wire [31:0] cmd_len;
  wire gs_valid;
  wire gs_ready;
  wire [DATA_W-1:0] gs_data;
  wire gm_valid;
  wire gm_ready;
  wire [DATA_W-1:0] gm_data;
  wire gm_tag;
  wire out_valid;
  wire out_ready;
  wire [DATA_W-1:0] out_data;
  wire [$clog2(DATA_W/8):0] out_cnt;
  wire [SLOT_W-1:0] cycles_slot;
  wire [31:0] cycles;
  wire res_valid;
  wire res_ok;
  wire [7:0] res_rtype;
  wire [14:0] res_len;

  ktls_record #(
      .LANES (LANES),
      .CTX_W (CTX_W),
      .SLOT_W(SLOT_W)
  ) record (
      .clk(clk),
      .rst(data_rst),
      .job_valid(rec_valid),
      .job_ready(rec_ready),
      .job_seq(rec_seq),
      .job_iv(rec_iv),
      .job_salt(rec_salt),
      .job_raw(rec_raw),
      .job_len(rec_len),
      .job_inner(rec_inner),
      .job_aad_len(rec_aad_len),
      .job_tag_len(rec_tag_len),
      .job_open(rec_open),
      .job_tls13(rec_tls13),
      .job_rtype(rec_rtype),
      .job_ctx(rec_ctx),
      .job_slot(rec_slot),
      .src_valid(blk_valid),
      .src_ready(blk_ready),
      .src_data(blk_data),
      .src_err(blk_err),
      .cmd_valid(cmd_valid),
      .cmd_ready(cmd_ready),
      .cmd_ctx(cmd_ctx),
      .cmd_decrypt(cmd_decrypt),
      .cmd_nonce(cmd_nonce),
      .cmd_aad_len(cmd_aad_len),
      .cmd_len(cmd_len),
      .s_valid(gs_valid),
      .s_ready(gs_ready),
      .s_data(gs_data),
      .m_valid(gm_valid),
      .m_ready(gm_ready),
      .m_data(gm_data),
      .m_tag(gm_tag),
      .out_valid(out_valid),
      .out_ready(out_ready),
      .out_data(out_data),
      .out_cnt(out_cnt),
      .cycles_slot(cycles_slot),
      .cycles(cycles),
      .res_take(retire),
      .res_valid(res_valid),
      .res_ok(res_ok),
      .res_rtype(res_rtype),
      .res_len(res_len)
  );

  generate
    if (SMALL_CORE == 0) begin : g_fast
      ktls_gcm #(
          .LANES(LANES),
          .CTX_W(CTX_W)
      ) gcm (
          .clk(clk),
          .rst(data_rst),
          .key_valid(key_valid),
          .key_ready(key_ready),
          .key_clear(key_clear),
          .key_ctx(key_ctx),
          .key_256(key_256),
          .key(key),
          .cmd_valid(cmd_valid),
          .cmd_ready(cmd_ready),
          .cmd_ctx(cmd_ctx),
          .cmd_decrypt(cmd_decrypt),
          .cmd_nonce(cmd_nonce),
          .cmd_aad_len(cmd_aad_len),
          .cmd_len(cmd_len),
          .s_valid(gs_valid),
          .s_ready(gs_ready),
          .s_data(gs_data),
          .m_valid(gm_valid),
          .m_ready(gm_ready),
          .m_data(gm_data),
          .m_tag(gm_tag)
      );
    end else begin : g_small
      ktls_gcm_small #(
          .LANES(LANES),
          .CTX_W(CTX_W)
      ) gcm (
          .clk(clk),
          .rst(data_rst),
          .key_valid(key_valid),
          .key_ready(key_ready),
          .key_clear(key_clear),
          .key_ctx(key_ctx),
          .key_256(key_256),
          .key(key),
          .cmd_valid(cmd_valid),
          .cmd_ready(cmd_ready),
          .cmd_ctx(cmd_ctx),
          .cmd_decrypt(cmd_decrypt),
          .cmd_nonce(cmd_nonce),
          .cmd_aad_len(cmd_aad_len),
          .cmd_len(cmd_len),
          .s_valid(gs_valid),
          .s_ready(gs_ready),
          .s_data(gs_data),
          .m_valid(gm_valid),
          .m_ready(gm_ready),
          .m_data(gm_data),
          .m_tag(gm_tag)
      );
    end
  endgenerate

  // -------------------------------------------------------------------- scatter

  wire dst_e_valid;
  wire dst_e_ready;
  wire [63:0] dst_e_addr;
  wire [31:0] dst_e_len;
  wire dst_e_last;
  wire dst_e_err;
  wire dst_done;
  wire dst_short;
  wire dst_err;

  ktls_sgl #(
      .DATA_W(DATA_W)
  ) dst_sgl (
      .clk(clk),
      .rst(data_rst),
      .job_valid(dst_list_valid),
      .job_ready(dst_list_ready),
      .job_addr(dst_list_addr),
      .job_cnt(dst_list_cnt),
      .req_valid(rd_req_valid[RD_DST_LIST]),
      .req_ready(rd_req_ready[RD_DST_LIST]),
      .req_addr(rd_req_addr[64*RD_DST_LIST+:64]),
      .req_beats(rd_req_beats[8*RD_DST_LIST+:8]),
      .rsp_valid(rd_rsp_valid[RD_DST_LIST]),
      .rsp_data(rd_rsp_data),
      .rsp_err(rd_rsp_err),
      .rsp_last(rd_rsp_last),
      .e_valid(dst_e_valid),
      .e_ready(dst_e_ready),
      .e_addr(dst_e_addr),
      .e_len(dst_e_len),
      .e_last(dst_e_last),
      .e_err(dst_e_err)
  );

  ktls_scatter #(
      .DATA_W(DATA_W)
  ) scatter (
      .clk(clk),
      .rst(data_rst),
      .job_valid(scatter_valid),
      .job_ready(scatter_ready),
      .job_len(scatter_len),
      .e_valid(dst_e_valid),
      .e_ready(dst_e_ready),
      .e_addr(dst_e_addr),
      .e_len(dst_e_len),
      .e_last(dst_e_last),
      .e_err(dst_e_err),
      .s_valid(out_valid),
      .s_ready(out_ready),
      .s_data(out_data),
      .s_cnt(out_cnt),
      .req_valid(wr_req_valid[WR_DATA]),
      .req_ready(wr_req_ready[WR_DATA]),
      .req_addr(wr_req_addr[64*WR_DATA+:64]),
      .req_beats(wr_req_beats[8*WR_DATA+:8]),
      .req_mark(wr_req_mark),
      .w_valid(wr_w_valid[WR_DATA]),
      .w_ready(wr_w_ready[WR_DATA]),
      .w_data(wr_w0_data),
      .w_strb(wr_w0_strb),
      .done_valid(dst_done),
      .done_short(dst_short),
      .done_err(dst_err)
  );

  // ---------------------------------------------------------------- completions

  ktls_cq #(
      .RINGS (RINGS),
      .RING_W(RING_W),
      .DATA_W(DATA_W),
      .SLOT_W(SLOT_W)
  ) cq (
      .clk(clk),
      .rst(core_rst),
      .base(cq_base),
      .size_log2(cq_log2),
      .cons(cq_cons),
      .prod(cq_prod),
      .failed(cq_failed),
      .idle(cq_idle),
      .cpl_valid(cpl_valid),
      .cpl_ready(cpl_ready),
      .cpl_ring(cpl_ring),
      .cpl_opcode(cpl_opcode),
      .cpl_cookie(cpl_cookie),
      .cpl_status(cpl_status),
      .cpl_ctx(cpl_ctx),
      .cpl_rtype(cpl_rtype),
      .cpl_rekey(cpl_rekey),
      .cpl_numbered(cpl_numbered),
      .cpl_seq(cpl_seq),
      .cpl_index(cpl_index),
      .cpl_data(cpl_data),
      .cpl_slot(cpl_slot),
      .cpl_len(cpl_len),
      .cpl_out_len(cpl_out_len),
      .cpl_start(cpl_start),
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
      .retire(retire),
      .done(done),
      .done_status(done_status),
      .done_record(done_record),
      .done_len(done_len)
  );

endmodule

`resetall
