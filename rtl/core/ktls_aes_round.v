// SPDX-License-Identifier: Apache-2.0
//
// Purpose: one AES round as one pipeline stage, with the round keys that all contexts use in
//   this round. The lanes share the key.
// Interface: v_i marks the blocks of a word; nothing stalls. If a word needs another key than the
//   word before it, kload_i/kctx_i announce its context one cycle before the word, because the
//   key memory is synchronous. kw_* writes one key. The user must not write the key of a context
//   that has blocks in the pipeline (the device drains a context before it sets a new key).
// Latency/throughput: 1 cycle, one word per cycle, contexts in any order.
// Data format: lane n is bits 128 n and up. Bits [127:120] of a lane are byte 0 of its block as
//   FIPS 197 appendix C prints it.
// Source: FIPS 197 sections 5.1 and 5.2. For synthesis each byte passes one S-box, and MixColumns
//   follows. Simulators run a faster form, which merges SubBytes, ShiftRows and MixColumns into
//   four tables (T-tables).
// FPGA only: an `initial` block fills the tables. An ASIC flow ignores it: replace the table by a
//   ROM or by a `case` over SBOX (ktls_sbox.vh).
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
    parameter CTX_W = 6,
    // blocks per word
    parameter LANES = 1
) (
    input  wire                 clk,
    // key memory
    input  wire                 kw_en,
    input  wire [    CTX_W-1:0] kw_ctx,
    input  wire [        127:0] kw_data,
    // the word that arrives in the next cycle needs the key of this context
    input  wire                 kload_i,
    input  wire [    CTX_W-1:0] kctx_i,
    // word
    input  wire [    LANES-1:0] v_i,
    input  wire                 k256_i,
    input  wire [128*LANES-1:0] st_i,
    output reg  [128*LANES-1:0] st_o
);

  `include "ktls_sbox.vh"

  // key_mem is written only by the key engine and read only by this round
  reg [127:0] key_mem[0:(1<<CTX_W)-1];

  genvar g;

`ifdef KTLS_SIM_FORM
  // The round key is an array of two words like the temporaries (see KTLS_TMP).
  reg [63:0] rk[0:1];

  // Icarus: one test per cycle while no key moves
  wire key_work = kw_en || kload_i;

  generate
    for (g = 0; g < LANES; g = g + 1) begin : g_lane
      integer k;
      // columns of the state, the first one on the left
      `KTLS_TMP(32, w0)
      `KTLS_TMP(32, w1)
      `KTLS_TMP(32, w2)
      `KTLS_TMP(32, w3)

      if (LAST != 0) begin : g_last
        reg [7:0] s[0:255];
        `KTLS_TMP(64, x0)
        `KTLS_TMP(64, x1)

        initial for (k = 0; k < 256; k = k + 1) s[k] = SBOX[8*(255-k)+:8];

        always @(posedge clk) begin
          if (g == 0 && key_work) begin
            if (kw_en) key_mem[kw_ctx] <= kw_data;
            if (kload_i) begin
              rk[0] <= key_mem[kctx_i][127:64];
              rk[1] <= key_mem[kctx_i][63:0];
            end
          end
          if (v_i[g]) begin
            {`KTLS_V(w0), `KTLS_V(w1), `KTLS_V(w2), `KTLS_V(w3)} = st_i[128*g+:128];
            // ShiftRows moves row r by r columns to the left, so column c reads column c + r.
            {
            `KTLS_V(x0)
            ,
            `KTLS_V(x1)
            } = {
              s[`KTLS_V(w0) [31:24]],
              s[`KTLS_V(w1) [23:16]],
              s[`KTLS_V(w2) [15:8]],
              s[`KTLS_V(w3) [7:0]],
              s[`KTLS_V(w1) [31:24]],
              s[`KTLS_V(w2) [23:16]],
              s[`KTLS_V(w3) [15:8]],
              s[`KTLS_V(w0) [7:0]],
              s[`KTLS_V(w2) [31:24]],
              s[`KTLS_V(w3) [23:16]],
              s[`KTLS_V(w0) [15:8]],
              s[`KTLS_V(w1) [7:0]],
              s[`KTLS_V(w3) [31:24]],
              s[`KTLS_V(w0) [23:16]],
              s[`KTLS_V(w1) [15:8]],
              s[`KTLS_V(w2) [7:0]]
            };
            `KTLS_V(x0) = `KTLS_XOR(`KTLS_V(x0), rk[0]);
            `KTLS_V(x1) = `KTLS_XOR(`KTLS_V(x1), rk[1]);
            st_o[128*g+:128] <= {`KTLS_V(x0), `KTLS_V(x1)};
          end
        end
      end else begin : g_round
        // t0[a] is the contribution of a byte `a` in row 0 to its column after SubBytes and
        // MixColumns; t1 to t3 are those of rows 1 to 3.
        reg [31:0] t0[0:255];
        reg [31:0] t1[0:255];
        reg [31:0] t2[0:255];
        reg [31:0] t3[0:255];
        reg [7:0] s1;  // S(a) times 1, 2 and 3 in GF(2^8)
        reg [7:0] s2;
        reg [7:0] s3;
        // Two columns side by side: x0, x1 get the terms of row 0, x2, x3 those of row 1, etc.
        `KTLS_TMP(64, x0)
        `KTLS_TMP(64, x1)
        `KTLS_TMP(64, x2)
        `KTLS_TMP(64, x3)
        `KTLS_TMP(64, x4)
        `KTLS_TMP(64, x5)
        `KTLS_TMP(64, x6)
        `KTLS_TMP(64, x7)

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
          if (g == 0 && key_work) begin
            if (kw_en) key_mem[kw_ctx] <= kw_data;
            if (kload_i) begin
              rk[0] <= key_mem[kctx_i][127:64];
              rk[1] <= key_mem[kctx_i][63:0];
            end
          end
          if (v_i[g]) begin
            if (BYPASS128 != 0 && !k256_i) begin
              st_o[128*g+:128] <= st_i[128*g+:128];
            end else begin
              {`KTLS_V(w0), `KTLS_V(w1), `KTLS_V(w2), `KTLS_V(w3)} = st_i[128*g+:128];
              // ShiftRows: column c reads row r of column c + r.
              `KTLS_V(x0) = {t0[`KTLS_V(w0) [31:24]], t0[`KTLS_V(w1) [31:24]]};
              `KTLS_V(x1) = {t0[`KTLS_V(w2) [31:24]], t0[`KTLS_V(w3) [31:24]]};
              `KTLS_V(x2) = {t1[`KTLS_V(w1) [23:16]], t1[`KTLS_V(w2) [23:16]]};
              `KTLS_V(x3) = {t1[`KTLS_V(w3) [23:16]], t1[`KTLS_V(w0) [23:16]]};
              `KTLS_V(x4) = {t2[`KTLS_V(w2) [15:8]], t2[`KTLS_V(w3) [15:8]]};
              `KTLS_V(x5) = {t2[`KTLS_V(w0) [15:8]], t2[`KTLS_V(w1) [15:8]]};
              `KTLS_V(x6) = {t3[`KTLS_V(w3) [7:0]], t3[`KTLS_V(w0) [7:0]]};
              `KTLS_V(x7) = {t3[`KTLS_V(w1) [7:0]], t3[`KTLS_V(w2) [7:0]]};
              `KTLS_V(x0) = `KTLS_XOR(`KTLS_V(x0), `KTLS_V(x2));
              `KTLS_V(x1) = `KTLS_XOR(`KTLS_V(x1), `KTLS_V(x3));
              `KTLS_V(x4) = `KTLS_XOR(`KTLS_V(x4), `KTLS_V(x6));
              `KTLS_V(x5) = `KTLS_XOR(`KTLS_V(x5), `KTLS_V(x7));
              `KTLS_V(x0) = `KTLS_XOR(`KTLS_V(x0), rk[0]);
              `KTLS_V(x1) = `KTLS_XOR(`KTLS_V(x1), rk[1]);
              `KTLS_V(x0) = `KTLS_XOR(`KTLS_V(x0), `KTLS_V(x4));
              `KTLS_V(x1) = `KTLS_XOR(`KTLS_V(x1), `KTLS_V(x5));
              st_o[128*g+:128] <= {`KTLS_V(x0), `KTLS_V(x1)};
            end
          end
        end
      end
    end
  endgenerate
`else
  reg [127:0] rk;

  always @(posedge clk) begin
    if (kw_en) key_mem[kw_ctx] <= kw_data;
    if (kload_i) rk <= key_mem[kctx_i];
  end

  genvar c;
  genvar r;

  generate
    for (g = 0; g < LANES; g = g + 1) begin : g_lane
      reg [7:0] s[0:255];
      integer k;

      initial for (k = 0; k < 256; k = k + 1) s[k] = SBOX[8*(255-k)+:8];

      wire [127:0] st = st_i[128*g+:128];
      wire [127:0] sub;  // after SubBytes and ShiftRows
      wire [127:0] mixed;

      for (c = 0; c < 4; c = c + 1) begin : g_column
        for (r = 0; r < 4; r = r + 1) begin : g_row
          localparam HERE = 127 - 8 * (4 * c + r);
          // ShiftRows: column c reads row r of column c + r
          assign sub[HERE-:8] = s[st[127-8*(4*((c+r)%4)+r)-:8]];
          // MixColumns: 2 a0 + 3 a1 + a2 + a3 = 2 (a0 + a1) + a1 + a2 + a3
          wire [7:0] a0 = sub[HERE-:8];
          wire [7:0] a1 = sub[127-8*(4*c+(r+1)%4)-:8];
          wire [7:0] a2 = sub[127-8*(4*c+(r+2)%4)-:8];
          wire [7:0] a3 = sub[127-8*(4*c+(r+3)%4)-:8];
          wire [7:0] x = a0 ^ a1;
          assign mixed[HERE-:8] = {x[6:0], 1'b0} ^ (x[7] ? 8'h1b : 8'h00) ^ a1 ^ a2 ^ a3;
        end
      end

      always @(posedge clk) begin
        if (v_i[g]) begin
          if (BYPASS128 != 0 && !k256_i) st_o[128*g+:128] <= st;
          else st_o[128*g+:128] <= (LAST != 0 ? sub : mixed) ^ rk;
        end
      end
    end
  endgenerate
`endif

  // Only rounds with BYPASS128 distinguish the key sizes.
  `KTLS_UNUSED(k256_i)

endmodule

`resetall
