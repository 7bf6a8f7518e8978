// SPDX-License-Identifier: Apache-2.0
//
// Purpose: AES-128 and AES-256 encryption of one block per cycle, each block
//   with the key of its own context.
// Interface: v_i/ctx_i/k256_i/blk_i in, v_o/blk_o out, nothing stalls. kw_* writes
//   round keys: kw_stage 0 is the whitening key and 1..14 the rounds; an AES-128
//   key uses 0 and 5..14; kw_stage 15 writes all of them (to wipe a context).
// Latency/throughput: 16 cycles for both key sizes, one block per cycle.
// Data format: bits [127:120] are byte 0 as printed in FIPS 197 appendix C.
// Source: FIPS 197.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_aes #(
    // width of a context number
    parameter CTX_W = 6
) (
    input  wire             clk,
    input  wire             rst,
    // round key write
    input  wire             kw_en,
    input  wire [      3:0] kw_stage,
    input  wire [CTX_W-1:0] kw_ctx,
    input  wire [    127:0] kw_data,
    // block in
    input  wire             v_i,
    input  wire [CTX_W-1:0] ctx_i,
    input  wire             k256_i,
    input  wire [    127:0] blk_i,
    // block out
    output wire             v_o,
    output wire [    127:0] blk_o
);

  // levels: 0 holds the input, 1 the whitened block, 2..15 the rounds
  reg [15:0] v;
  reg [14:0] k256;
  reg [13:0] load;  // this block needs another key than the one before it
  reg [14*CTX_W-1:0] ctx;

  wire [127:0] st[1:15];

  // Blocks pass every stage in the same order, so one comparison at the entry serves
  // all stages. A key that is written may be any of them: load again after it.
  reg [CTX_W-1:0] last_ctx;
  reg last_ok;
  wire load_i = v_i && !(last_ok && ctx_i == last_ctx);
  wire loading = load_i || load != 0;

  always @(posedge clk) begin
    v <= {v[14:0], v_i};
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
      v <= 16'd0;
      load <= 14'd0;
      last_ok <= 1'b0;
    end
  end

  // whitening
  reg [127:0] key_mem[0:(1<<CTX_W)-1];
  reg [127:0] rk;
  reg [127:0] blk;
  reg [127:0] white;

  always @(posedge clk) begin
    if (kw_en && (kw_stage == 4'd0 || kw_stage == 4'd15)) key_mem[kw_ctx] <= kw_data;
    if (load_i) rk <= key_mem[ctx_i];
    if (v_i) blk <= blk_i;
    if (v[0]) white <= `KTLS_XOR(blk, rk);
  end

  assign st[1] = white;

  genvar r;
  generate
    for (r = 1; r <= 14; r = r + 1) begin : g_round
      ktls_aes_round #(
          .LAST(r == 14),
          .BYPASS128(r <= 4),
          .CTX_W(CTX_W)
      ) round (
          .clk(clk),
          .kw_en(kw_en && (kw_stage == r || kw_stage == 4'd15)),
          .kw_ctx(kw_ctx),
          .kw_data(kw_data),
          .kload_i(load[r-1]),
          .kctx_i(ctx[(r-1)*CTX_W+:CTX_W]),
          .v_i(v[r]),
          .k256_i(k256[r]),
          .st_i(st[r]),
          .st_o(st[r+1])
      );
    end
  endgenerate

  assign v_o   = v[15];
  assign blk_o = st[15];

endmodule

`resetall
