// SPDX-License-Identifier: Apache-2.0
//
// Purpose: declare the bus dead if one of its channels stops or breaks the protocol.
// Interface: bit n of `stuck` is high in each cycle in which channel n owes progress and makes
//   none. Every channel has a timer, so a channel that moves does not hide one that does not.
//   `dead` is sticky. It is set when a bit of `stuck` has been high for `limit` cycles in a row (0:
//   never), and at once by `broken`.
// Latency: `dead` rises in the cycle after the last of the `limit` cycles, or after `broken`.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_watchdog #(
    // channels
    parameter N = 5
) (
    input  wire         clk,
    input  wire         rst,
    input  wire [N-1:0] stuck,
    input  wire         broken,
    input  wire [ 31:0] limit,
    output reg          dead
);

  reg [31:0] waited[0:N-1];  // cycles that a channel has been stuck, with the present one
  reg [N-1:0] counting;  // its timer is running
  integer i;

  // Icarus: one test per cycle while nothing waits
  wire active = rst || broken || stuck != 0 || counting != 0;

  always @(posedge clk) begin
    if (active) begin
      counting <= stuck;
      for (i = 0; i < N; i = i + 1) begin
        if (stuck[i]) begin
          waited[i] <= waited[i] + 32'd1;
          if (limit != 32'd0 && waited[i] >= limit) dead <= 1'b1;
        end else if (counting[i]) begin
          waited[i] <= 32'd1;
        end
      end
      if (broken) dead <= 1'b1;
      if (rst) begin
        for (i = 0; i < N; i = i + 1) waited[i] <= 32'd1;
        counting <= {N{1'b0}};
        dead <= 1'b0;
      end
    end
  end

endmodule

`resetall
