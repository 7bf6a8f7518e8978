// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the two macros by which the RTL adapts to the speed of Icarus.
//
// Icarus evaluates `^` bit by bit but `|`, `-` and `&` by machine word, and
// (a | b) - (a & b) is the exclusive or, so wide ones go through KTLS_XOR on
// the hot paths. KTLS_FAST_SIM also selects the table form of the GHASH
// multiplier. Define KTLS_HW_STYLE to simulate in Icarus exactly what the
// synthesis tools and Verilator read.

`ifndef KTLS_DEFS_VH
`define KTLS_DEFS_VH

`ifdef __ICARUS__
`ifndef KTLS_HW_STYLE
`define KTLS_FAST_SIM
`endif
`endif

`ifdef KTLS_FAST_SIM
`define KTLS_XOR(a, b) (((a) | (b)) - ((a) & (b)))
`else
`define KTLS_XOR(a, b) ((a) ^ (b))
`endif

`endif
