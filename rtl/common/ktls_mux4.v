// SPDX-License-Identifier: Apache-2.0
//
// Purpose: choose one of four bytes, with one LUT per bit. It is a module of its own with
//   keep_hierarchy, because technology mappers merge the multiplexers of a rotator with their
//   neighbours, into more LUTs and more levels.
// Interface: combinational; byte `sel` of `a`.
`resetall
`timescale 1ns / 1ps
`default_nettype none

// keep_hierarchy: synthesis must not merge these LUTs with their neighbours
(* keep_hierarchy *)
module ktls_mux4 (
    input  wire [ 1:0] sel,
    input  wire [31:0] a,
    output wire [ 7:0] z
);

  assign z = sel[1] ? (sel[0] ? a[31:24] : a[23:16]) : (sel[0] ? a[15:8] : a[7:0]);

endmodule

`resetall
