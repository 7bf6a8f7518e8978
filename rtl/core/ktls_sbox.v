// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the S-box of AES as a table with one read port: synthesis tools spend memory
//   without end on a table with sixteen.
// Interface: combinational.
// Source: FIPS 197 section 5.1.1.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_sbox (
    input  wire [7:0] a,
    output wire [7:0] z
);

  `include "ktls_sbox.vh"

  reg [7:0] s[0:255];
  integer i;
  initial for (i = 0; i < 256; i = i + 1) s[i] = SBOX[8*(255-i)+:8];

  assign z = s[a];

endmodule

`resetall
