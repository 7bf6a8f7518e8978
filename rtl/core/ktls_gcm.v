// SPDX-License-Identifier: Apache-2.0
//
// Purpose: AES-GCM, 1, 2 or 4 blocks per cycle, records of different keys back to back.
//
// Interface:
//   key_*  installs or wipes (key_clear) the key of a context; ready again when done.
//          No record of that context may be in flight.
//   cmd_*  announces a record: context, direction, 96-bit nonce, bytes of AAD and
//          of text (length 0 is legal for both).
//   s_*    its words of LANES blocks: the AAD padded to words, then the text padded to
//          words (padding is ignored). Nothing of a record is taken before its command.
//   m_*    its result: the words of text (zeros behind a partial last one), then one
//          word with m_tag: the 16-byte tag, then zeros. Opening compares outside.
//   s and m may stall at any time; the pipeline itself never stops: a word is only
//   let in while the output FIFO has room for everything that is under way.
//
// Latency/throughput: a record of a AAD and n text words takes a + n + 1 cycles,
//   so 16 LANES bytes per cycle inside a record; a change of key costs nothing. From
//   a text word to its result 20 cycles (21 with several lanes); the tag follows the
//   last word at once. Setting a key: ktls_keyexp and, with several lanes, ktls_gfpow.
//
// Data format: byte 0 of a word stands on the left, so constants compare directly with the
//   printed vectors of NIST SP 800-38D and CAVP. key[255:248] is byte 0 of the key;
//   a 128-bit key stands in key[255:128].
// Source: NIST SP 800-38D sections 6 and 7 (96-bit nonces: J0 = nonce || 1).
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_gcm #(
    // blocks per cycle
    parameter LANES = 1,
    // width of a context number
    parameter CTX_W = 6
) (
    input  wire                 clk,
    input  wire                 rst,
    // keys
    input  wire                 key_valid,
    output wire                 key_ready,
    input  wire                 key_clear,
    input  wire [    CTX_W-1:0] key_ctx,
    input  wire                 key_256,
    input  wire [        255:0] key,
    // records
    input  wire                 cmd_valid,
    output wire                 cmd_ready,
    input  wire [    CTX_W-1:0] cmd_ctx,
    input  wire                 cmd_decrypt,
    input  wire [         95:0] cmd_nonce,
    input  wire [         15:0] cmd_aad_len,
    input  wire [         31:0] cmd_len,
    // blocks in
    input  wire                 s_valid,
    output wire                 s_ready,
    input  wire [128*LANES-1:0] s_data,
    // blocks out
    output wire                 m_valid,
    input  wire                 m_ready,
    output wire [128*LANES-1:0] m_data,
    output wire                 m_tag
);

  generate
    // an instance of a module that does not exist: every tool stops and prints its name
    if (LANES != 1 && LANES != 2 && LANES != 4)
      ktls_gcm_LANES_must_be_1_2_or_4 illegal_parameter ();
  endgenerate

  localparam DATA_W = 128 * LANES;
  localparam TAIL_W = 4 + $clog2(LANES);  // of a number of bytes in a word

  localparam KIND_AAD = 2'd0;
  localparam KIND_TEXT = 2'd1;
  localparam KIND_LEN = 2'd2;  // length block into GHASH, J0 through AES

  localparam OUT_LOG2 = 5;  // more than the 21 cycles from issue to output
  localparam META_LOG2 = 5;  // more than the AES latency
  localparam META_W = TAIL_W + 2 + 1 + 1 + CTX_W;

  // ------------------------------------------------------------------ key engine

  wire             kw_en;
  wire [      3:0] kw_stage;
  wire [CTX_W-1:0] kw_ctx;
  wire [    127:0] kw_data;
  wire             h_req;
  wire             h_done;
  wire [CTX_W-1:0] job_ctx;
  wire             job_k256;
  reg              h_sent;
  reg              k256_mem [0:(1<<CTX_W)-1];

  ktls_keyexp #(
      .CTX_W(CTX_W)
  ) keyexp (
      .clk(clk),
      .rst(rst),
      .valid(key_valid),
      .ready(key_ready),
      .clear(key_clear),
      .ctx(key_ctx),
      .k256(key_256),
      .key(key),
      .kw_en(kw_en),
      .kw_stage(kw_stage),
      .kw_ctx(kw_ctx),
      .kw_data(kw_data),
      .h_req(h_req),
      .h_done(h_done),
      .job_ctx(job_ctx),
      .job_k256(job_k256)
  );

  wire take_key = key_valid && key_ready;

  always @(posedge clk) if (take_key) k256_mem[key_ctx] <= key_256;

  // ----------------------------------------------------------------------- issue

  reg               busy;
  reg               first;  // nothing of the record has been issued
  reg  [ CTX_W-1:0] ctx;
  reg               k256;
  reg               decrypt;
  reg  [      95:0] nonce;
  reg  [      31:0] ctr;
  reg  [      12:0] aad_left;  // words
  reg  [      28:0] text_left;
  reg  [TAIL_W-1:0] aad_tail;  // bytes in the last word, 0: all
  reg  [TAIL_W-1:0] text_tail;
  reg  [      15:0] aad_len;
  reg  [      31:0] text_len;
  reg  [OUT_LOG2:0] credit;  // free places of the output FIFO, less what is under way

  wire              h_slot = h_req && !h_sent;
  wire              in_aad = busy && aad_left != 0;
  wire              no_text = text_left == 0;
  wire              behind_aad = busy && aad_left == 0;
  wire              in_text = behind_aad && !no_text;
  wire              in_len = behind_aad && no_text;
  wire              room = credit != 0;

  wire              go_aad = in_aad && s_valid && !h_slot;
  wire              go_text = in_text && s_valid && room && !h_slot;
  wire              go_len = in_len && room && !h_slot;
  wire              go_word = go_aad || go_text;
  wire              go = go_word || go_len;

  assign s_ready   = !h_slot && (in_aad || (in_text && room));
  assign cmd_ready = !busy || go_len;

  wire take_cmd = cmd_valid && cmd_ready;
  wire spend = go_text || go_len;
  wire pop = m_valid && m_ready;

  wire [DATA_W-1:0] ones = ~{DATA_W{1'b0}};
  wire [TAIL_W-1:0] whole = {TAIL_W{1'b0}};
  wire [TAIL_W-1:0] tail = in_aad ? (aad_left == 13'd1 ? aad_tail : whole)
                                  : (text_left == 29'd1 ? text_tail : whole);

  reg [META_LOG2-1:0] meta_wp;
  reg [META_LOG2-1:0] meta_rp;
  reg [META_W-1:0] meta[0:(1<<META_LOG2)-1];
  reg [DATA_W-1:0] meta_block[0:(1<<META_LOG2)-1];
  reg [DATA_W-1:0] block[0:0];

  always @(posedge clk) begin
    if (go_word) begin
      block[0] = s_data;
      if (tail != 0) block[0] = block[0] & ~(ones >> {tail, 3'd0});
      meta_block[meta_wp] <= block[0];
      meta[meta_wp] <= {tail, go_aad ? KIND_AAD : KIND_TEXT, decrypt, first, ctx};
    end else if (go_len) begin
      block[0] = {DATA_W{1'b0}};
      block[0][DATA_W-1-:128] = {45'd0, aad_len, 3'd0, 29'd0, text_len, 3'd0};
      meta_block[meta_wp] <= block[0];
      meta[meta_wp] <= {whole, KIND_LEN, decrypt, first, ctx};
    end
    if (go) begin
      meta_wp <= meta_wp + 1'b1;
      first   <= 1'b0;
      if (go_text) begin
        text_left <= text_left - 29'd1;
        ctr <= ctr + LANES[31:0];
      end else if (go_aad) begin
        aad_left <= aad_left - 13'd1;
      end else begin
        busy <= 1'b0;
      end
    end
    if (take_cmd) begin
      busy <= 1'b1;
      first <= 1'b1;
      ctx <= cmd_ctx;
      k256 <= k256_mem[cmd_ctx];
      decrypt <= cmd_decrypt;
      nonce <= cmd_nonce;
      ctr <= 32'd2;
      aad_len <= cmd_aad_len;
      text_len <= cmd_len;
      aad_left <= {{TAIL_W - 3{1'b0}}, cmd_aad_len[15:TAIL_W]} + {12'd0, |cmd_aad_len[TAIL_W-1:0]};
      text_left <= {{TAIL_W - 3{1'b0}}, cmd_len[31:TAIL_W]} + {28'd0, |cmd_len[TAIL_W-1:0]};
      aad_tail <= cmd_aad_len[TAIL_W-1:0];
      text_tail <= cmd_len[TAIL_W-1:0];
    end

    if (spend != pop) credit <= spend ? credit - 1'b1 : credit + 1'b1;

    if (h_req) h_sent <= !h_done;

    if (rst) begin
      busy <= 1'b0;
      meta_wp <= 0;
      credit <= 1'b1 << OUT_LOG2;
      h_sent <= 1'b0;
    end
  end

  // ------------------------------------------------------------------------- AES

  wire [DATA_W-1:0] ks;
  reg  [      15:0] slot;  // record slots under way, with and without AES work
  reg  [      15:0] h_pipe;  // the GHASH key under way

  // The first lane also has the slot of the GHASH key and the last one of a record; the
  // others have the blocks of a text word that there are.
  genvar g;
  generate
    for (g = 0; g < LANES; g = g + 1) begin : g_lane
      localparam [TAIL_W:0] BEFORE = 16 * g;
      wire there = go_text && (g == 0 || tail == 0 || {1'b0, tail} > BEFORE);
      wire only_first = g == 0 && (h_slot || go_len);
      wire [31:0] my_ctr = in_text ? ctr + g : 32'd1;
      wire unused_v;

      ktls_aes #(
          .CTX_W(CTX_W)
      ) aes (
          .clk(clk),
          .rst(rst),
          .kw_en(kw_en),
          .kw_stage(kw_stage),
          .kw_ctx(kw_ctx),
          .kw_data(kw_data),
          .v_i(there || only_first),
          .ctx_i(h_slot ? job_ctx : ctx),
          .k256_i(h_slot ? job_k256 : k256),
          .blk_i(h_slot ? 128'd0 : {nonce, my_ctr}),
          .v_o(unused_v),
          .blk_o(ks[DATA_W-1-128*g-:128])
      );
    end
  endgenerate

  always @(posedge clk) begin
    slot <= {slot[14:0], go};
    if (h_slot || h_pipe != 0) h_pipe <= {h_pipe[14:0], h_slot};
    if (rst) begin
      slot   <= 16'd0;
      h_pipe <= 16'd0;
    end
  end

  // ---------------------------------------------- GHASH keys: H, H^2 .. H^LANES

  reg [DATA_W-1:0] h_mem[0:(1<<CTX_W)-1];  // H on the right
  wire h_write;
  wire [DATA_W-1:0] h_powers;

  generate
    if (LANES == 1) begin : g_h
      assign h_write  = h_pipe[15];
      assign h_powers = ks;
    end else begin : g_h
      ktls_gfpow #(
          .N(LANES)
      ) pow (
          .clk(clk),
          .rst(rst),
          .start(h_pipe[15]),
          .h(ks[DATA_W-1-:128]),
          .done(h_write),
          .powers(h_powers)
      );
    end
  endgenerate

  assign h_done = h_write;

  always @(posedge clk) begin
    if (kw_en && kw_stage == 4'd15) h_mem[kw_ctx] <= {DATA_W{1'b0}};
    else if (h_write) h_mem[job_ctx] <= h_powers;
  end

  // --------------------------------------------------- keystream and GHASH input
  //
  // A word of k blocks takes the hash from y to (y ^ b1) H^k ^ b2 H^(k-1) .. ^ bk H. So the
  // lane of b1 multiplies by H^k, the next by H^(k-1), and those behind the last block,
  // which are zero, by anything.

  reg     [DATA_W-1:0] powers;
  reg     [DATA_W-1:0] h;  // of each lane
  reg     [DATA_W-1:0] x_in                                  [0:0];
  reg     [DATA_W-1:0] block_x                               [0:0];
  reg     [TAIL_W-1:0] x_tail;
  reg     [       1:0] x_kind_next;
  reg                  x_decrypt;
  reg                  x_first_next;
  reg     [ CTX_W-1:0] x_ctx;
  reg                  x_v;
  reg     [       1:0] x_kind;
  reg                  x_first;
  reg     [DATA_W-1:0] x_ghash;
  reg     [DATA_W-1:0] x_out;
  reg     [TAIL_W-1:0] last_at;  // the last byte of the word
  integer              x_blocks;  // less one
  integer              i;

  always @(posedge clk) begin
    x_v <= slot[15] && !rst;
    if (slot[15]) begin
      {x_tail, x_kind_next, x_decrypt, x_first_next, x_ctx} = meta[meta_rp];
      x_in[0] = meta_block[meta_rp];
      meta_rp <= meta_rp + 1'b1;
      x_kind  <= x_kind_next;
      x_first <= x_first_next;
      if (LANES == 1) begin
        if (x_first_next) h <= h_mem[x_ctx];
      end else begin
        if (x_first_next) powers = h_mem[x_ctx];
        last_at  = x_kind_next == KIND_LEN ? {TAIL_W{1'b0}} : x_tail - 1'b1;
        x_blocks = {{32 - TAIL_W{1'b0}}, last_at} >> 4;
        for (i = 0; i < LANES; i = i + 1)
        if (i <= x_blocks) h[DATA_W-1-128*i-:128] <= powers[128*(x_blocks-i)+:128];
      end
      if (x_kind_next == KIND_TEXT) begin
        block_x[0] = ks;
        if (x_tail != 0) block_x[0] = block_x[0] & ~(ones >> {x_tail, 3'd0});
        block_x[0] = `KTLS_XOR(x_in[0], block_x[0]);
        x_out   <= block_x[0];
        x_ghash <= x_decrypt ? x_in[0] : block_x[0];
      end else begin
        x_ghash <= x_in[0];
        block_x[0] = {DATA_W{1'b0}};
        block_x[0][DATA_W-1-:128] = ks[DATA_W-1-:128];
        x_out <= block_x[0];
      end
    end
    if (rst) meta_rp <= 0;
  end

  // ----------------------------------------------------------------------- GHASH

  wire y_v;
  wire y_first;
  wire [1:0] y_kind;
  wire [127:0] y_h;
  wire [127:0] y_x;
  wire [DATA_W-1:0] y_out;
  wire [127:0] others;  // the products of the other lanes
  wire [127:0] y;
  reg g_v;
  reg g_tag;
  reg [DATA_W-1:0] g_out;

  generate
    if (LANES == 1) begin : g_ghash
      assign y_v = x_v;
      assign y_first = x_first;
      assign y_kind = x_kind;
      assign y_h = h;
      assign y_x = x_ghash;
      assign y_out = x_out;
      assign others = 128'd0;
    end else begin : g_ghash
      // the first lane waits for the others, which need a cycle
      reg v;
      reg first_1;
      reg [1:0] kind;
      reg [127:0] h_1;
      reg [127:0] x_1;
      reg [DATA_W-1:0] out;
      wire [128*LANES-129:0] p;

      always @(posedge clk) begin
        v <= x_v && !rst;
        if (x_v) begin
          first_1 <= x_first;
          kind <= x_kind;
          h_1 <= h[DATA_W-1-:128];
          x_1 <= x_ghash[DATA_W-1-:128];
          out <= x_out;
        end
      end

      for (g = 1; g < LANES; g = g + 1) begin : g_product
        ktls_ghash product (
            .clk(clk),
            .v_i(x_v),
            .first_i(1'b1),
            .h_i(h[DATA_W-1-128*g-:128]),
            .x_i(x_ghash[DATA_W-1-128*g-:128]),
            .add_i(128'd0),
            .y_o(p[128*(g-1)+:128])
        );
      end

      reg [127:0] sum;

      if (LANES == 2) begin : g_sum
        always @* sum = p;
      end else begin : g_sum
        always @* begin
          sum = `KTLS_XOR(p[127:0], p[255:128]);
          sum = `KTLS_XOR(sum, p[383:256]);
        end
      end

      assign y_v = v;
      assign y_first = first_1;
      assign y_kind = kind;
      assign y_h = h_1;
      assign y_x = x_1;
      assign y_out = out;
      assign others = sum;
    end
  endgenerate

  ktls_ghash #(
      .ADDEND(LANES > 1)
  ) ghash (
      .clk(clk),
      .v_i(y_v),
      .first_i(y_first),
      .h_i(y_h),
      .x_i(y_x),
      .add_i(others),
      .y_o(y)
  );

  always @(posedge clk) begin
    if (rst) g_v <= 1'b0;
    else g_v <= y_v && y_kind != KIND_AAD;
    if (y_v) begin
      g_tag <= y_kind == KIND_LEN;
      g_out <= y_out;
    end
  end

  // ---------------------------------------------------------------------- output

  reg  [  DATA_W:0] piece;
  wire              unused_ready;
  wire [OUT_LOG2:0] unused_count;

  always @* begin
    piece = {g_tag, g_out};
    if (g_tag) piece[DATA_W-1-:128] = `KTLS_XOR(y, g_out[DATA_W-1-:128]);
  end

  ktls_fifo #(
      .WIDTH(DATA_W + 1),
      .LOG2(OUT_LOG2),
      .CREDIT(1)
  ) out_fifo (
      .clk(clk),
      .rst(rst),
      .s_valid(g_v),
      .s_ready(unused_ready),
      .s_data(piece),
      .m_valid(m_valid),
      .m_ready(m_ready),
      .m_data({m_tag, m_data}),
      .count(unused_count)
  );

endmodule

`resetall
