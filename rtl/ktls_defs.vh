// SPDX-License-Identifier: Apache-2.0
//
// Purpose: every macro that adapts the RTL to a tool. Synthesis tools, Verilator and wave
//   files get plain Verilog; Icarus gets an equivalent form that it runs faster.
//
// A line in the RTL that is written for the speed of Icarus uses one of these macros or has a
// comment that starts with "Icarus:". One idiom needs no macro, because it is correct and
// harmless everywhere:
//   - A rare condition is nested ("if (a) if (b)"), because Icarus evaluates both operands
//     of "&&".
//
// The gains below are instructions of vvp per record of 16 KiB (AES-256, the device without
// Python, Icarus 11, counted by callgrind), without the macro and with all others in place.

`ifndef KTLS_DEFS_VH
`define KTLS_DEFS_VH

// KTLS_FAST_SIM: set in Icarus, unless KTLS_HW_STYLE asks for the form that the synthesis
// tools and Verilator read. Use KTLS_HW_STYLE to see the temporaries in a wave file. Besides the
// macros below it selects the table form of GHASH (ktls_gftable) and the unrolled form of the byte
// reversal (ktls_swap).
`ifdef __ICARUS__
`ifndef KTLS_HW_STYLE
`define KTLS_FAST_SIM
`endif
`endif

// KTLS_SIM_FORM: set in simulators, which run tables and long vectors faster than the structure
// that suits LUTs. The AES round (ktls_aes_round) and the byte queue (ktls_bytes) have both forms.
// KTLS_HW_STYLE simulates the one that synthesis reads.
//
// KTLS_LOOPS: set in simulators, which run a loop over words faster than the trees of LUTs that
// ktls_gfmul and ktls_gfdot describe for synthesis. KTLS_LUT_TREE simulates the trees; a product
// takes seconds.
`ifdef __ICARUS__
`define KTLS_LOOPS
`define KTLS_SIM_FORM
`endif
`ifdef VERILATOR
`define KTLS_LOOPS
`define KTLS_SIM_FORM
`endif
`ifdef KTLS_LUT_TREE
`undef KTLS_LOOPS
`endif
`ifdef KTLS_HW_STYLE
`undef KTLS_SIM_FORM
`endif

// KTLS_GATE(work) gates a clocked block ("wire active = `KTLS_GATE(...)", "if (active)"). `work` is
// true at least whenever the block has work. A simulator evaluates it only when an input changes,
// so an idle block costs one test per cycle. Synthesis gets the constant 1, because the gate would
// lengthen the paths to all registers of the block.
`ifdef KTLS_SIM_FORM
`define KTLS_GATE(work) (work)
`else
`define KTLS_GATE(work) 1'b1
`endif

// KTLS_TMP(width, name) declares a temporary of a clocked block; KTLS_V(name) is its value.
// Icarus resolves each access to a variable with a dynamic cast, but not an access to an array
// word, so there the temporary is an array of one word. Elsewhere it is a plain register.
// A temporary is assigned before it is read in the same block, so it never becomes a flip-flop.
// Icarus allocates memory for each operation on more than 64 bits: prefer narrower ones.
// Gain: without it 41 % more.
//
// KTLS_XOR(a, b) is a ^ b. Icarus evaluates ^ bit by bit, but |, & and - by machine word, and
// (a | b) - (a & b) equals a ^ b. Use it for wide operands on hot paths. Gain: without it
// 62 % more.
//
// KTLS_SHORTCUT(condition) marks the common case of a branch that also has a general form.
// A variable shift of a wide vector is slow in Icarus, so Icarus takes the shortcut;
// elsewhere the condition is constant 0 and the general form alone remains. Gain: without it
// 4 % more.
`ifdef KTLS_FAST_SIM
`define KTLS_TMP(width, name) reg [(width)-1:0] name [0:0];
`define KTLS_V(name) name[0]
`define KTLS_XOR(a, b) (((a) | (b)) - ((a) & (b)))
`define KTLS_SHORTCUT(condition) (condition)
`else
`define KTLS_TMP(width, name) reg [(width)-1:0] name;
`define KTLS_V(name) name
`define KTLS_XOR(a, b) ((a) ^ (b))
`define KTLS_SHORTCUT(condition) 1'b0
`endif

// KTLS_UNUSED(bits) lists inputs that a module ignores. Only Verilator's lint needs it; Icarus
// would evaluate the reduction at every change.
`ifdef VERILATOR
`define KTLS_UNUSED(bits) wire unused_ok = &{1'b0, bits};
`else
`define KTLS_UNUSED(bits)
`endif

// Assertions, for simulation only. A broken rule prints the instance, the time and the rule, and
// the simulation ends with exit status 1. Both macros expect `clk` and `rst`.
//
// KTLS_ASSERT is a statement of a clocked block: put it where the block does the work that the
// rule is about, so that it costs nothing in an idle cycle. An unknown condition passes.
// KTLS_STABLE is a module item: once valid (v) is high it stays high, with the same payload,
// until ready (r) accepts it. `label` names the generate block. Some simulators also replace
// macro arguments inside strings, so the arguments are not named like words of a rule.
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
          offered <= stalled && !rst ? (payload) : {(width) {1'b0}}; \
        end \
    end \
  endgenerate
`endif

`endif
