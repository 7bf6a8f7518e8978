// SPDX-License-Identifier: Apache-2.0
//
// Purpose: detect a dead bus: transactions are open, and no channel moves.
// Interface: `busy` while a transaction is open, `progress` in each cycle in which one of its
//   channels moves. `dead` is sticky; it is set after `limit` cycles without progress (0:
//   never).
// Latency: `dead` rises in the cycle after the limit is reached.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_watchdog (
    input  wire        clk,
    input  wire        rst,
    input  wire        busy,
    input  wire        progress,
    input  wire [31:0] limit,
    output reg         dead
);

  reg [31:0] waited;

  always @(posedge clk) begin
    if (busy) begin
      waited <= progress ? 32'd0 : waited + 32'd1;
      if (limit != 0 && waited >= limit) dead <= 1'b1;
    end else if (waited != 0) begin
      waited <= 32'd0;
    end
    if (rst) begin
      waited <= 32'd0;
      dead   <= 1'b0;
    end
  end

endmodule

`resetall
