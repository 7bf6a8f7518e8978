// SPDX-License-Identifier: Apache-2.0
//
// Purpose: sum of three products of bits, one LUT (see ktls_xor6).
// Interface: combinational.
`resetall
`timescale 1ns / 1ps
`default_nettype none (* keep_hierarchy *)
module ktls_dot3 (
    input  wire [2:0] a,
    input  wire [2:0] b,
    output wire       z
);

  assign z = ^(a & b);

endmodule

`resetall
