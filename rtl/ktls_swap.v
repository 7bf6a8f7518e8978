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

      always @*
        swapped = {
          b[7:0],
          b[15:8],
          b[23:16],
          b[31:24],
          b[39:32],
          b[47:40],
          b[55:48],
          b[63:56],
          b[71:64],
          b[79:72],
          b[87:80],
          b[95:88],
          b[103:96],
          b[111:104],
          b[119:112],
          b[127:120]
        };

      assign z[128*(LANES-1-g)+:128] = swapped;
    end
  endgenerate

endmodule

`resetall
