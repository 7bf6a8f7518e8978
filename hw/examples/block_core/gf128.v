// SPDX-License-Identifier: Apache-2.0
//
// Purpose: one multiplication in the field of GCM at a time, for block_gcm.
// Interface: a pulse of `start` takes `a` and `b`. `busy` is high while they are multiplied;
//   `p` is valid from its fall until the next `start`.
// Latency: 32 cycles.
// Data format: bit 127 is the coefficient of x^0.
// Source: NIST SP 800-38D section 6.3, four bits of `a` per cycle.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module gf128 (
    input  wire         clk,
    input  wire         rst_n,
    input  wire         start,
    input  wire [127:0] a,
    input  wire [127:0] b,
    output reg          busy,
    output reg  [127:0] p
);

  reg [127:0] left;  // bits of `a` that are not used yet
  reg [127:0] power;  // b times a power of x
  reg [4:0] step;
  reg [127:0] sum;
  reg [127:0] next;
  integer i;

  always @* begin
    sum  = p;
    next = power;
    for (i = 127; i >= 124; i = i - 1) begin
      if (left[i]) sum = sum ^ next;
      next = {1'b0, next[127:1]} ^ (next[0] ? {8'he1, 120'd0} : 128'd0);
    end
  end

  always @(posedge clk) begin
    if (busy) begin
      p <= sum;
      power <= next;
      left <= {left[123:0], 4'd0};
      step <= step + 5'd1;
      if (&step) busy <= 1'b0;
    end else if (start) begin
      busy <= 1'b1;
      step <= 5'd0;
      left <= a;
      power <= b;
      p <= 128'd0;
    end
    if (!rst_n) busy <= 1'b0;
  end

endmodule

`resetall
