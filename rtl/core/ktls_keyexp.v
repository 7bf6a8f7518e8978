// SPDX-License-Identifier: Apache-2.0
//
// Purpose: AES key schedule. It turns a key into the round keys of ktls_aes, and wipes contexts.
// Interface: valid/ready takes one key for context `ctx`. kw_* then writes one round key at a
//   time. Finally h_req requests one slot of the AES pipeline for the GHASH key, E(K, 0), until
//   h_done. A wipe (`clear`) writes stage 15. After reset the module wipes all contexts, one per
//   cycle. After a wipe `flushing` asks the core to clear what its registers and queues still hold
//   of keys and text, until flush_done.
// Latency: 44 cycles (AES-128) or 60 (AES-256), then the AES latency; 1 cycle and the flush for a
//   wipe.
// Data format: key[255:248] is byte 0 of the key as FIPS 197 appendix A prints it; a 128-bit key is
//   key[255:128].
// Source: FIPS 197 section 5.2.
// FPGA only: an `initial` block fills the S-box. An ASIC flow ignores it: replace `s` by a ROM or
//   by a `case` over SBOX (ktls_sbox.vh).
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_keyexp #(
    // width of a context number; there are 1 << CTX_W contexts
    parameter CTX_W = 6
) (
    input  wire             clk,
    input  wire             rst,
    // key
    input  wire             valid,
    output wire             ready,
    input  wire             clear,
    input  wire [CTX_W-1:0] ctx,
    input  wire             k256,
    input  wire [    255:0] key,
    // round key write
    output reg              kw_en,
    output reg  [      3:0] kw_stage,
    output reg  [CTX_W-1:0] kw_ctx,
    output reg  [    127:0] kw_data,
    // GHASH key
    output wire             h_req,
    input  wire             h_done,
    // end of a wipe
    output wire             flushing,
    input  wire             flush_done,
    // context and size of the key in progress
    output reg  [CTX_W-1:0] cur_ctx,
    output reg              cur_k256
);

  `include "ktls_sbox.vh"

  localparam ST_INIT = 3'd0;  // wipe every context after reset
  localparam ST_IDLE = 3'd1;
  localparam ST_EXPAND = 3'd2;
  localparam ST_HASH_KEY = 3'd3;
  localparam ST_FLUSH = 3'd4;

  reg [7:0] s[0:255];
  integer k;
  initial for (k = 0; k < 256; k = k + 1) s[k] = SBOX[8*(255-k)+:8];

  reg [2:0] state;
  // The schedule needs only a window of the last Nk words (4 or 8): word i is word i - Nk plus a
  // function of word i - 1. One word leaves the window per cycle and one enters.
  reg [255:0] win;  // oldest word on the left; a 128-bit key uses the left half
  reg [95:0] acc;  // the first words of the round key in progress
  reg [5:0] i;  // number of the oldest word
  reg [7:0] rcon;

  wire [31:0] oldest = win[255:224];
  wire [31:0] newest = cur_k256 ? win[31:0] : win[159:128];
  // i mod Nk: RotWord, SubWord and Rcon apply at 0; for 256-bit keys SubWord alone at 4
  wire [2:0] phase = cur_k256 ? i[2:0] : {1'b0, i[1:0]};
  wire [31:0] to_sub = phase == 3'd0 ? {newest[23:0], newest[31:24]} : newest;
  wire [31:0] sub = {s[to_sub[31:24]], s[to_sub[23:16]], s[to_sub[15:8]], s[to_sub[7:0]]};
  wire [ 31:0] mix = phase == 3'd0 ? sub ^ {rcon, 24'd0} :
                     (cur_k256 && phase == 3'd4) ? sub : newest;
  wire [31:0] next_word = oldest ^ mix;
  wire [3:0] round = i[5:2];

  assign ready = state == ST_IDLE;
  assign h_req = state == ST_HASH_KEY;
  // not before the last key write has taken effect
  assign flushing = state == ST_FLUSH && !kw_en;

  always @(posedge clk) begin
    kw_en <= 1'b0;
    case (state)
      ST_INIT: begin
        kw_en <= 1'b1;
        kw_stage <= 4'd15;
        kw_ctx <= cur_ctx;
        kw_data <= 128'd0;
        cur_ctx <= cur_ctx + 1'b1;
        if (&cur_ctx) state <= ST_FLUSH;
      end
      ST_IDLE: begin
        if (valid) begin
          cur_ctx <= ctx;
          cur_k256 <= k256;
          win <= key;
          i <= 6'd0;
          rcon <= 8'h01;
          if (clear) begin
            kw_en <= 1'b1;
            kw_stage <= 4'd15;
            kw_ctx <= ctx;
            kw_data <= 128'd0;
            win <= 256'd0;
            state <= ST_FLUSH;
          end else begin
            state <= ST_EXPAND;
          end
        end
      end
      ST_EXPAND: begin
        acc <= {acc[63:0], oldest};
        win <= cur_k256 ? {win[223:0], next_word} : {win[223:128], next_word, 128'd0};
        if (phase == 3'd0) rcon <= {rcon[6:0], 1'b0} ^ (rcon[7] ? 8'h1b : 8'h00);
        if (i[1:0] == 2'd3) begin
          kw_en <= 1'b1;
          // an AES-128 key skips the stages 1 to 4, which its blocks bypass (see ktls_aes)
          kw_stage <= (cur_k256 || round == 4'd0) ? round : round + 4'd4;
          kw_ctx <= cur_ctx;
          kw_data <= {acc, oldest};
        end
        i <= i + 6'd1;
        if (i == (cur_k256 ? 6'd59 : 6'd43)) state <= ST_HASH_KEY;
      end
      ST_HASH_KEY: begin
        // no part of the key stays in a register
        win <= 256'd0;
        acc <= 96'd0;
        kw_data <= 128'd0;
        if (h_done) state <= ST_IDLE;
      end
      default: begin  // ST_FLUSH
        if (flushing && flush_done) state <= ST_IDLE;
      end
    endcase
    if (rst) begin
      state <= ST_INIT;
      cur_ctx <= {CTX_W{1'b0}};
      cur_k256 <= 1'b0;
      kw_en <= 1'b0;
      win <= 256'd0;
      acc <= 96'd0;
    end
  end

endmodule

`resetall
