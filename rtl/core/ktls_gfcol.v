// SPDX-License-Identifier: Apache-2.0
//
// Purpose: one coefficient of a product of polynomials over GF(2): the XOR of a[i] b[i], as up to
//   8 partial sums.
// Interface: combinational, two LUTs of six inputs deep. The coefficient is the XOR of all bits of
//   p; unused bits are 0.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_gfcol #(
    // number of products, 1 to 128
    parameter N = 1
) (
    input  wire [N-1:0] a,
    input  wire [N-1:0] b,
    output wire [  7:0] p
);

  // A LUT of six inputs takes three products, and the next one six of these sums.
  localparam SUMS = (N + 2) / 3;
  localparam PARTS = (SUMS + 5) / 6;

  wire [ 3*SUMS-1:0] a3 = a;
  wire [ 3*SUMS-1:0] b3 = b;
  wire [6*PARTS-1:0] s;

  genvar i;
  generate
    for (i = 0; i < 6 * PARTS; i = i + 1) begin : g_sum
      if (i < SUMS) begin : g_used
        ktls_dot3 dot (
            .a(a3[3*i+:3]),
            .b(b3[3*i+:3]),
            .z(s[i])
        );
      end else begin : g_unused
        assign s[i] = 1'b0;
      end
    end
    for (i = 0; i < 8; i = i + 1) begin : g_part
      if (i < PARTS) begin : g_used
        ktls_xor6 part (
            .a(s[6*i+:6]),
            .z(p[i])
        );
      end else begin : g_unused
        assign p[i] = 1'b0;
      end
    end
  endgenerate

endmodule

`resetall
