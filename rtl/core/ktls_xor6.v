// SPDX-License-Identifier: Apache-2.0
//
// Purpose: XOR of six bits as one LUT. It is a module of its own with keep_hierarchy, because
//   technology mappers rebuild long XOR trees with more levels than necessary.
// Interface: combinational.
`resetall
`timescale 1ns / 1ps
`default_nettype none

// keep_hierarchy: synthesis must not merge this LUT with its neighbours
(* keep_hierarchy *)
module ktls_xor6 (
    input  wire [5:0] a,
    output wire       z
);

  assign z = ^a;

endmodule

`resetall
