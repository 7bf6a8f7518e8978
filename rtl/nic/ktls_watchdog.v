// SPDX-License-Identifier: Apache-2.0
//
// Purpose: notice a bus on which nothing moves any more.
// Interface: `busy` while a transaction is open, `progress` in every cycle in which one
//   of its channels moves. `dead` sticks after `limit` cycles (0: never) without.
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
