// SPDX-License-Identifier: Apache-2.0
//
// Purpose: XOR of three products of bits as one LUT of six inputs (see ktls_xor6).
// Interface: combinational.
`resetall
`timescale 1ns / 1ps
`default_nettype none

// keep_hierarchy: synthesis must not merge this LUT with its neighbours
(* keep_hierarchy *)
module ktls_dot3 (
    input  wire [2:0] a,
    input  wire [2:0] b,
    output wire       z
);

  assign z = ^(a & b);

endmodule

`resetall
