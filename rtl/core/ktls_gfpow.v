// SPDX-License-Identifier: Apache-2.0
//
// Purpose: compute the powers of a GHASH key that a core with several lanes needs: H, H^2 .. H^N.
// Interface: `start` samples h. `done` is high for one cycle, and only in that cycle `powers` holds
//   all of them; then the module clears every register that depends on the key.
// Latency: 16 cycles per product, 16 (N - 1) + 1 in all.
// Data format: powers[128*(n-1)+:128] is H^n; bit 127 of each is the coefficient of x^0.
// Source: NIST SP 800-38D section 6.3, algorithm 1, eight steps per cycle.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_gfpow #(
    // number of powers, at least 2
    parameter N = 4
) (
    input  wire             clk,
    input  wire             rst,
    input  wire             start,
    input  wire [    127:0] h,
    output reg              done,
    output reg  [128*N-1:0] powers
);

  reg busy;
  reg [3:0] step;
  reg [N-1:0] have;  // bit n: H^(n+1) is known; the bits fill up from bit 0
  reg [127:0] a;  // factor: the bits of the last power not yet multiplied, first one on the left
  reg [127:0] v;  // H * x^(8 step)
  reg [127:0] z;  // partial product
  reg [127:0] sum;
  reg [127:0] power;
  integer i;

  always @(posedge clk) begin
    done <= 1'b0;
    if (start) begin
      busy <= 1'b1;
      step <= 4'd0;
      have <= {{N - 1{1'b0}}, 1'b1};
      powers[127:0] <= h;
      a <= h;
      v <= h;
      z <= 128'd0;
    end else if (busy) begin
      sum   = z;
      power = v;
      for (i = 127; i >= 120; i = i - 1) begin
        if (a[i]) sum = sum ^ power;
        power = {1'b0, power[127:1]} ^ (power[0] ? {8'he1, 120'd0} : 128'd0);
      end
      step <= step + 4'd1;
      z <= sum;
      v <= power;
      a <= {a[119:0], 8'd0};
      if (step == 4'd15) begin
        // `sum` is the next power, and the factor of the power after it
        for (i = 1; i < N; i = i + 1) if (have[i-1] && !have[i]) powers[128*i+:128] <= sum;
        have <= {have[N-2:0], 1'b1};
        a <= sum;
        v <= powers[127:0];
        z <= 128'd0;
        if (have[N-2]) begin
          busy <= 1'b0;
          done <= 1'b1;
        end
      end
    end else begin
      // idle: no part of a key stays in a register
      powers <= {N{128'd0}};
      a <= 128'd0;
      v <= 128'd0;
      z <= 128'd0;
    end
    if (rst) begin
      busy   <= 1'b0;
      done   <= 1'b0;
      powers <= {N{128'd0}};
    end
  end

endmodule

`resetall
