// SPDX-License-Identifier: Apache-2.0
//
// Purpose: sum of N products of elements of GF(2^128), in two steps with a register between them.
// Interface: `en` samples a and b; z is valid from the next cycle on and holds. Element n is
//   bits 128 n and up.
// Latency/throughput: 1 cycle, one sum per cycle.
// Data format: bit 127 is the coefficient of x^0, so [127:120] is byte 0 as SP 800-38D prints it.
// Source: NIST SP 800-38D section 6.3; A. Karatsuba and Y. Ofman, 1962. With halves a = a1 X + a0
//   and b = b1 X + b0, the product a b needs three products of halves: a0 b0, a1 b1 and
//   (a0 + a1)(b0 + b1). Three such steps leave 27 products of 16 bits, the leaves:
//
//     a, b -> split: 128 -> 3 x 64 -> 9 x 32 -> 27 x 16 -> columns -> register
//     register -> merge: 27 x 31 -> 9 x 63 -> 3 x 127 -> 255 -> remainder -> z
//
//   Splitting and merging are linear, so all N products share the merge.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_gfdot #(
    // number of products
    parameter N = 1
) (
    input  wire             clk,
    input  wire             en,
    input  wire [128*N-1:0] a,
    input  wire [128*N-1:0] b,
    output wire [    127:0] z
);

`ifdef KTLS_FAST_SIM
  wire [128*N-1:0] products;
  genvar n;

  generate
    for (n = 0; n < N; n = n + 1) begin : g_product
      ktls_gftable product (
          .clk(clk),
          .v_i(en),
          .first_i(1'b1),  // a product alone: nothing accumulates here
          .h_i(b[128*n+:128]),
          .x_i(a[128*n+:128]),
          .add_i(128'd0),
          .y_o(products[128*n+:128])
      );
    end
    if (N == 1) begin : g_sum
      assign z = products;
    end else begin : g_sum
      reg [127:0] sum;
      integer m;

      always @* begin
        sum = products[127:0];
        for (m = 1; m < N; m = m + 1) sum = `KTLS_XOR(sum, products[128*m+:128]);
      end

      assign z = sum;
    end
  endgenerate
`elsif KTLS_LOOPS
  // Simulators run the bit-serial form (SP 800-38D algorithm 1) faster than the tree.
  reg [127:0] sum;
  reg [127:0] next;
  reg [127:0] v;
  integer m, bit_i;

  always @(posedge clk) begin
    if (en) begin
      next = 128'd0;
      for (m = 0; m < N; m = m + 1) begin
        v = b[128*m+:128];
        for (bit_i = 127; bit_i >= 0; bit_i = bit_i - 1) begin
          if (a[128*m+bit_i]) next = next ^ v;
          v = {1'b0, v[127:1]} ^ (v[0] ? {8'he1, 120'd0} : 128'd0);
        end
      end
      sum <= next;
    end
  end

  assign z = sum;
`else
  `include "ktls_gf.vh"

  // a polynomial as 27 factors of the leaves, 16 bits each
  function [431:0] split(input [127:0] p);
    reg [191:0] half;
    reg [287:0] quarter;
    integer part;
    begin
      half = {p[127:64] ^ p[63:0], p};
      for (part = 0; part < 3; part = part + 1) begin
        quarter[96*part+:96] = {half[64*part+32+:32] ^ half[64*part+:32], half[64*part+:64]};
      end
      for (part = 0; part < 9; part = part + 1) begin
        split[48*part+:48] = {quarter[32*part+16+:16] ^ quarter[32*part+:16], quarter[32*part+:32]};
      end
    end
  endfunction

  wire [432*N-1:0] a_split;
  wire [432*N-1:0] b_split;
  wire [27*31-1:0] columns;
  reg  [27*31-1:0] leaves;
  genvar n, i, k, j;

  generate
    for (n = 0; n < N; n = n + 1) begin : g_split
      assign a_split[432*n+:432] = split(gf_turn(a[128*n+:128]));
      assign b_split[432*n+:432] = split(gf_turn(b[128*n+:128]));
    end
    for (i = 0; i < 27; i = i + 1) begin : g_leaf
      for (k = 0; k < 31; k = k + 1) begin : g_column
        // the products of this column: a[LOW] b[k - LOW] to a[k - LOW] b[LOW]
        localparam LOW = k < 16 ? 0 : k - 15;
        localparam COUNT = k - 2 * LOW + 1;
        localparam PARTS = ((N * COUNT + 2) / 3 + 5) / 6;  // of ktls_gfcol
        wire [N*COUNT-1:0] a_column;
        wire [N*COUNT-1:0] b_column;
        wire [7:0] parts;
        for (n = 0; n < N; n = n + 1) begin : g_product
          assign a_column[COUNT*n+:COUNT] = a_split[432*n+16*i+LOW+:COUNT];
          for (j = 0; j < COUNT; j = j + 1) begin : g_turn
            assign b_column[COUNT*n+j] = b_split[432*n+16*i+k-LOW-j];
          end
        end
        ktls_gfcol #(
            .N(N * COUNT)
        ) column (
            .a(a_column),
            .b(b_column),
            .p(parts)
        );
        assign columns[31*i+k] = ^parts[PARTS-1:0];
      end
    end
  endgenerate

  always @(posedge clk) if (en) leaves <= columns;

  // the product of the whole from the products of its halves, `width` bits each
  function [254:0] merge(input [254:0] l, input [254:0] h, input [254:0] both, input integer width);
    merge = l ^ ((l ^ h ^ both) << width) ^ (h << 2 * width);
  endfunction

  reg [9*63-1:0] quarters;
  reg [3*127-1:0] halves;
  reg [254:0] low;
  reg [254:0] high;
  reg [254:0] middle;
  reg [254:0] product;
  integer m;

  always @* begin
    for (m = 0; m < 9; m = m + 1) begin
      low = {224'd0, leaves[93*m+:31]};
      high = {224'd0, leaves[93*m+31+:31]};
      middle = {224'd0, leaves[93*m+62+:31]};
      product = merge(low, high, middle, 16);
      quarters[63*m+:63] = product[62:0];
    end
    for (m = 0; m < 3; m = m + 1) begin
      low = {192'd0, quarters[189*m+:63]};
      high = {192'd0, quarters[189*m+63+:63]};
      middle = {192'd0, quarters[189*m+126+:63]};
      product = merge(low, high, middle, 32);
      halves[127*m+:127] = product[126:0];
    end
    low = {128'd0, halves[126:0]};
    high = {128'd0, halves[253:127]};
    middle = {128'd0, halves[380:254]};
    product = merge(low, high, middle, 64);
  end

  assign z = gf_turn(gf_reduce(product));
`endif

endmodule

`resetall
