// SPDX-License-Identifier: Apache-2.0
//
// Purpose: read the source of a record, any number of buffers at any alignment, as one stream of
//   full words of the data bus.
// Interface: job_* and e_* are those of ktls_plan. m_* delivers the words in order; its consumer
//   may stall. The last word of a record is zero-padded; an empty record produces no word. The
//   first job_cut bytes (a multiple of 16) have words of their own; the bytes after them in the
//   last of these words are undefined. Bytes that the list does not hold are zeros.
//   m_err marks the first word with wrong bytes (a read error, or the list is too short) and
//   all later words of the record. It may also mark up to two good words that wait before it.
//   done_* pulses once per record.
//   req_* requests only beats that have room in the read buffer, so rsp_* never stalls.
// Latency/throughput: one beat per cycle. The read buffer hides the latency of memory.
// Data format: byte 0 of a word is bits [7:0].
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_gather #(
    // bits of the data bus
    parameter DATA_W = 128,
    // log2 of the beats of the read buffer
    parameter BUF_LOG2 = 7,
    // log2 of the bursts and ends of records that wait for their beats
    parameter CHUNKS_LOG2 = 4
) (
    input  wire              clk,
    input  wire              rst,
    // no text of a finished record is left
    output wire              clean,
    // records
    input  wire              job_valid,
    output wire              job_ready,
    input  wire [      16:0] job_len,
    input  wire [      14:0] job_cut,
    // entries of their lists
    input  wire              e_valid,
    output wire              e_ready,
    input  wire [      63:0] e_addr,
    input  wire [      31:0] e_len,
    input  wire              e_last,
    input  wire              e_err,
    // reads
    output wire              req_valid,
    input  wire              req_ready,
    output wire [      63:0] req_addr,
    output wire [       7:0] req_beats,
    input  wire              rsp_valid,
    input  wire [DATA_W-1:0] rsp_data,
    input  wire              rsp_err,
    // words
    output wire              m_valid,
    input  wire              m_ready,
    output wire [DATA_W-1:0] m_data,
    output wire              m_err,
    // end of a record
    output wire              done_valid,
    output wire              done_short,
    output wire              done_err
);

  localparam KIND_DATA = 2'd0;
  localparam KIND_MISSING = 2'd1;
  localparam KIND_END = 2'd2;

  localparam BEAT = DATA_W / 8;
  localparam BEAT_LOG2 = $clog2(BEAT);
  localparam CHUNK_W = 2 + 4 + BEAT_LOG2 + BEAT_LOG2 + 1 + 2;

  // ------------------------------------------------------------ plan the reads

  wire plan_req_valid;
  wire plan_req_ready;
  wire p_valid;
  wire p_ready;
  wire [1:0] p_kind;
  wire [3:0] p_beats;
  wire [BEAT_LOG2-1:0] p_off;
  wire [BEAT_LOG2:0] p_stop;
  wire p_short;
  wire p_err;
  wire unused_at_end;

  reg [BUF_LOG2:0] held;  // beats that are stored or requested: the credits of the read buffer
  // A burst has at most 16 beats. Its exact length would lengthen the path to the request.
  wire room = held <= (1 << BUF_LOG2) - 16;

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
      .req_addr(req_addr),
      .req_beats(req_beats),
      .c_valid(p_valid),
      .c_ready(p_ready),
      .c_kind(p_kind),
      .c_beats(p_beats),
      .c_off(p_off),
      .c_stop(p_stop),
      .c_short(p_short),
      .c_err(p_err),
      .at_end(unused_at_end),
      .end_ready(p_ready)
  );

  assign req_valid = plan_req_valid && room;
  assign plan_req_ready = req_ready && room;

  wire c_valid;
  wire c_ready;
  wire [1:0] c_kind;
  wire [3:0] c_beats;
  wire [BEAT_LOG2-1:0] c_off;
  wire [BEAT_LOG2:0] c_stop;
  wire c_short;
  wire c_err;
  wire [CHUNKS_LOG2:0] unused_chunks;

  ktls_fifo #(
      .WIDTH(CHUNK_W),
      .LOG2 (CHUNKS_LOG2)
  ) chunks (
      .clk(clk),
      .rst(rst),
      .s_valid(p_valid),
      .s_ready(p_ready),
      .s_data({p_kind, p_beats, p_off, p_stop, p_short, p_err}),
      .m_valid(c_valid),
      .m_ready(c_ready),
      .m_data({c_kind, c_beats, c_off, c_stop, c_short, c_err}),
      .count(unused_chunks)
  );

  // --------------------------------------------------------------- read buffer
  //
  // Requests and chunks leave ktls_plan together, so the beats in this buffer and the chunks
  // above are in the same order.

  wire b_valid;
  wire b_ready;
  wire [DATA_W-1:0] b_data;
  wire b_err;
  wire unused_ready;
  wire [BUF_LOG2:0] b_count;

  assign clean = b_count == 0;

  ktls_fifo #(
      .WIDTH (DATA_W + 1),
      .LOG2  (BUF_LOG2),
      .CREDIT(1),
      .WIPE  (1)
  ) buffer (
      .clk(clk),
      .rst(rst),
      .s_valid(rsp_valid),
      .s_ready(unused_ready),
      .s_data({rsp_err, rsp_data}),
      .m_valid(b_valid),
      .m_ready(b_ready),
      .m_data({b_err, b_data}),
      .count(b_count)
  );

  wire sent = req_valid && req_ready;
  wire [BUF_LOG2:0] asked = {{BUF_LOG2 - 3{1'b0}}, req_beats[3:0]} + 1'b1;
  wire pop_beat = b_valid && b_ready;

  always @(posedge clk) begin
    if (sent || pop_beat) begin
      held <= held + (sent ? asked : {BUF_LOG2 + 1{1'b0}}) - {{BUF_LOG2{1'b0}}, pop_beat};
    end
    if (rst) held <= 0;
  end

  // ------------------------------------------------- beats to bytes to words
  //
  // Each step moves n bytes: those of one beat of the chunk at the head, or as many zeros.
  // ktls_bytes joins them. An END chunk waits until all words of its record have left, so records
  // never share a word. A step is prepared one cycle ahead, while its beat is on its way.

  reg [3:0] beat;  // number of the next beat of the chunk at the head
  wire first_beat = beat == 4'd0;
  wire last_beat = beat == c_beats || c_kind == KIND_END;
  wire [BEAT_LOG2-1:0] next_off = first_beat ? c_off : {BEAT_LOG2{1'b0}};
  wire [BEAT_LOG2:0] next_stop = last_beat ? c_stop : BEAT[BEAT_LOG2:0];

  // the step, by the kind of its chunk: at most one of these
  reg is_data;
  reg is_missing;
  reg ending;
  reg [BEAT_LOG2-1:0] off;  // the first byte of the beat
  reg [BEAT_LOG2:0] n;
  reg short;
  reg list_err;

  reg bad;  // the record has wrong bytes

  wire push_ready;
  wire push_valid = (is_data && b_valid) || is_missing;
  wire pushed = push_valid && push_ready;

  wire [BEAT_LOG2+1:0] avail;
  wire [BEAT_LOG2:0] most;  // bytes of the next word, unless the record ends before
  wire full = avail >= {1'b0, most};
  wire step_ready = pushed || done_valid || !(is_data || is_missing || ending);
  wire stepping = step_ready && (c_valid || pushed || done_valid);

  assign b_ready = is_data && push_ready;
  assign c_ready = step_ready && last_beat;

  always @(posedge clk) begin
    if (stepping) begin
      is_data    <= c_valid && c_kind == KIND_DATA;
      is_missing <= c_valid && c_kind == KIND_MISSING;
      ending     <= c_valid && c_kind == KIND_END;
      if (c_valid) begin
        beat     <= last_beat ? 4'd0 : beat + 4'd1;
        off      <= next_off;
        n        <= next_stop - {1'b0, next_off};
        short    <= c_short;
        list_err <= c_err;
      end
    end
    if (rst) begin
      is_data <= 1'b0;
      is_missing <= 1'b0;
      ending <= 1'b0;
      beat <= 4'd0;
    end
  end

  wire [BEAT_LOG2:0] whole = full ? most : avail[BEAT_LOG2:0];
  wire [BEAT_LOG2:0] pop_cnt = (m_valid && m_ready) ? whole : {BEAT_LOG2 + 1{1'b0}};

  assign m_valid = full || (ending && avail != 0);
  assign m_err   = bad || (ending && list_err);

  generate
    if (DATA_W == 128) begin : g_cut
      assign most = BEAT[BEAT_LOG2:0];  // a cut is always between words of 16 bytes
      wire unused_cut = &{1'b0, job_cut};
    end else begin : g_cut
      // ktls_plan is ahead of the bytes by several records, so the cuts wait in a queue.
      // ktls_plan accepts no more records than the queue holds: each has an END chunk.
      wire [14:0] next;
      wire unused_next;
      wire unused_room;
      wire [CHUNKS_LOG2+1:0] unused_cuts;
      reg begun_cut;  // this record has given words
      reg [14:0] rest_of_cut;
      wire [14:0] cut = begun_cut ? rest_of_cut : next;

      ktls_fifo #(
          .WIDTH (15),
          .LOG2  (CHUNKS_LOG2 + 1),
          .CREDIT(1)
      ) cuts (
          .clk(clk),
          .rst(rst),
          .s_valid(job_valid && job_ready),
          .s_ready(unused_room),
          .s_data(job_cut),
          .m_valid(unused_next),
          .m_ready(done_valid),
          .m_data(next),
          .count(unused_cuts)
      );

      assign most = cut != 0 && cut < BEAT[14:0] ? cut[BEAT_LOG2:0] : BEAT[BEAT_LOG2:0];

      always @(posedge clk) begin
        if (m_valid && m_ready) begin
          begun_cut   <= 1'b1;
          rest_of_cut <= cut != 0 ? cut - {{14 - BEAT_LOG2{1'b0}}, whole} : 15'd0;
        end
        if (done_valid || rst) begun_cut <= 1'b0;
      end
    end
  endgenerate

  ktls_bytes #(
      .W_LOG2(BEAT_LOG2),
      .PACK  (1)
  ) bytes (
      .clk(clk),
      .rst(rst),
      .off(off),
      .push_valid(push_valid),
      .push_ready(push_ready),
      .push_data(b_data),
      .push_cnt(n),
      .push_zero(is_missing),
      .avail(avail),
      .data(m_data),
      .pop_cnt(pop_cnt)
  );

  reg bus_err;

  assign done_valid = ending && avail == 0;
  assign done_short = short;
  assign done_err   = list_err || bus_err;

  always @(posedge clk) begin
    if (pushed) begin
      if (is_missing || b_err) begin
        bad <= 1'b1;
        if (is_data && b_err) bus_err <= 1'b1;
      end
    end
    if (done_valid) begin
      bad <= 1'b0;
      bus_err <= 1'b0;
    end
    if (rst) begin
      bad <= 1'b0;
      bus_err <= 1'b0;
    end
  end

endmodule

`resetall
