// SPDX-License-Identifier: Apache-2.0
//
// Purpose: GHASH accumulator for Icarus: y = (y ^ x) * H ^ add in one cycle. Only ktls_ghash and
//   ktls_gfdot instantiate it, and only with KTLS_FAST_SIM.
// Interface: v_i marks a block x_i; nothing stalls. With first_i a new hash starts (y counts as 0).
//   With the parameter ADDEND the module adds add_i.
// Latency/throughput: 1 cycle, one block per cycle.
// Data format: x_i[127] is the coefficient of x^0, so [127:120] is byte 0 as NIST SP 800-38D and
//   CAVP print it.
// Source: NIST SP 800-38D section 6.3, algorithm 1: Z is the sum of x_i V_i with V_0 = H and
//   V_(i+1) = V_i x. The module looks up 4 bits at a time in a table of sums of the V_i and fills
//   the table when H changes.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

`ifdef KTLS_FAST_SIM
module ktls_gftable #(
    // 1: add add_i
    parameter ADDEND = 0
) (
    input  wire         clk,
    input  wire         v_i,
    input  wire         first_i,
    input  wire [127:0] h_i,
    input  wire [127:0] x_i,
    input  wire [127:0] add_i,
    output reg  [127:0] y_o
);

  // Only Icarus reads this branch, so its temporaries are arrays without KTLS_TMP, and the
  // table may be larger than hardware could afford.
  wire [127:0] poly = {8'he1, 120'd0};

  integer i;
  reg [127:0] v;
  reg [127:0] w;
  reg [127:0] t[0:511];  // t[16 n + k]: the product of H and digit k at position n (4 bits each)
  reg [31:0] a[0:3];
  // The 32 entries of a product are summed as a tree: the XOR of two rows of eight entries side by
  // side is one operation. A row shrinks from eight to four, two and one entries.
  reg [1023:0] z8[0:1];
  reg [511:0] z4[0:1];
  reg [255:0] z2[0:1];
  reg [127:0] z[0:1];
  integer n;

  // A lane without a key multiplies zeros; the table makes the product 0 instead of X.
  initial for (i = 0; i < 512; i = i + 1) t[i] = 128'd0;

  always @(h_i) begin
    v = h_i;
    for (i = 0; i < 512; i = i + 16) begin
      // digits 8, 4, 2 and 1 are H x^(4 n) to H x^(4 n + 3); all others are sums of these
      t[i] = 128'd0;
      for (n = 8; n > 0; n = n >> 1) begin
        t[i+n] = v;
        v = v[0] ? `KTLS_XOR(v >> 1, poly) : v >> 1;
      end
      w = t[i+1];
      v = t[i+2];
      v = `KTLS_XOR(v, w);
      t[i+3] = v;
      for (n = 1; n < 4; n = n + 1) begin
        v = t[i+4];
        w = t[i+n];
        t[i+4+n] = `KTLS_XOR(v, w);
      end
      for (n = 1; n < 8; n = n + 1) begin
        v = t[i+8];
        w = t[i+n];
        t[i+8+n] = `KTLS_XOR(v, w);
      end
      v = t[i+1];
      v = v[0] ? `KTLS_XOR(v >> 1, poly) : v >> 1;
    end
    // a wipe; these temporaries hold multiples of the last key
    if (h_i == 128'd0) begin
      w = 128'd0;
      {z8[0], z8[1], z4[0], z4[1], z2[0], z2[1], z[0], z[1]} = {14{256'd0}};
    end
  end

  // The entries for 32 bits of the factor. A loop variable would double the cost of the lookup.
  `define KTLS_ENTRIES(i, n0, n1, n2, n3, n4, n5, n6, n7) { \
      t[{n0, i[31:28]}], t[{n1, i[27:24]}], t[{n2, i[23:20]}], t[{n3, i[19:16]}], \
      t[{n4, i[15:12]}], t[{n5, i[11:8]}], t[{n6, i[7:4]}], t[{n7, i[3:0]}]}

  always @(posedge clk) begin
    if (v_i) begin
      {a[0], a[1], a[2], a[3]} = first_i ? x_i : `KTLS_XOR(y_o, x_i);
      z8[0] = `KTLS_ENTRIES(a[0], 5'd0, 5'd1, 5'd2, 5'd3, 5'd4, 5'd5, 5'd6, 5'd7);
      z8[1] = `KTLS_ENTRIES(a[1], 5'd8, 5'd9, 5'd10, 5'd11, 5'd12, 5'd13, 5'd14, 5'd15);
      z8[0] = `KTLS_XOR(z8[0], z8[1]);
      z8[1] = `KTLS_ENTRIES(a[2], 5'd16, 5'd17, 5'd18, 5'd19, 5'd20, 5'd21, 5'd22, 5'd23);
      z8[0] = `KTLS_XOR(z8[0], z8[1]);
      z8[1] = `KTLS_ENTRIES(a[3], 5'd24, 5'd25, 5'd26, 5'd27, 5'd28, 5'd29, 5'd30, 5'd31);
      z8[0] = `KTLS_XOR(z8[0], z8[1]);
      {z4[0], z4[1]} = z8[0];
      z4[0] = `KTLS_XOR(z4[0], z4[1]);
      {z2[0], z2[1]} = z4[0];
      z2[0] = `KTLS_XOR(z2[0], z2[1]);
      {z[0], z[1]} = z2[0];
      z[0] = `KTLS_XOR(z[0], z[1]);
      y_o <= ADDEND ? `KTLS_XOR(z[0], add_i) : z[0];
    end
  end

  `undef KTLS_ENTRIES

endmodule
`endif

`resetall
