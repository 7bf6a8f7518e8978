// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the data path: everything that moves or changes the bytes of a record.
//
//    job_* -+-> src_lists --> src_sgl --+
//           +-> gather_jobs ------------+-> gather --> record <--> core
//           +-> record_jobs ------------------------------^ |
//           +-> scatter_jobs -----------+-> scatter <-------+
//           +-> dst_lists --> dst_sgl --+
//
// Interface: job_* takes a job (layout: ktls_job.vh) when all five queues have room. key_* goes
//   to the core. rd_* are three clients of ktls_dma_rd, most urgent first: destination list,
//   source list, source. They request only what they can store, so responses never stall.
//   wr_* and w_* are a client of ktls_dma_wr. src_done and dst_done report once per job, in the
//   order of the jobs. cycles and res_* belong to the job in slot cycles_slot (ktls_record).
// Latency/throughput: one word of LANES blocks per cycle. Up to 2^SLOT_W jobs are under way,
//   each unit at a job of its own: gather reads ahead while the core works on earlier records.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_data #(
    // blocks per cycle
    parameter LANES = 1,
    // width of a context number
    parameter CTX_W = 6,
    // log2 of the jobs that may be under way
    parameter SLOT_W = 3,
    // log2 of the beats of source that may be requested or wait
    parameter BUFFER_LOG2 = 7,
    // width of a job: JOB_BITS of ktls_job.vh
    parameter JOB_W = 441,
    // 0: ktls_gcm, 1: ktls_gcm_small
    parameter SMALL_CORE = 0
) (
    input  wire                 clk,
    input  wire                 rst,
    // clear what depends on keys; `clean` when no text or IV of a finished record is left
    input  wire                 wipe,
    output wire                 clean,
    // keys
    input  wire                 key_valid,
    output wire                 key_ready,
    input  wire                 key_clear,
    input  wire [    CTX_W-1:0] key_ctx,
    input  wire                 key_256,
    input  wire [        255:0] key,
    // jobs
    input  wire                 job_valid,
    output wire                 job_ready,
    input  wire [    JOB_W-1:0] job_data,
    // reads
    output wire [          2:0] rd_req_valid,
    input  wire [          2:0] rd_req_ready,
    output wire [     3*64-1:0] rd_req_addr,
    output wire [      3*8-1:0] rd_req_beats,
    input  wire [          2:0] rd_rsp_valid,
    input  wire [128*LANES-1:0] rd_rsp_data,
    input  wire                 rd_rsp_err,
    input  wire                 rd_rsp_last,
    // writes
    output wire                 wr_valid,
    input  wire                 wr_ready,
    output wire [         63:0] wr_addr,
    output wire [          7:0] wr_beats,
    output wire                 wr_mark,
    output wire                 w_valid,
    input  wire                 w_ready,
    output wire [128*LANES-1:0] w_data,
    output wire [ 16*LANES-1:0] w_strb,
    // reports
    output wire                 src_done,
    output wire                 src_short,
    output wire                 src_err,
    output wire                 dst_done,
    output wire                 dst_short,
    output wire                 dst_err,
    input  wire [   SLOT_W-1:0] cycles_slot,
    output wire [         31:0] cycles,
    input  wire                 res_take,
    output wire                 res_valid,
    output wire                 res_ok,
    output wire [          7:0] res_rtype,
    output wire [         14:0] res_len
);

  `include "ktls_job.vh"

  localparam DATA_W = 128 * LANES;

  // read clients
  localparam RD_DST_LIST = 0;
  localparam RD_SRC_LIST = 1;
  localparam RD_DATA = 2;

  generate
    if (JOB_W != JOB_BITS) begin : g_illegal_job
      ktls_data_JOB_W_must_be_JOB_BITS illegal_parameter ();
    end
  endgenerate

  // ------------------------------------------------------------------ queues of jobs
  //
  // Each unit has a queue for its part of the job. A queue is as deep as jobs may be under way.

  wire [4:0] job_room;
  wire [4*(SLOT_W+1)-1:0] unused_counts;
  wire [SLOT_W:0] record_count;
  wire gather_clean;
  wire record_clean;
  wire job_push = job_valid && job_ready;

  assign job_ready = &job_room;
  assign clean = record_count == 0 && gather_clean && record_clean;

  wire src_list_valid;
  wire src_list_ready;
  wire src_list_direct;
  wire [63:0] src_list_addr;
  wire [15:0] src_list_cnt;

  ktls_fifo #(
      .WIDTH(JOB_LIST_W),
      .LOG2 (SLOT_W)
  ) src_lists (
      .clk(clk),
      .rst(rst),
      .s_valid(job_push),
      .s_ready(job_room[0]),
      .s_data(job_data[JOB_SRC_LIST_LSB+:JOB_LIST_W]),
      .m_valid(src_list_valid),
      .m_ready(src_list_ready),
      .m_data({src_list_direct, src_list_addr, src_list_cnt}),
      .count(unused_counts[0*(SLOT_W+1)+:SLOT_W+1])
  );

  wire dst_list_valid;
  wire dst_list_ready;
  wire dst_list_direct;
  wire [63:0] dst_list_addr;
  wire [15:0] dst_list_cnt;

  ktls_fifo #(
      .WIDTH(JOB_LIST_W),
      .LOG2 (SLOT_W)
  ) dst_lists (
      .clk(clk),
      .rst(rst),
      .s_valid(job_push),
      .s_ready(job_room[1]),
      .s_data(job_data[JOB_DST_LIST_LSB+:JOB_LIST_W]),
      .m_valid(dst_list_valid),
      .m_ready(dst_list_ready),
      .m_data({dst_list_direct, dst_list_addr, dst_list_cnt}),
      .count(unused_counts[1*(SLOT_W+1)+:SLOT_W+1])
  );

  wire gather_valid;
  wire gather_ready;
  wire [16:0] gather_len;
  wire [14:0] gather_cut;

  ktls_fifo #(
      .WIDTH(JOB_SRC_LEN_W + JOB_CUT_W),
      .LOG2 (SLOT_W)
  ) gather_jobs (
      .clk(clk),
      .rst(rst),
      .s_valid(job_push),
      .s_ready(job_room[2]),
      .s_data(job_data[JOB_CUT_LSB+:JOB_SRC_LEN_W+JOB_CUT_W]),
      .m_valid(gather_valid),
      .m_ready(gather_ready),
      .m_data({gather_len, gather_cut}),
      .count(unused_counts[2*(SLOT_W+1)+:SLOT_W+1])
  );

  wire scatter_valid;
  wire scatter_ready;
  wire [16:0] scatter_len;

  ktls_fifo #(
      .WIDTH(JOB_DST_LEN_W),
      .LOG2 (SLOT_W)
  ) scatter_jobs (
      .clk(clk),
      .rst(rst),
      .s_valid(job_push),
      .s_ready(job_room[3]),
      .s_data(job_data[JOB_DST_LEN_LSB+:JOB_DST_LEN_W]),
      .m_valid(scatter_valid),
      .m_ready(scatter_ready),
      .m_data(scatter_len),
      .count(unused_counts[3*(SLOT_W+1)+:SLOT_W+1])
  );

  wire record_valid;
  wire record_ready;
  wire [JOB_RECORD_W-1:0] record_job;

  ktls_fifo #(
      .WIDTH(JOB_RECORD_W),
      .LOG2 (SLOT_W),
      .WIPE (1)
  ) record_jobs (
      .clk(clk),
      .rst(rst),
      .s_valid(job_push),
      .s_ready(job_room[4]),
      .s_data(job_data[JOB_RECORD_W-1:0]),
      .m_valid(record_valid),
      .m_ready(record_ready),
      .m_data(record_job),
      .count(record_count)
  );

  // -------------------------------------------------------------------------- source

  wire src_e_valid;
  wire src_e_ready;
  wire [63:0] src_e_addr;
  wire [31:0] src_e_len;
  wire src_e_last;
  wire src_e_err;

  ktls_sgl #(
      .DATA_W(DATA_W),
      .LISTS_LOG2(SLOT_W)
  ) src_sgl (
      .clk(clk),
      .rst(rst),
      .job_valid(src_list_valid),
      .job_ready(src_list_ready),
      .job_direct(src_list_direct),
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

  wire word_valid;
  wire word_ready;
  wire [DATA_W-1:0] word_data;
  wire word_err;

  ktls_gather #(
      .DATA_W(DATA_W),
      .BUF_LOG2(BUFFER_LOG2),
      // a record has at least one burst and an end
      .CHUNKS_LOG2(SLOT_W + 1)
  ) gather (
      .clk(clk),
      .rst(rst),
      .clean(gather_clean),
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
      .m_valid(word_valid),
      .m_ready(word_ready),
      .m_data(word_data),
      .m_err(word_err),
      .done_valid(src_done),
      .done_short(src_short),
      .done_err(src_err)
  );

  // ---------------------------------------------------------------- framing and core

  wire cmd_valid;
  wire cmd_ready;
  wire [CTX_W-1:0] cmd_ctx;
  wire cmd_decrypt;
  wire [95:0] cmd_nonce;
  wire [15:0] cmd_aad_len;
  wire [31:0] cmd_len;
  wire core_in_valid;
  wire core_in_ready;
  wire [DATA_W-1:0] core_in_data;
  wire core_out_valid;
  wire core_out_ready;
  wire [DATA_W-1:0] core_out_data;
  wire core_out_tag;
  wire piece_valid;
  wire piece_ready;
  wire [DATA_W-1:0] piece_data;
  wire [$clog2(DATA_W/8):0] piece_cnt;

  ktls_record #(
      .LANES (LANES),
      .CTX_W (CTX_W),
      .SLOT_W(SLOT_W),
      .JOB_W (JOB_RECORD_W)
  ) record (
      .clk(clk),
      .rst(rst),
      .wipe(wipe),
      .clean(record_clean),
      .job_valid(record_valid),
      .job_ready(record_ready),
      .job_data(record_job),
      .src_valid(word_valid),
      .src_ready(word_ready),
      .src_data(word_data),
      .src_err(word_err),
      .cmd_valid(cmd_valid),
      .cmd_ready(cmd_ready),
      .cmd_ctx(cmd_ctx),
      .cmd_decrypt(cmd_decrypt),
      .cmd_nonce(cmd_nonce),
      .cmd_aad_len(cmd_aad_len),
      .cmd_len(cmd_len),
      .s_valid(core_in_valid),
      .s_ready(core_in_ready),
      .s_data(core_in_data),
      .m_valid(core_out_valid),
      .m_ready(core_out_ready),
      .m_data(core_out_data),
      .m_tag(core_out_tag),
      .out_valid(piece_valid),
      .out_ready(piece_ready),
      .out_data(piece_data),
      .out_cnt(piece_cnt),
      .cycles_slot(cycles_slot),
      .cycles(cycles),
      .res_take(res_take),
      .res_valid(res_valid),
      .res_ok(res_ok),
      .res_rtype(res_rtype),
      .res_len(res_len)
  );

  ktls_core #(
      .LANES(LANES),
      .CTX_W(CTX_W),
      .SMALL_CORE(SMALL_CORE)
  ) core (
      .clk(clk),
      .rst(rst),
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
      .s_valid(core_in_valid),
      .s_ready(core_in_ready),
      .s_data(core_in_data),
      .m_valid(core_out_valid),
      .m_ready(core_out_ready),
      .m_data(core_out_data),
      .m_tag(core_out_tag)
  );

  // --------------------------------------------------------------------- destination

  wire dst_e_valid;
  wire dst_e_ready;
  wire [63:0] dst_e_addr;
  wire [31:0] dst_e_len;
  wire dst_e_last;
  wire dst_e_err;

  ktls_sgl #(
      .DATA_W(DATA_W),
      .LISTS_LOG2(SLOT_W)
  ) dst_sgl (
      .clk(clk),
      .rst(rst),
      .job_valid(dst_list_valid),
      .job_ready(dst_list_ready),
      .job_direct(dst_list_direct),
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
      .rst(rst),
      .job_valid(scatter_valid),
      .job_ready(scatter_ready),
      .job_len(scatter_len),
      .e_valid(dst_e_valid),
      .e_ready(dst_e_ready),
      .e_addr(dst_e_addr),
      .e_len(dst_e_len),
      .e_last(dst_e_last),
      .e_err(dst_e_err),
      .s_valid(piece_valid),
      .s_ready(piece_ready),
      .s_data(piece_data),
      .s_cnt(piece_cnt),
      .req_valid(wr_valid),
      .req_ready(wr_ready),
      .req_addr(wr_addr),
      .req_beats(wr_beats),
      .req_mark(wr_mark),
      .w_valid(w_valid),
      .w_ready(w_ready),
      .w_data(w_data),
      .w_strb(w_strb),
      .done_valid(dst_done),
      .done_short(dst_short),
      .done_err(dst_err)
  );

endmodule

`resetall
