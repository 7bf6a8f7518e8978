// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the macros by which the RTL adapts to the speed of Icarus.
//
// Icarus evaluates `^` bit by bit but `|`, `-` and `&` by machine word, and
// (a | b) - (a & b) is the exclusive or, so wide ones go through KTLS_XOR on
// the hot paths. It reads a word of a memory four times faster than a variable, writes
// it six times faster, and words of up to 64 bits need no memory of the process: so
// temporaries there are memories of a few words, which synthesis tools turn into
// wires. A variable shift of a wide vector is slow, too: where a common case
// needs none, KTLS_SHORTCUT chooses it in Icarus and vanishes elsewhere.
// KTLS_FAST_SIM also selects the table form of the GHASH
// multiplier. Define KTLS_HW_STYLE to simulate in Icarus exactly what the
// synthesis tools and Verilator read.

`ifndef KTLS_DEFS_VH
`define KTLS_DEFS_VH

`ifdef __ICARUS__
`ifndef KTLS_HW_STYLE
`define KTLS_FAST_SIM
`endif
`endif

// A tree of single bits is what synthesis needs and what simulators are slowest at; they
// get the same as a loop over words. Define KTLS_LUT_TREE to simulate the tree.
`ifdef __ICARUS__
`define KTLS_LOOPS
`endif
`ifdef VERILATOR
`define KTLS_LOOPS
`endif
`ifdef KTLS_LUT_TREE
`undef KTLS_LOOPS
`endif

// What a module takes and does not use, for Verilator's lint. Only there: Icarus would
// reduce it at every change.
`ifdef VERILATOR
`define KTLS_UNUSED(bits) wire unused_ok = &{1'b0, bits};
`else
`define KTLS_UNUSED(bits)
`endif

`ifdef KTLS_FAST_SIM
`define KTLS_XOR(a, b) (((a) | (b)) - ((a) & (b)))
`define KTLS_SHORTCUT(condition) (condition)
`else
`define KTLS_SHORTCUT(condition) 1'b0
`define KTLS_XOR(a, b) ((a) ^ (b))
`endif

// Assertions, for simulation only. A broken rule prints the instance, the time and the rule, and
// the simulation ends with exit status 1. Both macros expect `clk` and `rst`.
//
// KTLS_ASSERT is a statement of a clocked block: put it where the block does the work that the
// rule is about, so that it costs nothing in an idle cycle. An unknown condition passes.
// KTLS_STABLE is a module item: once valid (v) is high it stays high, with the same payload,
// until ready (r) accepts it. `label` names the generate block. (Some simulators also replace
// macro arguments inside strings, so no argument has the name of a word of a rule.)
`ifdef SYNTHESIS
`define KTLS_ASSERT(condition, rule)
`define KTLS_STABLE(label, v, r, width, payload)
`else
`define KTLS_ASSERT(condition, rule) \
    if (!rst && !(condition)) $fatal(1, "assertion: %m at %0t: %0s", $time, rule);
`define KTLS_STABLE(label, v, r, width, payload) \
  generate \
    if (1) begin : label \
      wire stalled = (v) && !(r); \
      reg waiting; \
      wire watch = stalled || waiting || rst; \
      reg [(width)-1:0] offered; \
      always @(posedge clk) \
        if (watch) begin \
          if (waiting) begin \
            `KTLS_ASSERT(v, "valid fell before ready") \
            `KTLS_ASSERT(offered == (payload), "data changed before ready") \
          end \
          waiting <= stalled && !rst; \
          offered <= payload; \
        end \
    end \
  endgenerate
`endif

`endif
