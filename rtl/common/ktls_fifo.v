// SPDX-License-Identifier: Apache-2.0
//
// Purpose: synchronous FIFO with the next word on its output.
// Interface: valid/ready on both sides; a word moves when both are high. s_ready
//   does not depend on m_ready. `count` is the number of words inside.
// Latency/throughput: 2 cycles from input to output (memory with a registered
//   output, so block RAM fits), one word per cycle.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_fifo #(
    // bits of a word
    parameter WIDTH = 8,
    // log2 of the number of words
    parameter LOG2  = 4
) (
    input  wire             clk,
    input  wire             rst,
    input  wire             s_valid,
    output wire             s_ready,
    input  wire [WIDTH-1:0] s_data,
    output reg              m_valid,
    input  wire             m_ready,
    output reg  [WIDTH-1:0] m_data,
    output reg  [   LOG2:0] count
);

  reg [WIDTH-1:0] mem[0:(1<<LOG2)-1];
  reg [LOG2-1:0] wp;
  reg [LOG2-1:0] rp;
  reg [LOG2:0] stored;  // in mem, without the output register

  wire push = s_valid && s_ready;
  wire pop = m_valid && m_ready;
  wire load = stored != 0 && (!m_valid || m_ready);

  assign s_ready = !count[LOG2];

  // one test per cycle while nothing happens: there are many of these
  wire active = rst || s_valid || m_valid || stored != 0;

  // a word in, a word on and a word out leave everything else as it is
  wire uneven = rst || push != load || push != pop;

  always @(posedge clk) begin
    if (active) begin
      if (push) begin
        mem[wp] <= s_data;
        wp <= wp + 1'b1;
      end
      if (load) begin
        m_data <= mem[rp];
        rp <= rp + 1'b1;
      end
      if (uneven) begin
        if (load || pop) m_valid <= load;
        if (push != load) stored <= push ? stored + 1'b1 : stored - 1'b1;
        if (push != pop) count <= push ? count + 1'b1 : count - 1'b1;
        if (rst) begin
          wp <= 0;
          rp <= 0;
          stored <= 0;
          count <= 0;
          m_valid <= 1'b0;
        end
      end
    end
  end

endmodule

`resetall
