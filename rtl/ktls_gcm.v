// SPDX-License-Identifier: Apache-2.0
//
// Purpose: AES-GCM, one block per cycle, records of different keys back to back.
//
// Interface:
//   key_*  installs or wipes (key_clear) the key of a context; ready again when done.
//          No record of that context may be in flight.
//   cmd_*  announces a record: context, direction, 96-bit nonce, bytes of AAD and
//          of text (length 0 is legal for both).
//   s_*    its blocks: the AAD padded to blocks, then the text padded to blocks
//          (padding is ignored). Nothing of a record is taken before its command.
//   m_*    its result: the text blocks (zeros behind a partial last one), then one
//          block with m_tag that is the 16-byte tag. Opening compares outside.
//   s and m may stall at any time; the pipeline itself never stops: a block is only
//   let in while the output FIFO has room for everything that is under way.
//
// Latency/throughput: a record of a AAD and n text blocks takes a + n + 1 cycles,
//   so 16 bytes per cycle inside a record; a change of key costs nothing. From
//   a text block to its result 20 cycles; the tag follows the last block at once.
//
// Data format: bits [127:120] are byte 0, so constants compare directly with the
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
    if (LANES != 1) ktls_gcm_supports_only_LANES_1 illegal_parameter ();
  endgenerate

  localparam KIND_AAD = 2'd0;
  localparam KIND_TEXT = 2'd1;
  localparam KIND_LEN = 2'd2;  // length block into GHASH, J0 through AES

  localparam OUT_LOG2 = 5;  // more than the 20 cycles from issue to output
  localparam META_LOG2 = 5;  // more than the AES latency
  localparam META_W = 128 + 4 + 2 + 1 + 1 + CTX_W;

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

  always @(posedge clk) if (key_valid && key_ready) k256_mem[key_ctx] <= key_256;

  // ----------------------------------------------------------------------- issue

  reg               busy;
  reg               first;  // nothing of the record has been issued
  reg  [ CTX_W-1:0] ctx;
  reg               k256;
  reg               decrypt;
  reg  [      95:0] nonce;
  reg  [      31:0] ctr;
  reg  [      12:0] aad_left;  // blocks
  reg  [      28:0] text_left;
  reg  [       3:0] aad_tail;  // bytes in the last block, 0: all 16
  reg  [       3:0] text_tail;
  reg  [      15:0] aad_len;
  reg  [      31:0] text_len;
  reg  [OUT_LOG2:0] credit;  // free places of the output FIFO, less what is under way

  wire              h_slot = h_req && !h_sent;
  wire              in_aad = busy && aad_left != 0;
  wire              in_text = busy && aad_left == 0 && text_left != 0;
  wire              in_len = busy && aad_left == 0 && text_left == 0;
  wire              room = credit != 0;

  wire              go_aad = in_aad && s_valid && !h_slot;
  wire              go_text = in_text && s_valid && room && !h_slot;
  wire              go_len = in_len && room && !h_slot;
  wire              go = go_aad || go_text || go_len;

  assign s_ready   = !h_slot && (in_aad || (in_text && room));
  assign cmd_ready = !busy || go_len;

  wire take_cmd = cmd_valid && cmd_ready;
  wire pop = m_valid && m_ready;

  wire [127:0] ones = ~128'd0;
  wire [3:0] tail = in_aad ? (aad_left == 13'd1 ? aad_tail : 4'd0)
                           : (text_left == 29'd1 ? text_tail : 4'd0);

  reg [META_LOG2-1:0] meta_wp;
  reg [META_LOG2-1:0] meta_rp;
  reg [META_W-1:0] meta[0:(1<<META_LOG2)-1];
  reg [127:0] block;

  always @(posedge clk) begin
    if (go_aad || go_text) begin
      block = s_data;
      if (tail != 0) block = block & ~(ones >> {tail, 3'd0});
      meta[meta_wp] <= {block, tail, go_aad ? KIND_AAD : KIND_TEXT, decrypt, first, ctx};
    end else if (go_len) begin
      block = {45'd0, aad_len, 3'd0, 29'd0, text_len, 3'd0};
      meta[meta_wp] <= {block, 4'd0, KIND_LEN, decrypt, first, ctx};
    end
    if (go) begin
      meta_wp <= meta_wp + 1'b1;
      first   <= 1'b0;
    end
    if (go_aad) aad_left <= aad_left - 13'd1;
    if (go_text) begin
      text_left <= text_left - 29'd1;
      ctr <= ctr + 32'd1;
    end
    if (go_len) busy <= 1'b0;
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
      aad_left <= {1'b0, cmd_aad_len[15:4]} + {12'd0, |cmd_aad_len[3:0]};
      text_left <= {1'b0, cmd_len[31:4]} + {28'd0, |cmd_len[3:0]};
      aad_tail <= cmd_aad_len[3:0];
      text_tail <= cmd_len[3:0];
    end

    if (go_text || go_len) begin
      if (!pop) credit <= credit - 1'b1;
    end else if (pop) begin
      credit <= credit + 1'b1;
    end

    if (h_slot) h_sent <= 1'b1;
    if (h_done) h_sent <= 1'b0;

    if (rst) begin
      busy <= 1'b0;
      meta_wp <= 0;
      credit <= 1'b1 << OUT_LOG2;
      h_sent <= 1'b0;
    end
  end

  // ------------------------------------------------------------------------- AES

  wire [127:0] ks;
  reg  [ 15:0] slot;  // record slots under way, with and without AES work
  reg  [ 15:0] h_pipe;  // the GHASH key under way
  wire         unused_aes_v;

  ktls_aes #(
      .CTX_W(CTX_W)
  ) aes (
      .clk(clk),
      .rst(rst),
      .kw_en(kw_en),
      .kw_stage(kw_stage),
      .kw_ctx(kw_ctx),
      .kw_data(kw_data),
      .v_i(h_slot || go_text || go_len),
      .ctx_i(h_slot ? job_ctx : ctx),
      .k256_i(h_slot ? job_k256 : k256),
      .blk_i(h_slot ? 128'd0 : {nonce, in_text ? ctr : 32'd1}),
      .v_o(unused_aes_v),
      .blk_o(ks)
  );

  always @(posedge clk) begin
    slot   <= {slot[14:0], go};
    h_pipe <= {h_pipe[14:0], h_slot};
    if (rst) begin
      slot   <= 16'd0;
      h_pipe <= 16'd0;
    end
  end

  // ------------------------------------------- keystream, GHASH input, GHASH key

  reg [    127:0] h_mem        [0:(1<<CTX_W)-1];
  reg [    127:0] h;
  reg [    127:0] x_in;
  reg [    127:0] block_x;
  reg [      3:0] x_tail;
  reg [      1:0] x_kind_next;
  reg             x_decrypt;
  reg             x_first_next;
  reg [CTX_W-1:0] x_ctx;
  reg             x_v;
  reg [      1:0] x_kind;
  reg             x_first;
  reg [    127:0] x_ghash;
  reg [    127:0] x_out;

  always @(posedge clk) begin
    x_v <= 1'b0;
    if (slot[15]) begin
      {x_in, x_tail, x_kind_next, x_decrypt, x_first_next, x_ctx} = meta[meta_rp];
      meta_rp <= meta_rp + 1'b1;
      x_v <= 1'b1;
      x_kind <= x_kind_next;
      x_first <= x_first_next;
      if (x_first_next) h <= h_mem[x_ctx];
      x_ghash <= x_in;
      if (x_kind_next == KIND_TEXT) begin
        block_x = `KTLS_XOR(x_in, ks);
        if (x_tail != 0) block_x = block_x & ~(ones >> {x_tail, 3'd0});
        x_out <= block_x;
        if (!x_decrypt) x_ghash <= block_x;
      end else begin
        x_out <= ks;
      end
    end
    if (rst) begin
      x_v <= 1'b0;
      meta_rp <= 0;
    end
  end

  assign h_done = h_pipe[15];

  always @(posedge clk) begin
    if (kw_en && kw_stage == 4'd15) h_mem[kw_ctx] <= 128'd0;
    else if (h_done) h_mem[job_ctx] <= ks;
  end

  // ----------------------------------------------------------------------- GHASH

  reg          g_v;
  reg          g_tag;
  reg  [127:0] g_out;
  wire [127:0] y;

  ktls_ghash ghash (
      .clk(clk),
      .v_i(x_v),
      .first_i(x_first),
      .h_i(h),
      .x_i(x_ghash),
      .y_o(y)
  );

  always @(posedge clk) begin
    if (rst) g_v <= 1'b0;
    else g_v <= x_v && x_kind != KIND_AAD;
    if (x_v) begin
      g_tag <= x_kind == KIND_LEN;
      g_out <= x_out;
    end
  end

  // ---------------------------------------------------------------------- output

  reg  [     127:0] piece;
  wire              unused_ready;
  wire [OUT_LOG2:0] unused_count;

  always @* begin
    piece = g_out;
    if (g_tag) piece = `KTLS_XOR(y, g_out);
  end

  ktls_fifo #(
      .WIDTH(129),
      .LOG2 (OUT_LOG2)
  ) out_fifo (
      .clk(clk),
      .rst(rst),
      .s_valid(g_v),
      .s_ready(unused_ready),
      .s_data({g_tag, piece}),
      .m_valid(m_valid),
      .m_ready(m_ready),
      .m_data({m_tag, m_data}),
      .count(unused_count)
  );

endmodule

`resetall
