// SPDX-License-Identifier: Apache-2.0
//
// Purpose: GHASH of the words of a record, LANES blocks per word.
// Interface: v_i marks a word; nothing stalls. first_i starts a new hash; last_i marks its last
//   word, and y_o is the hash when that word has passed. Lane n is bits 128 (LANES - n - 1) and up.
//   LANES = 1: h_i is H in every cycle of the hash.
//   LANES > 1: h_i holds the power of H for each lane; a word of k blocks b1 .. bk takes the hash
//   from y to (y ^ b1) H^k ^ b2 H^(k-1) ^ .. ^ bk H. A lane without a block has x_i = 0.
//   Words of other hashes may follow without a gap. h_i = 0 clears the registers that hold h_i.
// Latency/throughput: y_o is valid 1 cycle after the last word (2 with several lanes); one word per
//   cycle.
// Data format: x_i[127] is the coefficient of x^0, so [127:120] is byte 0 as NIST SP 800-38D and
//   CAVP print it.
// Source: NIST SP 800-38D section 6.4.
//
// LANES = 1 in hardware: two sums take turns, so a product has two cycles.
//
//   x_N H ^ x_(N-1) H^2 ^ x_(N-2) H^3 ^ x_(N-3) H^4 ^ ...
//     = (x_N ^ x_(N-2) H^2 ^ ...) H  ^  (x_(N-1) ^ x_(N-3) H^2 ^ ...) H^2
//
//   The last block meets H and all others meet H^2. Squaring is linear and takes two LUTs per bit.
// LANES > 1: only the product of lane 0 depends on the previous hash. The sum of the other products
//   is computed one cycle earlier, so the loop is one multiplication.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_ghash #(
    // blocks per word
    parameter LANES = 1
) (
    input  wire                 clk,
    input  wire                 v_i,
    input  wire                 first_i,
    input  wire                 last_i,
    input  wire [128*LANES-1:0] h_i,
    input  wire [128*LANES-1:0] x_i,
    output wire [        127:0] y_o
);

  generate
    if (LANES == 1) begin : g_one
`ifdef KTLS_FAST_SIM
      ktls_gftable table_form (
          .clk(clk),
          .v_i(v_i),
          .first_i(first_i),
          .h_i(h_i),
          .x_i(x_i),
          .add_i(128'd0),
          .y_o(y_o)
      );
`else
      `include "ktls_gf.vh"

      function [127:0] square(input [127:0] root);
        reg [254:0] spread;
        integer power;
        begin
          spread = 255'd0;
          for (power = 0; power < 128; power = power + 1) spread[2*power] = root[127-power];
          square = gf_turn(gf_reduce(spread));
        end
      endfunction

      wire [127:0] fresh;  // the sum that the last block entered
      reg  [127:0] other;  // the sum that the next block enters

      ktls_gfdot #(
          .N(1)
      ) product (
          .clk(clk),
          .en (v_i),
          .a  (first_i ? x_i : x_i ^ other),
          .b  (last_i ? h_i : square(h_i)),
          .z  (fresh)
      );

      always @(posedge clk) if (v_i) other <= first_i ? 128'd0 : fresh;

      assign y_o = fresh ^ other;
`endif
    end else begin : g_several
      localparam REST = 128 * (LANES - 1);
      reg v;
      reg first;
      reg [127:0] h;
      reg [127:0] x;
      wire [127:0] others;

      always @(posedge clk) begin
        v <= v_i;
        h <= h_i[REST+:128];
        if (v_i) begin
          first <= first_i;
          x <= x_i[REST+:128];
        end
      end

      ktls_gfdot #(
          .N(LANES - 1)
      ) products (
          .clk(clk),
          .en (v_i),
          .a  (x_i[REST-1:0]),
          .b  (h_i[REST-1:0]),
          .z  (others)
      );

`ifdef KTLS_FAST_SIM
      ktls_gftable #(
          .ADDEND(1)
      ) table_form (
          .clk(clk),
          .v_i(v),
          .first_i(first),
          .h_i(h),
          .x_i(x),
          .add_i(others),
          .y_o(y_o)
      );
`else
      wire [127:0] z;
      reg  [127:0] y;

      ktls_gfmul loop (
          .a(first ? x : x ^ y),
          .b(h),
          .z(z)
      );

      always @(posedge clk) if (v) y <= z ^ others;

      assign y_o = y;
`endif
    end
  endgenerate

  `KTLS_UNUSED(last_i)

endmodule

`resetall
