// SPDX-License-Identifier: Apache-2.0
//
// Purpose: reverse the bytes of a word. On the buses byte 0 is bits [7:0]; in the core it is the
//   leftmost byte, as the standards print it.
// Interface: combinational.
// Data format: byte n of `a` is byte 16 LANES - 1 - n of `z`.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_swap #(
    // 16-byte blocks per word
    parameter LANES = 1
) (
    input  wire [128*LANES-1:0] a,
    output wire [128*LANES-1:0] z
);

  genvar g;
`ifdef KTLS_FAST_SIM
  // Icarus: a concatenation of 64 bits runs faster than a loop over bytes, and one assignment of
  // `swapped` wakes its readers once. The sensitivity list is not @*, which would include the
  // temporaries.
  generate
    for (g = 0; g < LANES; g = g + 1) begin : g_block
      wire [127:0] b = a[128*g+:128];
      reg  [127:0] swapped;
      reg  [ 31:0] w                 [0:3];
      reg  [ 63:0] half              [0:1];

      always @(b) begin
        {w[0], w[1], w[2], w[3]} = b;
        half[0] = {
          w[3][7:0],
          w[3][15:8],
          w[3][23:16],
          w[3][31:24],
          w[2][7:0],
          w[2][15:8],
          w[2][23:16],
          w[2][31:24]
        };
        half[1] = {
          w[1][7:0],
          w[1][15:8],
          w[1][23:16],
          w[1][31:24],
          w[0][7:0],
          w[0][15:8],
          w[0][23:16],
          w[0][31:24]
        };
        swapped = {half[0], half[1]};
      end

      assign z[128*(LANES-1-g)+:128] = swapped;
    end
  endgenerate
`else
  generate
    for (g = 0; g < 16 * LANES; g = g + 1) begin : g_byte
      assign z[8*g+:8] = a[8*(16*LANES-1-g)+:8];
    end
  endgenerate
`endif

endmodule

`resetall
