// SPDX-License-Identifier: Apache-2.0
//
// Purpose: synchronous FIFO with the next word on its output.
// Interface: valid/ready on both sides; a word moves when both are high. s_ready does not
//   depend on m_ready. m_* offers a word until it is accepted. `count` is the number of words
//   inside. A writer that counts free places itself may ignore s_ready; it sets CREDIT, and a
//   word that finds no room is then an error of that writer (an assertion, in simulation).
//   With WIPE no word outlives its stay: zeros overwrite its place, in the cycles in which no word
//   enters, and the output while it offers nothing. `count` then includes the words that wait to
//   be overwritten; after a reset those are all. A writer whose s_data holds nothing secret while
//   s_valid is low sets CLEAN, which saves the multiplexer in front of the memory.
// Latency/throughput: 2 cycles from input to output (the memory has a registered output, so
//   block RAM fits), one word per cycle.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_fifo #(
    // bits of a word
    parameter WIDTH  = 8,
    // log2 of the number of words
    parameter LOG2   = 4,
    // 1: the writer never offers a word without room; for the assertion only
    parameter CREDIT = 0,
    // 1: overwrite words that have left
    parameter WIPE   = 0,
    // 1: s_data holds nothing secret while s_valid is low, so it overwrites instead of zeros
    parameter CLEAN  = 0
) (
    input  wire             clk,
    input  wire             rst,
    input  wire             s_valid,
    output wire             s_ready,
    input  wire [WIDTH-1:0] s_data,
    output reg              m_valid,
    input  wire             m_ready,
    output reg  [WIDTH-1:0] m_data,
    output wire [   LOG2:0] count
);

  reg [WIDTH-1:0] mem[0:(1<<LOG2)-1];
  reg [LOG2-1:0] wp;
  reg [LOG2-1:0] rp;
  reg [LOG2:0] words;
  reg [LOG2:0] stored;  // words in mem, without the output register

  wire push = s_valid && s_ready;
  wire pop = m_valid && m_ready;
  wire load = stored != 0 && (!m_valid || m_ready);

  assign s_ready = !words[LOG2];

  // Words before rp that wait to be overwritten. A new word or zeros overwrite the oldest.
  wire [LOG2:0] stale;
  wire scrub = !push && stale != 0;
  wire [LOG2-1:0] oldest = rp - stale[LOG2-1:0];

  assign count = words + stale;

  // Icarus: one test per cycle while nothing happens, because there are many FIFOs
  wire active = `KTLS_GATE(rst || s_valid || m_valid || stored != 0 || scrub);

  // Icarus: if a word enters, a word moves to the output and a word leaves, no counter changes
  wire uneven = `KTLS_GATE(rst || push != load || push != pop);

  wire overflow = CREDIT && s_valid && !s_ready;

  always @(posedge clk) begin
    if (active) begin
      `KTLS_ASSERT(!overflow, "FIFO overflow: a word without a credit")
      if (push) begin
        mem[wp] <= s_data;
        wp <= wp + 1'b1;
      end else if (scrub) begin
        mem[oldest] <= CLEAN ? s_data : {WIDTH{1'b0}};
      end
      if (load) begin
        m_data <= mem[rp];
        rp <= rp + 1'b1;
      end
      if (WIPE != 0) if (rst || (pop && !load)) m_data <= {WIDTH{1'b0}};
      if (uneven) begin
        if (load || pop) m_valid <= load;
        `KTLS_ASSERT(!pop || words != 0, "FIFO underflow")
        if (push != load) stored <= push ? stored + 1'b1 : stored - 1'b1;
        if (push != pop) words <= push ? words + 1'b1 : words - 1'b1;
        if (rst) begin
          wp <= 0;
          rp <= 0;
          stored <= 0;
          words <= 0;
          m_valid <= 1'b0;
        end
      end
    end
  end

  generate
    if (WIPE != 0) begin : g_wipe
      localparam [LOG2:0] ALL = 1 << LOG2;
      reg [LOG2:0] left;
      wire fades = push ? stored + left == ALL : scrub;

      always @(posedge clk) begin
        if (load != fades) left <= load ? left + 1'b1 : left - 1'b1;
        if (rst) left <= ALL;
      end

      assign stale = left;
    end else begin : g_keep
      assign stale = {LOG2 + 1{1'b0}};
    end
  endgenerate

  `KTLS_UNUSED(overflow)

endmodule

`resetall
