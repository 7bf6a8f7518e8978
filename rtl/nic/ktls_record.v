// SPDX-License-Identifier: Apache-2.0
//
// Purpose: TLS record framing around the AES-GCM core. Before the core it makes nonce and AAD;
//   after the core it adds header and explicit nonce and passes ciphertext and tag on.
// Interface: job_* takes a job: one record to seal or to open (layout: bits [JOB_RECORD_W-1:0]
//   of ktls_job.vh). src_* takes the words of its source (ktls_gather). cmd_*, s_* and m_* are
//   the core. out_* delivers the result in pieces: header, words of text, tag. A word has LANES
//   blocks of 16 bytes. Any side may stall. cmd_* and out_* stay stable until they are accepted.
//   SEAL: the source is the text. In TLS 1.3 the inner type and the padding follow the text, up
//   to JOB_INNER bytes: in the last word of the text and in words of their own.
//   OPEN: the source is ciphertext and tag. The result is the text, which ktls_release holds
//   until the tag has been compared.
//   Plain AES-GCM (raw): the source begins with the AAD. The tag has JOB_TAG_LEN bytes, and
//   there is no header.
//   After a source error (src_err) the rest of the record is zeros instead of ciphertext and
//   tag: neither keystream nor an authentic record of wrong bytes leaves the device.
//   `cycles` is the number of cycles for which the record in slot `cycles_slot` held the
//   engine. res_* reports the result of opened records (ktls_release).
// Latency/throughput: SEAL takes n + 2 cycles for n words of text, inner type and padding; OPEN
//   takes n + 3 for n words of text. No cycle is lost between records.
// Data format: byte 0 of a word is on the left at the core and in [7:0] at src_* and out_*.
// Source: RFC 5246 section 6.2.3.3 and RFC 5288 section 3 for TLS 1.2: nonce = salt ||
//   explicit, AAD = seq_num || type || version || length, record = header || explicit ||
//   ciphertext || tag. RFC 8446 sections 5.2 and 5.3 for TLS 1.3: nonce = (salt || iv) xor
//   number, AAD = header, the header has type 23, plaintext = text || type || zeros.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_record #(
    // 16-byte blocks per cycle
    parameter LANES  = 1,
    // width of a context number
    parameter CTX_W  = 6,
    // log2 of the jobs that may be under way
    parameter SLOT_W = 3,
    // width of a job here: JOB_RECORD_W of ktls_job.vh
    parameter JOB_W  = 230
) (
    input  wire                      clk,
    input  wire                      rst,
    // clear what depends on keys; `clean` when no text or IV of a finished record is left
    input  wire                      wipe,
    output wire                      clean,
    // jobs
    input  wire                      job_valid,
    output wire                      job_ready,
    input  wire [         JOB_W-1:0] job_data,
    // source
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
    // result
    output wire                      out_valid,
    input  wire                      out_ready,
    output wire [     128*LANES-1:0] out_data,
    output wire [$clog2(16*LANES):0] out_cnt,
    // cycles of a record, and the result of an opened one
    input  wire [        SLOT_W-1:0] cycles_slot,
    output wire [              31:0] cycles,
    input  wire                      res_take,
    output wire                      res_valid,
    output wire                      res_ok,
    output wire [               7:0] res_rtype,
    output wire [              14:0] res_len
);

  `include "ktls_job.vh"

  localparam APPLICATION_DATA = 8'd23;
  localparam WIRE_VERSION = 16'h0303;
  localparam EXTRA_1_2 = 16'd24;  // explicit nonce and tag
  localparam TAG = 16'd16;
  localparam DATA_W = 128 * LANES;
  localparam WORD = 16 * LANES;  // bytes
  localparam WORD_LOG2 = $clog2(WORD);
  localparam COUNT_W = 15 - WORD_LOG2;  // of words of a record

  generate
    if (JOB_W != JOB_RECORD_W) begin : g_illegal_job
      ktls_record_JOB_W_must_be_JOB_RECORD_W illegal_parameter ();
    end
  endgenerate

  function [COUNT_W-1:0] words(input [14:0] bytes);
    words = bytes[14:WORD_LOG2] + {{COUNT_W - 1{1'b0}}, |bytes[WORD_LOG2-1:0]};
  endfunction

  wire [SLOT_W-1:0] job_slot = job_data[JOB_SLOT_LSB+:SLOT_W];
  wire [7:0] job_rtype = job_data[JOB_RTYPE_LSB+:JOB_RTYPE_W];
  wire job_open = job_data[JOB_OPEN_LSB];
  wire job_tls13 = job_data[JOB_TLS13_LSB];
  wire job_raw = job_data[JOB_RAW_LSB];
  wire [14:0] job_len = job_data[JOB_LEN_LSB+:JOB_LEN_W];
  wire [14:0] job_inner = job_data[JOB_INNER_LSB+:JOB_INNER_W];
  wire [14:0] job_aad_len = job_data[JOB_AAD_LEN_LSB+:JOB_AAD_LEN_W];
  wire [4:0] job_tag_len = job_data[JOB_TAG_LEN_LSB+:JOB_TAG_LEN_W];
  wire [63:0] job_iv = job_data[JOB_IV_LSB+:JOB_IV_W];

  // ---------------------------------------------------------------- before the core
  //
  // A job passes these phases. A phase lasts one cycle per word, or more if a side stalls. A
  // phase without words takes no cycle, but `tag` takes at least one. The next job is taken in
  // the last cycle of this one.
  //
  //   SEAL   | command | AAD | text ...... | made |
  //   OPEN   | command | AAD | text ...... | tag |
  //
  //   phase     words to the core                             words from the source
  //   command   none; nonce and lengths go to cmd_*           none
  //   AAD       TLS: one, made here. Plain AES-GCM: its AAD   plain AES-GCM: the same
  //   text      the text (SEAL) or ciphertext (OPEN)          the same
  //   made      TLS 1.3: inner type and padding               none
  //   tag       none                                          the end of the tag, if the tag
  //                                                           crosses into a word of its own
  //
  // The inner type goes into the last word of the text (`typed`) if there is room, and
  // otherwise into the first word of phase `made` (`tail`). All padding is zeros, so the words
  // of this phase hold nothing else.

  reg in_busy;
  reg cmd_sent;
  reg [SLOT_W-1:0] slot;
  reg [CTX_W-1:0] ctx;
  reg [7:0] rtype;
  reg opening;
  reg tls13;
  reg tail;  // the text fills its last word: the inner type begins a word of its own
  reg raw;
  reg [14:0] len;
  reg [14:0] inner;  // bytes of text, inner type and padding
  reg [14:0] aad_len;
  reg [4:0] tag_len;
  reg [31:0] salt;
  reg [63:0] iv;
  reg [63:0] seq;
  reg [COUNT_W-1:0] aad_left;  // words of AAD for the core
  reg [COUNT_W-1:0] text_left;  // words of text from the source
  reg [COUNT_W-1:0] inner_left;  // words of text for the core
  // Comparisons of these counters, made when the command is taken and when a word moves, so that
  // no decision waits for them.
  reg aad_over;  // aad_left == 0
  reg text_over;  // text_left == 0
  reg inner_over;  // inner_left == 0
  reg inner_last;  // inner_left == 1
  // The tag ends in a word without text. Otherwise all of it came with the last text word.
  reg tag_word;
  reg [31:0] count;  // cycles of the record, this one included

  reg [31:0] cycle_mem[0:(1<<SLOT_W)-1];
  // The record has a source error. The command clears the bit, and the bad word sets it when it
  // enters the core, long before that word leaves it.
  reg poison[0:(1<<SLOT_W)-1];

  wire o_ready;  // the queue of jobs after the core has room
  wire aad_phase = cmd_sent && !aad_over;
  wire in_text = cmd_sent && aad_over;
  wire text_phase = in_text && !text_over;
  wire made_phase = in_text && text_over && !inner_over;
  wire tag_phase = in_text && opening && text_over;

  wire [WORD_LOG2-1:0] end_at = len[WORD_LOG2-1:0];  // bytes of text in its last word, 0: all
  wire [WORD_LOG2:0] tag_end = {1'b0, end_at} + {{WORD_LOG2 - 4{1'b0}}, tag_len};
  wire received = tag_phase && (src_valid || !tag_word);

  // SEAL ends with its last word to the core, OPEN with its tag. A record without any word
  // after the AAD spends one cycle here.
  wire in_last = in_text && (opening ? received : inner_over || (inner_last && s_valid && s_ready));
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

  // The text is cut at its last byte before the type is inserted: the source word may hold
  // anything after it.
  wire typed = tls13 && !opening && text_left == 1 && text_phase && !tail;
  wire [DATA_W-1:0] text_bytes = ~({DATA_W{1'b1}} >> {end_at, 3'b000});
  wire [DATA_W-1:0] type_byte = {rtype, {DATA_W - 8{1'b0}}} >> {end_at, 3'b000};

  wire [15:0] sealed_len = {1'b0, inner} + TAG;  // the length field of a TLS 1.3 header
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

  // The received tag follows the ciphertext at any byte, so it is joined from the last word of
  // the text and the word after it, and rotated left by end_at bytes:
  //
  //   previous     | text (end_at bytes) | tag, front |
  //   src_swapped  | tag, back           |     0      |
  //   joined       | tag, back           | tag, front |
  reg [DATA_W-1:0] previous;
  reg [DATA_W-1:0] joined;
  reg [DATA_W+127:0] turned;  // the tag in its last 16 bytes
  wire [WORD_LOG2+3:0] turn = DATA_W[WORD_LOG2+3:0] - {1'b0, end_at, 3'b000};
  reg [127:0] received_tag;
  reg tag_valid;
  reg [SLOT_W-1:0] tag_slot;

  wire take_cmd = cmd_valid && cmd_ready;
  wire give_word = s_valid && s_ready;
  wire take_word = src_valid && src_ready;
  wire bad_word = take_word && src_err;
  wire ending = in_busy && in_last;
  wire take_job = job_valid && job_ready;

  always @(posedge clk) begin
    count <= count + 32'd1;
    if (take_cmd) begin
      cmd_sent <= 1'b1;
      aad_over <= aad_left == 0;
      text_over <= text_left == 0;
      inner_over <= inner_left == 0;
      inner_last <= inner_left == 1;
      tag_word <= end_at == 0 || tag_end > WORD[WORD_LOG2:0];
      count <= 32'd2;  // the first cycle that reads it is the second of the record
    end
    if (give_word) begin
      if (aad_phase) begin
        aad_left <= aad_left - 1'b1;
        aad_over <= aad_left == 1;
      end else begin
        inner_left <= inner_left - 1'b1;
        inner_over <= inner_last;
        inner_last <= inner_left == 2;
      end
      if (made_phase) tail <= 1'b0;
    end
    if (take_word) begin
      if (text_phase) begin
        text_left <= text_left - 1'b1;
        text_over <= text_left == 1;
      end
      previous <= src_swapped;
    end
    if (take_cmd || bad_word) poison[slot] <= bad_word;
    tag_valid <= received;
    if (received) begin
      // With end_at = 0 the text fills its word, and the whole tag is in the word after it.
      joined = end_at == 0 ? {DATA_W{1'b0}} : previous & ~text_bytes;
      if (tag_word) joined = joined | (end_at == 0 ? src_swapped : src_swapped & text_bytes);
      turned = {joined, joined[DATA_W-1-:128]} >> turn;
      received_tag <= turned[127:0];
      tag_slot <= slot;
    end
    if (ending) begin
      in_busy <= 1'b0;
      cmd_sent <= 1'b0;
      // A record without text has used its last cycle only to end.
      cycle_mem[slot] <= inner_over && !opening ? count - 32'd1 : count;
    end
    if (take_job) begin
      in_busy <= 1'b1;
      cmd_sent <= 1'b0;
      slot <= job_slot;
      ctx <= job_data[JOB_CTX_LSB+:CTX_W];
      rtype <= job_rtype;
      opening <= job_open;
      tls13 <= job_tls13;
      tail <= job_tls13 && !job_open && job_len[WORD_LOG2-1:0] == 0;
      raw <= job_raw;
      len <= job_len;
      inner <= job_inner;
      aad_len <= job_aad_len;
      tag_len <= job_tag_len;
      salt <= job_data[JOB_SALT_LSB+:JOB_SALT_W];
      iv <= job_iv;
      seq <= job_data[JOB_SEQ_LSB+:JOB_SEQ_W];
      aad_left <= job_raw ? words(job_aad_len) : 1;
      text_left <= words(job_len);
      inner_left <= words(job_inner);
    end
    if (wipe || rst) begin
      salt <= 32'd0;
      iv <= 64'd0;
      seq <= 64'd0;
      previous <= {DATA_W{1'b0}};
      joined = {DATA_W{1'b0}};
      turned = {DATA_W + 128{1'b0}};
      received_tag <= 128'd0;
    end
    if (rst) begin
      in_busy   <= 1'b0;
      cmd_sent  <= 1'b0;
      tag_valid <= 1'b0;
    end
  end

  assign cycles = cycle_mem[cycles_slot];

  `KTLS_UNUSED(turned)

  // ----------------------------------------------------------------- after the core
  //
  // A job waits in a queue until its first word leaves the core, because the core holds several
  // records. It passes these phases:
  //
  //   SEAL, TLS             | header | word ... word | tag |
  //   SEAL, plain AES-GCM   | silent | word ... word | tag |
  //   OPEN                  | silent | word ... word | tag, for comparison |
  //
  // Phase `header` emits 13 bytes in TLS 1.2 (header, explicit nonce) and 5 bytes in TLS 1.3.
  // It costs no throughput: it fills the gap that the AAD leaves in the output of the core.

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
  wire [SLOT_W:0] o_count;
  wire release_clean;

  assign clean = o_count == 0 && release_clean;

  ktls_fifo #(
      .WIDTH(OUT_W),
      .LOG2 (SLOT_W),
      .WIPE (1)
  ) output_jobs (
      .clk(clk),
      .rst(rst),
      .s_valid(take_job),
      .s_ready(o_ready),
      .s_data({job_slot, job_rtype, job_open, job_tls13, job_raw, job_inner, job_tag_len, job_iv}),
      .m_valid(o_valid),
      .m_ready(o_done),
      .m_data({o_slot, o_rtype, o_open, o_tls13, o_raw, o_inner, o_tag_len, o_iv}),
      .count(o_count)
  );

  reg header_sent;  // the header or the silent phase is over
  reg [14:0] o_left;  // bytes of text, inner type and padding that have not left

  wire [15:0] body = {1'b0, o_inner} + (o_tls13 ? TAG : EXTRA_1_2);
  wire [7:0] outer_type = o_tls13 ? APPLICATION_DATA : o_rtype;
  wire [63:0] explicit_nonce = o_tls13 ? 64'd0 : o_iv;
  wire [127:0] header = {outer_type, WIRE_VERSION, body, explicit_nonce, 24'd0};
  wire [4:0] header_cnt = o_tls13 ? 5'd5 : 5'd13;
  wire [4:0] short_cnt = header_sent ? o_tag_len : header_cnt;

  wire o_poison = poison[o_slot];
  reg [DATA_W-1:0] piece;

  always @* begin
    if (header_sent) begin
      piece = o_poison ? {DATA_W{1'b0}} : m_data;
    end else begin
      piece = {DATA_W{1'b0}};
      piece[DATA_W-1-:128] = header;
    end
  end

  wire [WORD_LOG2:0] piece_cnt = !header_sent || m_tag ? {{WORD_LOG2 - 4{1'b0}}, short_cnt} :
                                 o_left >= WORD[14:0] ? WORD[WORD_LOG2:0] :
                                 {1'b0, o_left[WORD_LOG2-1:0]};
  // A record without a header also spends that cycle, so that all records take equally long.
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
      .clean(release_clean),
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
      .a_poison(o_poison),
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

  `KTLS_STABLE(g_cmd_stable, cmd_valid, cmd_ready, CTX_W + 145, {cmd_ctx, cmd_decrypt, cmd_nonce,
                                                                 cmd_aad_len, cmd_len})
  `KTLS_STABLE(g_out_stable, out_valid, out_ready, DATA_W + WORD_LOG2 + 1, {out_data, out_cnt})

endmodule

`resetall
