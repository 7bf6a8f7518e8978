// SPDX-License-Identifier: Apache-2.0
//
// Purpose: remember each burst of the device, so that Python can compare it with what rings,
//   descriptors and lists name (`ktls_cosim.check.access`).
// Interface: Python sets `on`, reads log[n] for n from its last position up to `count`, and keeps
//   the position. The log is a ring of 2^16 entries.
// Data format: {write, beats - 1 (8 bits), address (64 bits)}.
// verilator lint_off PROCASSINIT
`timescale 1ns / 1ps
`default_nettype none

module ktls_access_log (
    input wire        clk,
    input wire [63:0] awaddr,
    input wire [ 7:0] awlen,
    input wire        awtaken,
    input wire [63:0] araddr,
    input wire [ 7:0] arlen,
    input wire        artaken
);

  reg on = 0;
  reg [72:0] log[0:65535];
  reg [31:0] count = 0;

  // Icarus: one test per cycle while no burst starts
  wire active = on && (awtaken || artaken);

  always @(posedge clk) begin
    if (active) begin
      if (artaken) begin
        log[count[15:0]] = {1'b0, arlen, araddr};
        count = count + 1;
      end
      if (awtaken) begin
        log[count[15:0]] = {1'b1, awlen, awaddr};
        count = count + 1;
      end
    end
  end

endmodule

`default_nettype wire
