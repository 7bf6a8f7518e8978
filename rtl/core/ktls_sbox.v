// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the AES S-box as a table with one read port. A table with sixteen read ports makes
//   synthesis tools run out of memory.
// Interface: combinational.
// Data format: z = S(a).
// Source: FIPS 197 section 5.1.1.
// FPGA only: an `initial` block fills the table. An ASIC flow ignores it: replace the table by a
//   ROM or by a `case` over SBOX (ktls_sbox.vh).
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
