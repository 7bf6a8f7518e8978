// SPDX-License-Identifier: Apache-2.0
//
// Purpose: reverse the bytes of a word: on buses byte 0 is bits [7:0], in the core it
//   stands on the left, as standards print it.
// Interface: combinational.
// Data format: byte 0 of one side is the last byte of the other.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_swap #(
    // 16-byte blocks of the word
    parameter LANES = 1
) (
    input  wire [128*LANES-1:0] a,
    output wire [128*LANES-1:0] z
);

  genvar g;
  generate
    for (g = 0; g < LANES; g = g + 1) begin : g_block
      wire [127:0] b = a[128*g+:128];
      // in a block, because a simulator would pass on the sixteen parts of an assignment one by one
      reg  [127:0] swapped;
      reg  [ 31:0] w                 [0:3];
      reg  [ 63:0] half              [0:1];

      // not @*, which would wait for the temporaries, too
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

endmodule

`resetall
