// SPDX-License-Identifier: Apache-2.0
//
// Purpose: one number for the outputs of a design in all cycles, to compare two simulators.
// Interface: while `on` is 1, every cycle hashes `v` into `hash`. Write `hash` to restart. An X bit
//   counts as 0, because a two-state simulator starts from 0.
// verilator lint_off PROCASSINIT
`timescale 1ns / 1ps
`default_nettype none

module ktls_hash #(
    // a multiple of 64
    parameter WIDTH = 64
) (
    input wire             clk,
    input wire [WIDTH-1:0] v
);

  reg on = 0;
  reg [63:0] hash = 0;

  reg [WIDTH-1:0] known;
  reg [63:0] h;
  integer i;

  always @(posedge clk) begin
    if (on) begin
      known = v;
      if ((^v) === 1'bx) for (i = 0; i < WIDTH; i = i + 1) known[i] = v[i] === 1'b1;
      h = hash;
      for (i = 0; i < WIDTH; i = i + 64) begin
        h = {h[56:0], h[63:57]} ^ known[i+:64];
        h = h + {h[60:0], 3'd0};
      end
      hash <= h;
    end
  end

endmodule

`default_nettype wire
