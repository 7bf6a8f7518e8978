// SPDX-License-Identifier: Apache-2.0
//
// Purpose: TLS record framing around the GCM core: nonce and additional data in
//   front of it, header, explicit nonce, ciphertext and tag behind it.
// Interface: job_* announces a record; src_* are the words of its plaintext (ktls_gather);
//   cmd_*, s_* and m_* are the core; a word has LANES blocks of 16 bytes; out_* are pieces of the finished record. A
//   record whose source has an error (src_err) is finished with zeros instead of
//   ciphertext and tag from there on: no keystream and no authentic record of
//   wrong bytes leaves. `cycles` answers for slot `cycles_slot` how long that
//   record held the engine.
//   An opened record (job_open) has ciphertext and tag as its source and its text as
//   its result, which ktls_release holds until the tag has been compared.
//   In TLS 1.3 (job_tls13) the record type and any padding go behind the text, in its
//   last word and in words of their own, up to job_inner bytes.
//   Plain AES-GCM (job_raw) has its additional data in front of the text in the source,
//   a tag of job_tag_len bytes, and no header.
// Latency/throughput: no cycle of its own between records: n + 2 cycles for n words
//   given to the core.
// Data format: the core's words have byte 0 on the left, words on buses in [7:0].
// Source: RFC 5246 section 6.2.3.3, RFC 5288 section 3: nonce = salt || explicit,
//   AAD = seq_num || type || version || length, record = header || explicit ||
//   ciphertext || tag. RFC 8446 sections 5.2 and 5.3: nonce = (salt || iv) xor
//   number, AAD = header, header of type 23, text || type.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_record #(
    // 16-byte blocks per cycle
    parameter LANES  = 1,
    // width of a context number
    parameter CTX_W  = 6,
    // log2 of the records that may be under way
    parameter SLOT_W = 3
) (
    input  wire                      clk,
    input  wire                      rst,
    // records
    input  wire                      job_valid,
    output wire                      job_ready,
    input  wire [        SLOT_W-1:0] job_slot,
    input  wire [         CTX_W-1:0] job_ctx,
    input  wire [               7:0] job_rtype,
    input  wire                      job_open,
    input  wire                      job_tls13,
    input  wire                      job_raw,
    input  wire [              14:0] job_len,
    input  wire [              14:0] job_inner,
    input  wire [              14:0] job_aad_len,
    input  wire [               4:0] job_tag_len,
    input  wire [              31:0] job_salt,
    input  wire [              63:0] job_iv,
    input  wire [              63:0] job_seq,
    // plaintext
    input  wire                      src_valid,
    output wire                      src_ready,
    input  wire [     128*LANES-1:0] src_data,
    input  wire                      src_err,
    // core
    output wire                      cmd_valid,
    input  wire                      cmd_ready,
    output wire [         CTX_W-1:0] cmd_ctx,
    output wire                      cmd_decrypt,
    output wire [              95:0] cmd_nonce,
    output wire [              15:0] cmd_aad_len,
    output wire [              31:0] cmd_len,
    output wire                      s_valid,
    input  wire                      s_ready,
    output reg  [     128*LANES-1:0] s_data,
    input  wire                      m_valid,
    output wire                      m_ready,
    input  wire [     128*LANES-1:0] m_data,
    input  wire                      m_tag,
    // record
    output wire                      out_valid,
    input  wire                      out_ready,
    output wire [     128*LANES-1:0] out_data,
    output wire [$clog2(16*LANES):0] out_cnt,
    // figures and, for opened records, what they were
    input  wire [        SLOT_W-1:0] cycles_slot,
    output wire [              31:0] cycles,
    input  wire                      res_take,
    output wire                      res_valid,
    output wire                      res_ok,
    output wire [               7:0] res_rtype,
    output wire [              14:0] res_len
);

  localparam APPLICATION_DATA = 8'd23;
  localparam WIRE_VERSION = 16'h0303;
  localparam EXTRA_1_2 = 16'd24;  // explicit nonce and tag
  localparam TAG = 16'd16;
  localparam DATA_W = 128 * LANES;
  localparam WORD = 16 * LANES;  // bytes
  localparam WORD_LOG2 = $clog2(WORD);
  localparam COUNT_W = 15 - WORD_LOG2;  // of words of a record

  function [COUNT_W-1:0] words(input [14:0] bytes);
    words = bytes[14:WORD_LOG2] + {{COUNT_W - 1{1'b0}}, |bytes[WORD_LOG2-1:0]};
  endfunction

  // ----------------------------------------------- in front of the core

  reg in_busy;
  reg cmd_sent;
  reg [SLOT_W-1:0] slot;
  reg [CTX_W-1:0] ctx;
  reg [7:0] rtype;
  reg opening;
  reg tls13;
  reg tail;  // a word that begins with the inner type follows the text
  reg raw;
  reg [14:0] len;
  reg [14:0] inner;  // with type and padding
  reg [14:0] aad_len;
  reg [4:0] tag_len;
  reg [31:0] salt;
  reg [63:0] iv;
  reg [63:0] seq;
  reg [COUNT_W-1:0] aad_left;  // words of additional data
  reg [COUNT_W-1:0] text_left;  // words of text from the source
  reg [COUNT_W-1:0] inner_left;  // words of text for the core
  reg [31:0] count;

  reg [31:0] cycle_mem[0:(1<<SLOT_W)-1];
  reg [(1<<SLOT_W)-1:0] poison;

  wire o_ready;
  wire aad_phase = in_busy && cmd_sent && aad_left != 0;
  wire in_text = in_busy && cmd_sent && aad_left == 0;
  wire text_over = text_left == 0;
  wire inner_over = inner_left == 0;
  wire text_phase = in_text && !text_over;
  // type and padding behind the text, in words of their own
  wire made_phase = in_text && text_over && !inner_over;
  // the source of an opened record holds its tag behind the ciphertext, often with the
  // end of it in a word of its own
  wire tag_phase = in_text && opening && text_over;
  wire [WORD_LOG2-1:0] end_at = len[WORD_LOG2-1:0];  // bytes of text in its last word, 0: all
  wire [WORD_LOG2:0] tag_end = {1'b0, end_at} + {{WORD_LOG2 - 4{1'b0}}, tag_len};
  wire tag_word = end_at == 0 || tag_end > WORD[WORD_LOG2:0];
  wire received = tag_phase && (src_valid || !tag_word);
  wire in_last = in_text && (opening ? received :
                             inner_over || (inner_left == 1 && s_valid && s_ready));
  wire in_free = !in_busy || in_last;

  assign job_ready = in_free && o_ready;

  assign cmd_valid = in_busy && !cmd_sent;
  assign cmd_ctx = ctx;
  assign cmd_nonce = {salt, tls13 ? iv ^ seq : iv};
  assign cmd_aad_len = raw ? {1'b0, aad_len} : tls13 ? 16'd5 : 16'd13;
  assign cmd_decrypt = opening;
  assign cmd_len = {17'd0, inner};

  wire [DATA_W-1:0] src_swapped;

  ktls_swap #(
      .LANES(LANES)
  ) swap (
      .a(src_data),
      .z(src_swapped)
  );

  // the inner type behind the text, in its last word or in one of its own
  wire typed = tls13 && !opening && text_left == 1 && text_phase && !tail;
  wire [DATA_W-1:0] text_bytes = ~({DATA_W{1'b1}} >> {end_at, 3'b000});
  wire [DATA_W-1:0] type_byte = {rtype, {DATA_W - 8{1'b0}}} >> {end_at, 3'b000};

  wire [15:0] sealed_len = {1'b0, inner} + TAG;
  wire [127:0] aad_1_2 = {seq, rtype, WIRE_VERSION, 1'b0, len, 24'd0};
  wire [127:0] aad_1_3 = {APPLICATION_DATA, WIRE_VERSION, sealed_len, 88'd0};
  reg [DATA_W-1:0] aad;

  always @* begin
    aad = {DATA_W{1'b0}};
    aad[DATA_W-1-:128] = tls13 ? aad_1_3 : aad_1_2;
  end

  wire from_source = text_phase || (aad_phase && raw);

  assign s_valid = from_source ? src_valid : aad_phase || made_phase;

  always @* begin
    if (from_source) begin
      s_data = src_swapped;
      if (typed) s_data = (src_swapped & text_bytes) | type_byte;
    end else begin
      s_data = aad;
      if (made_phase) s_data = tail ? type_byte : {DATA_W{1'b0}};
    end
  end

  assign src_ready = (from_source && s_ready) || (tag_phase && tag_word);

  reg [DATA_W-1:0] previous;  // the word in front of this one
  wire [WORD_LOG2:0] tag_split = WORD[WORD_LOG2:0] - {1'b0, end_at};  // bytes of it in there
  reg [DATA_W-1:0] tag_front;
  reg [127:0] tag_back;
  reg [127:0] received_tag;
  reg tag_valid;
  reg [SLOT_W-1:0] tag_slot;

  wire take_cmd = cmd_valid && cmd_ready;
  wire give_word = s_valid && s_ready;
  wire take_word = src_valid && src_ready;
  wire ending = in_busy && in_last;
  wire take_job = job_valid && job_ready;

  always @(posedge clk) begin
    count <= count + 32'd1;
    if (take_cmd) begin
      cmd_sent <= 1'b1;
      count <= 32'd2;
    end
    if (give_word) begin
      if (aad_phase) aad_left <= aad_left - 1'b1;
      else inner_left <= inner_left - 1'b1;
      if (made_phase) tail <= 1'b0;
    end
    if (take_word) begin
      if (text_phase) text_left <= text_left - 1'b1;
      previous <= src_swapped;
      if (src_err) poison[slot] <= 1'b1;
    end
    tag_valid <= received;
    if (received) begin
      tag_front = end_at == 0 ? {DATA_W{1'b0}} : previous << {end_at, 3'b000};
      tag_back  = tag_word ? src_swapped[DATA_W-1-:128] : 128'd0;
      if (end_at != 0) tag_back = tag_back >> {tag_split, 3'b000};
      received_tag <= tag_front[DATA_W-1-:128] | tag_back;
      tag_slot <= slot;
    end
    if (ending) begin
      in_busy <= 1'b0;
      cycle_mem[slot] <= inner_over && !opening ? 32'd2 : count;
    end
    if (take_job) begin
      in_busy <= 1'b1;
      cmd_sent <= 1'b0;
      slot <= job_slot;
      ctx <= job_ctx;
      rtype <= job_rtype;
      opening <= job_open;
      tls13 <= job_tls13;
      tail <= job_tls13 && !job_open && job_len[WORD_LOG2-1:0] == 0;
      raw <= job_raw;
      len <= job_len;
      inner <= job_inner;
      aad_len <= job_aad_len;
      tag_len <= job_tag_len;
      salt <= job_salt;
      iv <= job_iv;
      seq <= job_seq;
      aad_left <= job_raw ? words(job_aad_len) : 1;
      text_left <= words(job_len);
      inner_left <= words(job_inner);
      poison[job_slot] <= 1'b0;
    end
    if (rst) begin
      in_busy   <= 1'b0;
      cmd_sent  <= 1'b0;
      tag_valid <= 1'b0;
    end
  end

  assign cycles = cycle_mem[cycles_slot];

  `KTLS_UNUSED(tag_front)

  // ------------------------------------------------- behind the core

  localparam OUT_W = SLOT_W + 8 + 1 + 1 + 1 + 15 + 5 + 64;

  wire o_valid;
  wire o_done;
  wire [SLOT_W-1:0] o_slot;
  wire [7:0] o_rtype;
  wire o_open;
  wire o_tls13;
  wire o_raw;
  wire [4:0] o_tag_len;
  wire [14:0] o_inner;
  wire [63:0] o_iv;
  wire [SLOT_W:0] unused_count;

  ktls_fifo #(
      .WIDTH(OUT_W),
      .LOG2 (SLOT_W)
  ) behind (
      .clk(clk),
      .rst(rst),
      .s_valid(take_job),
      .s_ready(o_ready),
      .s_data({job_slot, job_rtype, job_open, job_tls13, job_raw, job_inner, job_tag_len, job_iv}),
      .m_valid(o_valid),
      .m_ready(o_done),
      .m_data({o_slot, o_rtype, o_open, o_tls13, o_raw, o_inner, o_tag_len, o_iv}),
      .count(unused_count)
  );

  reg header_sent;
  reg [14:0] o_left;

  wire [15:0] body = {1'b0, o_inner} + (o_tls13 ? TAG : EXTRA_1_2);
  wire [7:0] outer_type = o_tls13 ? APPLICATION_DATA : o_rtype;
  wire [63:0] explicit_nonce = o_tls13 ? 64'd0 : o_iv;
  wire [127:0] header = {outer_type, WIRE_VERSION, body, explicit_nonce, 24'd0};
  wire [4:0] header_cnt = o_tls13 ? 5'd5 : 5'd13;
  wire [4:0] short_cnt = header_sent ? o_tag_len : header_cnt;

  reg [DATA_W-1:0] piece;

  always @* begin
    if (header_sent) begin
      piece = poison[o_slot] ? {DATA_W{1'b0}} : m_data;
    end else begin
      piece = {DATA_W{1'b0}};
      piece[DATA_W-1-:128] = header;
    end
  end

  wire [WORD_LOG2:0] piece_cnt = !header_sent || m_tag ? {{WORD_LOG2 - 4{1'b0}}, short_cnt} :
                                 o_left >= WORD[14:0] ? WORD[WORD_LOG2:0] :
                                 {1'b0, o_left[WORD_LOG2-1:0]};
  // a record without a header spends that cycle, too, so that all take equally long
  wire silent = (o_open || o_raw) && !header_sent;
  wire a_ready;

  wire o_step = o_valid && (silent || a_ready);

  assign m_ready = o_valid && header_sent && a_ready;
  assign o_done  = m_valid && m_ready && m_tag;

  ktls_release #(
      .LANES (LANES),
      .SLOT_W(SLOT_W)
  ) release_pieces (
      .clk(clk),
      .rst(rst),
      .new_valid(take_job),
      .new_slot(job_slot),
      .tag_valid(tag_valid),
      .tag_slot(tag_slot),
      .tag_data(received_tag),
      .a_valid(o_valid && !silent && (!header_sent || m_valid)),
      .a_ready(a_ready),
      .a_data(piece),
      .a_cnt(piece_cnt),
      .a_open(o_open),
      .a_tag(header_sent && m_tag),
      .a_slot(o_slot),
      .a_len(o_inner),
      .a_tag_len(o_tag_len),
      .a_tls13(o_tls13),
      .a_rtype(o_rtype),
      .a_poison(poison[o_slot]),
      .out_valid(out_valid),
      .out_ready(out_ready),
      .out_data(out_data),
      .out_cnt(out_cnt),
      .res_slot(cycles_slot),
      .res_take(res_take),
      .res_valid(res_valid),
      .res_ok(res_ok),
      .res_rtype(res_rtype),
      .res_len(res_len)
  );

  always @(posedge clk) begin
    if (o_step) begin
      if (!header_sent) begin
        header_sent <= 1'b1;
        o_left <= o_inner;
      end else if (m_valid) begin
        o_left <= o_left - WORD[14:0];
        if (m_tag) header_sent <= 1'b0;
      end
    end
    if (rst) header_sent <= 1'b0;
  end

endmodule

`resetall
