// SPDX-License-Identifier: Apache-2.0
//
// Purpose: byte queue. It moves 0 to W bytes per cycle in and out, so data of any alignment is
//   packed, split and shifted in one place.
// Interface: push_* adds push_cnt bytes, in a cycle with push_ready. `avail` is the number of bytes
//   in the queue; `data` offers the first of them. pop_cnt bytes leave at the end of the cycle;
//   pop_cnt must not exceed `avail` or W, and 0 takes none. push_ready does not depend on pop_cnt.
//   `off` is the place of byte 0 in its word. With PACK it belongs to push_data; `data` begins at
//   place 0, and its bytes beyond `avail` are 0. Without PACK it belongs to `data`, whose other
//   bytes are undefined; push_data begins at place 0.
// Latency/throughput: a byte can leave one cycle after it entered; W bytes per cycle each way.
// Data format: byte 0 is bits [7:0], as on AXI.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_bytes #(
    // log2 of W, the bytes per cycle
    parameter W_LOG2 = 4,
    // 1: the input is aligned anyhow; 0: the output
    parameter PACK   = 1
) (
    input  wire                   clk,
    input  wire                   rst,
    input  wire [     W_LOG2-1:0] off,
    input  wire                   push_valid,
    output wire                   push_ready,
    input  wire [(8<<W_LOG2)-1:0] push_data,
    input  wire [       W_LOG2:0] push_cnt,
    output wire [     W_LOG2+1:0] avail,
    output wire [(8<<W_LOG2)-1:0] data,
    input  wire [       W_LOG2:0] pop_cnt
);

  localparam W = 1 << W_LOG2;
  localparam BITS = 8 * W;

  // The queue has room for 3 W bytes: with up to 2 W inside, W more fit whatever leaves. So
  // push_ready needs no path from pop_cnt and the queue still moves W bytes each way per cycle.
  reg [W_LOG2+1:0] cnt;

  assign push_ready = cnt <= (2 << W_LOG2);
  assign avail = cnt;

  wire push = push_valid && push_ready && push_cnt != 0;

`ifdef KTLS_SIM_FORM
  // Simulators: the bytes are in one vector, shifted at each step. Most steps move whole words, and
  // a wide shift is slow.
  reg [3*BITS-1:0] store;  // bits above 8 cnt are zero, so that new bytes can be ORed in

  `KTLS_TMP(3 * BITS, piece)
  `KTLS_TMP(3 * BITS, kept)
  `KTLS_TMP(W_LOG2 + 2, kept_cnt)
  wire [BITS-1:0] ones = ~{BITS{1'b0}};

  generate
    if (PACK != 0) begin : g_out
      assign data = store[BITS-1:0];
    end else begin : g_out
      reg [BITS-1:0] placed;
      always @*
        placed =
        `KTLS_SHORTCUT(off == 0)
        ? store[BITS-1:0] : store[BITS-1:0] << {off, 3'd0};
      assign data = placed;
    end
  endgenerate

  always @(posedge clk) begin
    if (push || pop_cnt != 0) begin
      `KTLS_V(kept_cnt) = cnt - {1'b0, pop_cnt};
      // the common case: a whole word enters an empty queue
      if (`KTLS_SHORTCUT(push && push_cnt[W_LOG2] && `KTLS_V(kept_cnt) == 0)) begin
        store <= {{2 * BITS{1'b0}}, push_data};
        cnt   <= {1'b0, push_cnt};
      end else begin
        // first remove what leaves, then append what enters
        `KTLS_V(kept) = `KTLS_SHORTCUT(pop_cnt[W_LOG2]) ? store >> BITS : store >> {pop_cnt, 3'd0};
        if (push) begin
          `KTLS_V(piece) = {{2 * BITS{1'b0}}, push_data};
          if (PACK != 0)
            if (!`KTLS_SHORTCUT(off == 0)) `KTLS_V(piece) = `KTLS_V(piece) >> {off, 3'd0};
          // clear the bytes beyond push_cnt
          if (!`KTLS_SHORTCUT(push_cnt[W_LOG2]))
            `KTLS_V(piece) = `KTLS_V(piece) & ~({{2 * BITS{1'b1}}, ones} << {push_cnt, 3'd0});
          `KTLS_V(kept) = `KTLS_V(kept) | (`KTLS_V(piece) << {`KTLS_V(kept_cnt), 3'd0});
          `KTLS_V(kept_cnt) = `KTLS_V(kept_cnt) + {1'b0, push_cnt};
        end
        store <= `KTLS_V(kept);
        cnt   <= `KTLS_V(kept_cnt);
        // Icarus keeps the temporaries; text must not stay there
        if (`KTLS_SHORTCUT(`KTLS_V(kept_cnt) == 0)) `KTLS_V(piece) = {3 * BITS{1'b0}};
      end
    end
    if (rst) begin
      `KTLS_V(piece) = {3 * BITS{1'b0}};
      `KTLS_V(kept)  = {3 * BITS{1'b0}};
      store <= {3 * BITS{1'b0}};
      cnt   <= 0;
    end
  end
`else
  // Synthesis: a ring of 4 W bytes, lane by lane. A word is rotated once on its way in and once on
  // its way out, and either rotation includes `off`. Positions count bytes: the upper two bits are
  // the row, the others the lane.
  reg [W_LOG2+1:0] wp;
  reg [W_LOG2+1:0] rp;
  wire [W_LOG2-1:0] w_lane = wp[W_LOG2-1:0];
  wire [W_LOG2-1:0] r_lane = rp[W_LOG2-1:0];
  wire [1:0] w_row = wp[W_LOG2+1:W_LOG2];
  wire [1:0] r_row = rp[W_LOG2+1:W_LOG2];

  // rotate to the left by `by` bytes, two bits of `by` per level of LUTs
  function [BITS-1:0] rotate(input [BITS-1:0] x, input [W_LOG2-1:0] by);
    integer level;
    integer i;
    reg [BITS-1:0] from;
    reg [W_LOG2:0] rest;
    begin
      rotate = x;
      rest   = {1'b0, by};
      for (level = 0; level < W_LOG2; level = level + 2) begin
        from = rotate;
        for (i = 0; i < W; i = i + 1) begin
          case (rest[1:0])
            2'd0: rotate[8*i+:8] = from[8*i+:8];
            2'd1: rotate[8*i+:8] = from[8*((i+W-(1<<level))%W)+:8];
            2'd2: rotate[8*i+:8] = from[8*((i+2*W-(2<<level))%W)+:8];
            default: rotate[8*i+:8] = from[8*((i+4*W-(3<<level))%W)+:8];
          endcase
        end
        rest = rest >> 2;
      end
    end
  endfunction

  wire [BITS-1:0] entering = rotate(push_data, PACK != 0 ? w_lane - off : w_lane);
  wire [BITS-1:0] head;  // W bytes from rp on, each in its lane
  wire [BITS-1:0] aligned = rotate(head, PACK != 0 ? -r_lane : off - r_lane);
  // Text does not outlive its stay: the lanes are cleared whenever the queue is empty.
  wire clear = rst || (cnt == 0 && !push);

  genvar g;
  generate
    for (g = 0; g < W; g = g + 1) begin : g_lane
      localparam [W_LOG2-1:0] LANE = g;
      reg  [7:0] row0;
      reg  [7:0] row1;
      reg  [7:0] row2;
      reg  [7:0] row3;
      // The lanes before the first one continue in the next row. A lane beyond push_cnt gets a
      // byte that nobody reads, because the next push overwrites it.
      wire [1:0] into = w_row + {1'b0, LANE < w_lane};
      wire [1:0] from = r_row + {1'b0, LANE < r_lane};

      always @(posedge clk) begin
        if (push && into == 2'd0) row0 <= entering[8*g+:8];
        if (push && into == 2'd1) row1 <= entering[8*g+:8];
        if (push && into == 2'd2) row2 <= entering[8*g+:8];
        if (push && into == 2'd3) row3 <= entering[8*g+:8];
        if (clear) begin
          row0 <= 8'd0;
          row1 <= 8'd0;
          row2 <= 8'd0;
          row3 <= 8'd0;
        end
      end

      assign head[8*g+:8] = from == 2'd0 ? row0 : from == 2'd1 ? row1 : from == 2'd2 ? row2 : row3;
      assign data[8*g+:8] = PACK == 0 || cnt > g ? aligned[8*g+:8] : 8'd0;
    end
  endgenerate

  wire [W_LOG2+1:0] in = push ? {1'b0, push_cnt} : {W_LOG2 + 2{1'b0}};

  always @(posedge clk) begin
    wp  <= wp + in;
    rp  <= rp + {1'b0, pop_cnt};
    cnt <= cnt + in - {1'b0, pop_cnt};
    if (rst) begin
      wp  <= 0;
      rp  <= 0;
      cnt <= 0;
    end
  end
`endif

endmodule

`resetall
