// SPDX-License-Identifier: Apache-2.0
//
// Purpose: AES-128 and AES-256 encryption of one word of LANES blocks per cycle. Each word uses the
//   key of its own context. The lanes share the key memory.
// Interface: v_i/ctx_i/k256_i/blk_i enter, v_o/blk_o leave; v_* marks the blocks that count.
//   Nothing stalls. kw_* writes round keys: kw_stage 0 is the whitening key and 1 to 14 are the
//   rounds. An AES-128 key uses 0 and 5 to 14. kw_stage 15 writes all stages at once, which wipes a
//   context.
// Latency/throughput: 16 cycles for both key sizes, one word per cycle.
// Data format: lane n is bits 128 n and up. Bits [127:120] of a lane are byte 0 of its block as
//   FIPS 197 appendix C prints it.
// Source: FIPS 197 section 5.1.
//
//   level    0        1            2 .. 5             6 .. 14         15
//   blk_i -> blk ---> white -----> rounds 1 .. 4 ---> rounds 5 .. 13 -> round 14 = blk_o
//                     AddRoundKey  AES-128: bypassed
//
//   AES-128 has 10 rounds and AES-256 has 14. Both pass all 14 stages, so that results leave in
//   the order in which the blocks entered.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_aes #(
    // width of a context number; there are 1 << CTX_W contexts
    parameter CTX_W = 6,
    // blocks per word
    parameter LANES = 1
) (
    input  wire                 clk,
    input  wire                 rst,
    // round key write
    input  wire                 kw_en,
    input  wire [          3:0] kw_stage,
    input  wire [    CTX_W-1:0] kw_ctx,
    input  wire [        127:0] kw_data,
    // word in
    input  wire [    LANES-1:0] v_i,
    input  wire [    CTX_W-1:0] ctx_i,
    input  wire                 k256_i,
    input  wire [128*LANES-1:0] blk_i,
    // word out
    output wire [    LANES-1:0] v_o,
    output wire [128*LANES-1:0] blk_o
);

  // The word at level n of the picture: its blocks are in bits LANES n and up of v, and bit n of
  // the others belongs to it.
  reg [16*LANES-1:0] v;
  reg [14:0] k256;
  reg [13:0] load;  // the word needs another key than the word before it
  reg [14*CTX_W-1:0] ctx;

  wire [128*LANES-1:0] st[1:15];

  // Every stage holds the round key of the last word. Words pass all stages in the same order,
  // so one comparison of contexts at the entry decides for all stages whether to read a new
  // key. After a key write the held keys may be stale: the next word reads them again.
  reg [CTX_W-1:0] last_ctx;
  reg last_ok;
  wire load_i = v_i != 0 && !(last_ok && ctx_i == last_ctx);
  // Icarus: no shift while all blocks use one key
  wire loading = load_i || load != 0;

  always @(posedge clk) begin
    v <= {v[15*LANES-1:0], v_i};
    k256 <= {k256[13:0], k256_i};
    if (loading) begin
      load <= {load[12:0], load_i};
      ctx  <= {ctx[13*CTX_W-1:0], ctx_i};
    end
    if (load_i) begin
      last_ctx <= ctx_i;
      last_ok  <= 1'b1;
    end
    if (kw_en) last_ok <= 1'b0;
    if (rst) begin
      v <= {16 * LANES{1'b0}};
      load <= 14'd0;
      last_ok <= 1'b0;
    end
  end

  // whitening: the first AddRoundKey
  reg [127:0] key_mem[0:(1<<CTX_W)-1];
  reg [127:0] rk;
  reg [128*LANES-1:0] blk;
  reg [128*LANES-1:0] white;

  always @(posedge clk) begin
    if (kw_en && (kw_stage == 4'd0 || kw_stage == 4'd15)) key_mem[kw_ctx] <= kw_data;
    if (load_i) rk <= key_mem[ctx_i];
  end

  assign st[1] = white;

  genvar g;
  genvar r;
  generate
    for (g = 0; g < LANES; g = g + 1) begin : g_white
      always @(posedge clk) begin
        if (v_i[g]) blk[128*g+:128] <= blk_i[128*g+:128];
        if (v[g]) white[128*g+:128] <= `KTLS_XOR(blk[128*g+:128], rk);
      end
    end
    for (r = 1; r <= 14; r = r + 1) begin : g_round
      ktls_aes_round #(
          .LAST(r == 14),
          .BYPASS128(r <= 4),
          .CTX_W(CTX_W),
          .LANES(LANES)
      ) round (
          .clk(clk),
          .kw_en(kw_en && (kw_stage == r || kw_stage == 4'd15)),
          .kw_ctx(kw_ctx),
          .kw_data(kw_data),
          .kload_i(load[r-1]),
          .kctx_i(ctx[(r-1)*CTX_W+:CTX_W]),
          .v_i(v[LANES*r+:LANES]),
          .k256_i(k256[r]),
          .st_i(st[r]),
          .st_o(st[r+1])
      );
    end
  endgenerate

  assign v_o   = v[15*LANES+:LANES];
  assign blk_o = st[15];

endmodule

`resetall
