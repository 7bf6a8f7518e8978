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
  // Key and temporaries are words of memories, of 64 bits at most: see KTLS_XOR.
  reg [63:0] rk[0:1];
  reg [31:0] w[0:3];

  wire key_work = kw_en || kload_i;

  integer k;

  generate
    if (LAST != 0) begin : g_last
      reg [ 7:0] s[0:255];
      reg [63:0] x[  0:1];

      initial for (k = 0; k < 256; k = k + 1) s[k] = SBOX[8*(255-k)+:8];

      always @(posedge clk) begin
        if (key_work) begin
          if (kw_en) key_mem[kw_ctx] <= kw_data;
          if (kload_i) begin
            rk[0] <= key_mem[kctx_i][127:64];
            rk[1] <= key_mem[kctx_i][63:0];
          end
        end
        if (v_i) begin
          {w[0], w[1], w[2], w[3]} = st_i;
          x[0] = {
            s[w[0][31:24]],
            s[w[1][23:16]],
            s[w[2][15:8]],
            s[w[3][7:0]],
            s[w[1][31:24]],
            s[w[2][23:16]],
            s[w[3][15:8]],
            s[w[0][7:0]]
          };
          x[1] = {
            s[w[2][31:24]],
            s[w[3][23:16]],
            s[w[0][15:8]],
            s[w[1][7:0]],
            s[w[3][31:24]],
            s[w[0][23:16]],
            s[w[1][15:8]],
            s[w[2][7:0]]
          };
          x[0] = `KTLS_XOR(x[0], rk[0]);
          x[1] = `KTLS_XOR(x[1], rk[1]);
          st_o <= {x[0], x[1]};
        end
      end
    end else begin : g_round
      reg [31:0] t0 [0:255];
      reg [31:0] t1 [0:255];
      reg [31:0] t2 [0:255];
      reg [31:0] t3 [0:255];
      reg [ 7:0] s1;
      reg [ 7:0] s2;
      reg [ 7:0] s3;
      reg [63:0] x  [  0:7];

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
        if (key_work) begin
          if (kw_en) key_mem[kw_ctx] <= kw_data;
          if (kload_i) begin
            rk[0] <= key_mem[kctx_i][127:64];
            rk[1] <= key_mem[kctx_i][63:0];
          end
        end
        if (v_i) begin
          if (BYPASS128 != 0 && !k256_i) begin
            st_o <= st_i;
          end else begin
            {w[0], w[1], w[2], w[3]} = st_i;
            x[0] = {t0[w[0][31:24]], t0[w[1][31:24]]};
            x[1] = {t0[w[2][31:24]], t0[w[3][31:24]]};
            x[2] = {t1[w[1][23:16]], t1[w[2][23:16]]};
            x[3] = {t1[w[3][23:16]], t1[w[0][23:16]]};
            x[4] = {t2[w[2][15:8]], t2[w[3][15:8]]};
            x[5] = {t2[w[0][15:8]], t2[w[1][15:8]]};
            x[6] = {t3[w[3][7:0]], t3[w[0][7:0]]};
            x[7] = {t3[w[1][7:0]], t3[w[2][7:0]]};
            x[0] = `KTLS_XOR(x[0], x[2]);
            x[1] = `KTLS_XOR(x[1], x[3]);
            x[4] = `KTLS_XOR(x[4], x[6]);
            x[5] = `KTLS_XOR(x[5], x[7]);
            x[0] = `KTLS_XOR(x[0], rk[0]);
            x[1] = `KTLS_XOR(x[1], rk[1]);
            x[0] = `KTLS_XOR(x[0], x[4]);
            x[1] = `KTLS_XOR(x[1], x[5]);
            st_o <= {x[0], x[1]};
          end
        end
      end
    end
  endgenerate

  // rounds 5 to 14 treat both key sizes alike
  `KTLS_UNUSED(k256_i)

endmodule

`resetall
