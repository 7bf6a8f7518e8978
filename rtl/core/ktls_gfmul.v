// SPDX-License-Identifier: Apache-2.0
//
// Purpose: product of two elements of GF(2^128) in the representation of GCM.
// Interface: combinational, four LUTs of six inputs deep. Coefficient k of the plain product is the
//   XOR of all a_i b_(k-i); ktls_gfcol sums it in steps of 3 and 6. The reduction by x^128 =
//   x^7 + x^2 + x + 1 determines which coefficients contribute to a bit of the result; two more
//   steps of 6 sum those.
// Data format: bit 127 is the coefficient of x^0, so [127:120] is byte 0 as SP 800-38D prints it.
// Source: NIST SP 800-38D section 6.3.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_gfmul (
    input  wire [127:0] a,
    input  wire [127:0] b,
    output wire [127:0] z
);

`ifdef KTLS_LOOPS
  // Simulators run the bit-serial form (SP 800-38D algorithm 1) faster than the tree.
  wire [127:0] poly = {8'he1, 120'd0};
  reg [127:0] sum;
  reg [127:0] v;
  integer i;

  always @* begin
    sum = 128'd0;
    v   = b;
    for (i = 127; i >= 0; i = i - 1) begin
      if (a[i]) sum = sum ^ v;
      v = {1'b0, v[127:1]} ^ (v[0] ? poly : 128'd0);
    end
  end

  assign z = sum;
`else

  // number of partial sums of a coefficient (ktls_gfcol); 0 if there is no such coefficient
  function integer parts(input integer coeff);
    integer products;
    begin
      products = coeff < 128 ? coeff + 1 : 255 - coeff;
      parts = coeff < 0 || coeff > 254 ? 0 : ((products + 2) / 3 + 5) / 6;
    end
  endfunction

  // The coefficients of the plain product that contribute to bit `to` of the result: `to` itself,
  // those from 128 on that the reduction adds to this bit, and those that it adds after a second
  // reduction. 255 means none.
  function integer source(input integer to, input integer which);
    case (which)
      0: source = to;
      1: source = to < 127 ? 128 + to : 255;
      2: source = to >= 1 ? 127 + to : 255;
      3: source = to >= 2 ? 126 + to : 255;
      4: source = to >= 7 ? 121 + to : 255;
      5: source = to <= 5 ? 249 + to : 255;
      6: source = to >= 1 && to <= 6 ? 248 + to : 255;
      7: source = to >= 2 && to <= 7 ? 247 + to : 255;
      8: source = to >= 7 && to <= 12 ? 242 + to : 255;
      default: source = to <= 2 || to == 7 ? 254 : 255;
    endcase
  endfunction

  // position of the partial sums of source `which` among all partial sums of bit `to`
  function integer place(input integer to, input integer which);
    integer i;
    begin
      place = 0;
      for (i = 0; i < which; i = i + 1) place = place + parts(source(to, i));
    end
  endfunction

  localparam SOURCES = 10;

  wire [127:0] left;  // a with the coefficient of x^0 on the right
  wire [8*255-1:0] p;  // the partial sums of all coefficients

  genvar k, j, n, m;
  generate
    for (k = 0; k < 128; k = k + 1) begin : g_turn
      assign left[k] = a[127-k];
    end
    for (k = 0; k < 255; k = k + 1) begin : g_col
      if (k < 128) begin : g_low
        ktls_gfcol #(
            .N(k + 1)
        ) col (
            .a(left[k:0]),
            .b(b[127:127-k]),
            .p(p[8*k+:8])
        );
      end else begin : g_high
        ktls_gfcol #(
            .N(255 - k)
        ) col (
            .a(left[127:k-127]),
            .b(b[254-k:0]),
            .p(p[8*k+:8])
        );
      end
    end
    for (j = 0; j < 128; j = j + 1) begin : g_bit
      localparam COUNT = place(j, SOURCES);
      localparam SUMS = (COUNT + 5) / 6;  // at most 6
      wire [6*SUMS-1:0] u;  // all partial sums of this bit, zero-padded to whole LUTs
      wire [5:0] s;
      for (n = 0; n < SOURCES; n = n + 1) begin : g_source
        if (parts(source(j, n)) != 0) begin : g_used
          assign u[place(j, n)+:parts(source(j, n))] = p[8*source(j, n)+:parts(source(j, n))];
        end
      end
      if (COUNT < 6 * SUMS) begin : g_rest
        assign u[6*SUMS-1:COUNT] = 0;
      end
      for (m = 0; m < 6; m = m + 1) begin : g_sum
        if (m < SUMS) begin : g_used
          ktls_xor6 sum (
              .a(u[6*m+:6]),
              .z(s[m])
          );
        end else begin : g_unused
          assign s[m] = 1'b0;
        end
      end
      ktls_xor6 total (
          .a(s),
          .z(z[127-j])
      );
    end
  endgenerate
`endif

endmodule

`resetall
