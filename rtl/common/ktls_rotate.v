// SPDX-License-Identifier: Apache-2.0
//
// Purpose: rotate W bytes: byte i of the input becomes byte (i + by) mod W of the output.
// Interface: combinational, one level of LUTs per two bits of `by`. For synthesis only: simulators
//   shift long vectors faster.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_rotate #(
    // log2 of W
    parameter W_LOG2 = 4
) (
    input  wire [(8<<W_LOG2)-1:0] x,
    input  wire [     W_LOG2-1:0] by,
    output wire [(8<<W_LOG2)-1:0] z
);

  localparam W = 1 << W_LOG2;
  localparam LEVELS = (W_LOG2 + 1) / 2;

  wire [2*LEVELS-1:0] turn = {{2 * LEVELS - W_LOG2{1'b0}}, by};

  genvar l;
  genvar i;
  generate
    for (l = 0; l <= LEVELS; l = l + 1) begin : g_level
      for (i = 0; i < W; i = i + 1) begin : g_byte
        wire [7:0] b;  // a net of its own: in simulation only its readers wake
        if (l == 0) begin : g_in
          assign b = x[8*i+:8];
        end else begin : g_mux
          ktls_mux4 mux (
              .sel(turn[2*l-2+:2]),
              .a({
                g_level[l-1].g_byte[(i+3*W-(3<<(2*l-2))%W)%W].b,
                g_level[l-1].g_byte[(i+2*W-(2<<(2*l-2))%W)%W].b,
                g_level[l-1].g_byte[(i+W-(1<<(2*l-2))%W)%W].b,
                g_level[l-1].g_byte[i].b
              }),
              .z(b)
          );
        end
      end
    end
    for (i = 0; i < W; i = i + 1) begin : g_out
      assign z[8*i+:8] = g_level[LEVELS].g_byte[i].b;
    end
  endgenerate

endmodule

`resetall
