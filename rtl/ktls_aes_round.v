// SPDX-License-Identifier: Apache-2.0
//
// Purpose: one AES round as one pipeline stage, with the round keys of every
//   context for this round beside it.
// Interface: v_i marks a block; nothing stalls. A block whose key differs from that
//   of the block before announces its context one cycle earlier on kload_i/kctx_i,
//   so that the key comes out of a synchronous memory together with the block. kw_* writes one key; reading a key that is
//   being replaced is the user's mistake (the device drains before it rekeys).
// Latency/throughput: 1 cycle, one block per cycle, any mix of contexts.
// Data format: st[127:120] is byte 0 of the block as printed in FIPS 197.
// Source: FIPS 197 sections 5.1 and 5.2; SubBytes, ShiftRows and MixColumns are
//   merged into four tables, of which synthesis keeps the distinct bits.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_aes_round #(
    // 1: this is round 14, which has no MixColumns
    parameter LAST = 0,
    // 1: AES-128 blocks pass unchanged (rounds 1 to 4 of the AES-256 pipeline)
    parameter BYPASS128 = 0,
    // width of a context number
    parameter CTX_W = 6
) (
    input  wire             clk,
    // key memory
    input  wire             kw_en,
    input  wire [CTX_W-1:0] kw_ctx,
    input  wire [    127:0] kw_data,
    // the block that arrives in the next cycle needs the key of this context
    input  wire             kload_i,
    input  wire [CTX_W-1:0] kctx_i,
    // block
    input  wire             v_i,
    input  wire             k256_i,
    input  wire [    127:0] st_i,
    output reg  [    127:0] st_o
);

  `include "ktls_sbox.vh"

  // key_mem is written only by the key engine and read only by this round
  reg [127:0] key_mem[0:(1<<CTX_W)-1];
  reg [127:0] rk;

  // one test per cycle while nothing happens
  wire active = kw_en || kload_i || v_i;

  integer k;

  generate
    if (LAST != 0) begin : g_last
      reg [  7:0] s  [0:255];
      reg [ 31:0] w0;
      reg [ 31:0] w1;
      reg [ 31:0] w2;
      reg [ 31:0] w3;
      reg [127:0] a;

      initial for (k = 0; k < 256; k = k + 1) s[k] = SBOX[8*(255-k)+:8];

      always @(posedge clk) begin
        if (active) begin
          if (kw_en) key_mem[kw_ctx] <= kw_data;
          if (kload_i) rk <= key_mem[kctx_i];
        end
        if (v_i) begin
          {w0, w1, w2, w3} = st_i;
          a = {
            s[w0[31:24]],
            s[w1[23:16]],
            s[w2[15:8]],
            s[w3[7:0]],
            s[w1[31:24]],
            s[w2[23:16]],
            s[w3[15:8]],
            s[w0[7:0]],
            s[w2[31:24]],
            s[w3[23:16]],
            s[w0[15:8]],
            s[w1[7:0]],
            s[w3[31:24]],
            s[w0[23:16]],
            s[w1[15:8]],
            s[w2[7:0]]
          };
          st_o <= `KTLS_XOR(a, rk);
        end
      end
    end else begin : g_round
      reg [ 31:0] t0 [0:255];
      reg [ 31:0] t1 [0:255];
      reg [ 31:0] t2 [0:255];
      reg [ 31:0] t3 [0:255];
      reg [  7:0] s1;
      reg [  7:0] s2;
      reg [  7:0] s3;
      reg [ 31:0] w0;
      reg [ 31:0] w1;
      reg [ 31:0] w2;
      reg [ 31:0] w3;
      reg [127:0] a;
      reg [127:0] b;
      reg [127:0] c;
      reg [127:0] d;

      initial begin
        for (k = 0; k < 256; k = k + 1) begin
          s1 = SBOX[8*(255-k)+:8];
          s2 = {s1[6:0], 1'b0} ^ (s1[7] ? 8'h1b : 8'h00);
          s3 = s2 ^ s1;
          t0[k] = {s2, s1, s1, s3};
          t1[k] = {s3, s2, s1, s1};
          t2[k] = {s1, s3, s2, s1};
          t3[k] = {s1, s1, s3, s2};
        end
      end

      always @(posedge clk) begin
        if (active) begin
          if (kw_en) key_mem[kw_ctx] <= kw_data;
          if (kload_i) rk <= key_mem[kctx_i];
        end
        if (v_i) begin
          if (BYPASS128 != 0 && !k256_i) begin
            st_o <= st_i;
          end else begin
            {w0, w1, w2, w3} = st_i;
            a = {t0[w0[31:24]], t0[w1[31:24]], t0[w2[31:24]], t0[w3[31:24]]};
            b = {t1[w1[23:16]], t1[w2[23:16]], t1[w3[23:16]], t1[w0[23:16]]};
            c = {t2[w2[15:8]], t2[w3[15:8]], t2[w0[15:8]], t2[w1[15:8]]};
            d = {t3[w3[7:0]], t3[w0[7:0]], t3[w1[7:0]], t3[w2[7:0]]};
            a = `KTLS_XOR(a, b);
            c = `KTLS_XOR(c, d);
            a = `KTLS_XOR(a, rk);
            st_o <= `KTLS_XOR(a, c);
          end
        end
      end
    end
  endgenerate

  // rounds 5 to 14 treat both key sizes alike
  wire unused_ok = &{1'b0, k256_i};

endmodule

`resetall
