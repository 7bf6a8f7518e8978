// SPDX-License-Identifier: Apache-2.0
//
// Purpose: write the bytes of a result to any number of buffers at any alignment.
// Interface: job_* (bytes of the result) and e_* are those of ktls_plan. s_* takes pieces of 0
//   to DATA_W / 8 bytes. req_* and w_* are a client of ktls_dma_wr: bursts, then their beats.
//   After the last burst of a job one mark follows, also for a job that wrote nothing. Bytes
//   for which the list has no room are dropped. done_* pulses once per job, before its writes
//   are answered. Any side may stall.
// Latency/throughput: one beat per cycle.
// Data format: byte 0 of a piece is bits [7:0].
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_scatter #(
    // bits of the data bus
    parameter DATA_W = 128
) (
    input  wire                      clk,
    input  wire                      rst,
    // jobs
    input  wire                      job_valid,
    output wire                      job_ready,
    input  wire [              16:0] job_len,
    // entries of their lists
    input  wire                      e_valid,
    output wire                      e_ready,
    input  wire [              63:0] e_addr,
    input  wire [              31:0] e_len,
    input  wire                      e_last,
    input  wire                      e_err,
    // bytes
    input  wire                      s_valid,
    output wire                      s_ready,
    input  wire [        DATA_W-1:0] s_data,
    input  wire [$clog2(DATA_W/8):0] s_cnt,
    // writes
    output wire                      req_valid,
    input  wire                      req_ready,
    output wire [              63:0] req_addr,
    output wire [               7:0] req_beats,
    output wire                      req_mark,
    output wire                      w_valid,
    input  wire                      w_ready,
    output wire [        DATA_W-1:0] w_data,
    output wire [      DATA_W/8-1:0] w_strb,
    // end of a job
    output wire                      done_valid,
    output wire                      done_short,
    output wire                      done_err
);

  localparam KIND_MISSING = 2'd1;

  localparam BEAT = DATA_W / 8;
  localparam BEAT_LOG2 = $clog2(BEAT);
  localparam CHUNK_W = 2 + 4 + BEAT_LOG2 + BEAT_LOG2 + 1;

  // ----------------------------------------------------------- plan the writes

  wire plan_req_valid;
  wire plan_req_ready;
  wire p_valid;
  wire [1:0] p_kind;
  wire [3:0] p_beats;
  wire [BEAT_LOG2-1:0] p_off;
  wire [BEAT_LOG2:0] p_stop;
  wire p_short;
  wire p_err;
  wire at_end;
  wire [63:0] plan_addr;
  wire [7:0] plan_beats;
  wire chunk_ready;
  wire q_ready;

  ktls_plan #(
      .DATA_W(DATA_W)
  ) plan (
      .clk(clk),
      .rst(rst),
      .job_valid(job_valid),
      .job_ready(job_ready),
      .job_len(job_len),
      .e_valid(e_valid),
      .e_ready(e_ready),
      .e_addr(e_addr),
      .e_len(e_len),
      .e_last(e_last),
      .e_err(e_err),
      .req_valid(plan_req_valid),
      .req_ready(plan_req_ready),
      .req_addr(plan_addr),
      .req_beats(plan_beats),
      .c_valid(p_valid),
      .c_ready(chunk_ready),
      .c_kind(p_kind),
      .c_beats(p_beats),
      .c_off(p_off),
      .c_stop(p_stop),
      .c_short(p_short),
      .c_err(p_err),
      .at_end(at_end),
      .end_ready(q_ready)
  );

  // The end of a job becomes a mark after its bursts and needs no chunk. Requests wait in a queue,
  // so that the chunk of a burst has left its own queue when the burst is granted.
  wire [2:0] unused_requests;

  ktls_fifo #(
      .WIDTH(1 + 64 + 8),
      .LOG2 (2)
  ) requests (
      .clk(clk),
      .rst(rst),
      .s_valid(plan_req_valid || at_end),
      .s_ready(q_ready),
      .s_data({at_end, plan_addr, plan_beats}),
      .m_valid(req_valid),
      .m_ready(req_ready),
      .m_data({req_mark, req_addr, req_beats}),
      .count(unused_requests)
  );

  assign plan_req_ready = q_ready && !at_end;

  assign done_valid = at_end && q_ready;
  assign done_short = p_short;
  assign done_err = p_err;

  wire c_valid;
  wire c_ready;
  wire [1:0] c_kind;
  wire [3:0] c_beats;
  wire [BEAT_LOG2-1:0] c_off;
  wire [BEAT_LOG2:0] c_stop;
  wire [4:0] unused_chunks;

  ktls_fifo #(
      .WIDTH(CHUNK_W),
      .LOG2 (4)
  ) chunks (
      .clk(clk),
      .rst(rst),
      .s_valid(p_valid && !at_end),
      .s_ready(chunk_ready),
      .s_data({p_kind, p_beats, p_off, p_stop}),
      .m_valid(c_valid),
      .m_ready(c_ready),
      .m_data({c_kind, c_beats, c_off, c_stop}),
      .count(unused_chunks)
  );

  // --------------------------------------------------------- bytes to beats
  //
  // Each step takes n bytes out of ktls_bytes: those of one beat of the chunk at the head, or
  // as many bytes of a MISSING chunk, which are dropped. A step waits until all its bytes are
  // there, so every beat but the first and the last of a chunk is full. A step is prepared one
  // cycle ahead, usually long before its bytes come.

  reg [3:0] beat;  // number of the next beat of the chunk at the head
  wire first_beat = beat == 4'd0;
  wire last_beat = beat == c_beats;
  wire [BEAT_LOG2-1:0] next_off = first_beat ? c_off : {BEAT_LOG2{1'b0}};
  wire [BEAT_LOG2:0] next_stop = last_beat ? c_stop : BEAT[BEAT_LOG2:0];

  reg step_valid;
  reg dropping;
  reg [BEAT_LOG2-1:0] off;  // the first byte of the beat
  reg [BEAT_LOG2:0] stop;  // the end of its bytes
  reg [BEAT_LOG2:0] n;

  wire [BEAT_LOG2+1:0] avail;
  wire enough = step_valid && avail >= {1'b0, n};
  wire move = enough && (dropping || w_ready);
  wire step_ready = move || !step_valid;
  wire [BEAT-1:0] ones = ~{BEAT{1'b0}};

  assign w_valid = enough && !dropping;
  assign w_strb  = (ones << off) & ~(ones << stop);
  assign c_ready = step_ready && last_beat;

  ktls_bytes #(
      .W_LOG2(BEAT_LOG2),
      .PACK  (0)
  ) bytes (
      .clk(clk),
      .rst(rst),
      .off(off),
      .push_valid(s_valid),
      .push_ready(s_ready),
      .push_data(s_data),
      .push_cnt(s_cnt),
      .push_zero(1'b0),
      .avail(avail),
      .data(w_data),
      .pop_cnt(move ? n : {BEAT_LOG2 + 1{1'b0}})
  );

  always @(posedge clk) begin
    if (step_ready && (c_valid || step_valid)) begin
      step_valid <= c_valid;
      if (c_valid) begin
        beat     <= last_beat ? 4'd0 : beat + 4'd1;
        dropping <= c_kind == KIND_MISSING;
        off      <= next_off;
        stop     <= next_stop;
        n        <= next_stop - {1'b0, next_off};
      end
    end
    if (rst) begin
      step_valid <= 1'b0;
      beat <= 4'd0;
    end
  end

endmodule

`resetall
