// SPDX-License-Identifier: Apache-2.0
//
// Purpose: exclusive or of six bits, one LUT. A module of its own because technology
//   mappers rebuild long XOR trees with more levels than they need.
// Interface: combinational.
`resetall
`timescale 1ns / 1ps
`default_nettype none (* keep_hierarchy *)
module ktls_xor6 (
    input  wire [5:0] a,
    output wire       z
);

  assign z = ^a;

endmodule

`resetall
