// SPDX-License-Identifier: Apache-2.0
//
// Purpose: byte queue. It moves 0 to W bytes per cycle in and out, so data of any alignment is
//   packed, split and shifted in one place.
// Interface: push_* adds push_cnt bytes, in a cycle with push_ready: those of push_data, or zeros
//   if push_zero (only with PACK). `avail` is the number of bytes in the queue; `data` offers the
//   first of them. pop_cnt bytes leave at the end of the cycle; pop_cnt must not exceed `avail` or
//   W, and 0 takes none. push_ready does not depend on pop_cnt.
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
    input  wire                   push_zero,
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
      if (`KTLS_SHORTCUT(push && push_cnt[W_LOG2] && !push_zero && `KTLS_V(kept_cnt) == 0)) begin
        store <= {{2 * BITS{1'b0}}, push_data};
        cnt   <= {1'b0, push_cnt};
      end else begin
        // first remove what leaves, then append what enters
        `KTLS_V(kept) = `KTLS_SHORTCUT(pop_cnt[W_LOG2]) ? store >> BITS : store >> {pop_cnt, 3'd0};
        if (push) begin
          `KTLS_V(piece) = {{2 * BITS{1'b0}}, push_data};
          if (PACK != 0) begin
            if (!`KTLS_SHORTCUT(off == 0)) `KTLS_V(piece) = `KTLS_V(piece) >> {off, 3'd0};
            if (push_zero) `KTLS_V(piece) = {3 * BITS{1'b0}};
          end
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

  wire [BITS-1:0] entering;  // push_data, each byte in its lane
  wire [BITS-1:0] head;  // W bytes from rp on, each in its lane

  ktls_rotate #(
      .W_LOG2(W_LOG2)
  ) enter (
      .x (push_data),
      .by(PACK != 0 ? w_lane - off : w_lane),
      .z (entering)
  );

  ktls_rotate #(
      .W_LOG2(W_LOG2)
  ) leave (
      .x (head),
      .by(PACK != 0 ? -r_lane : off - r_lane),
      .z (data)
  );

  // A row is cleared when rp leaves it: wp comes back to it in the next cycle at the earliest. All
  // are cleared whenever the queue is empty, because text does not outlive its stay.
  wire [W_LOG2:0] w_end = {1'b0, w_lane} + push_cnt;
  wire [W_LOG2:0] r_end = {1'b0, r_lane} + pop_cnt;
  wire clear = rst || (cnt == 0 && !push);
  wire [3:0] fill = push && !push_zero ? 4'd1 << w_row : 4'd0;  // the row of wp, if bytes enter
  wire [3:0] fade = clear ? 4'b1111 : r_end[W_LOG2] ? 4'd1 << r_row : 4'd0;

  genvar g;
  generate
    for (g = 0; g < W; g = g + 1) begin : g_lane
      localparam [W_LOG2:0] LANE = g;
      reg [7:0] row0;
      reg [7:0] row1;
      reg [7:0] row2;
      reg [7:0] row3;
      // The lanes before the first one continue in the next row. With PACK a lane beyond push_cnt
      // keeps its zero. Else it gets a byte that nobody reads: the next push overwrites it.
      wire wraps = LANE < {1'b0, w_lane};
      wire here = !wraps && (PACK == 0 || LANE < w_end);
      wire next = PACK == 0 ? wraps : LANE + W[W_LOG2:0] < w_end;
      wire [1:0] from = r_row + {1'b0, LANE < {1'b0, r_lane}};

      always @(posedge clk) begin
        if (fill[0] && here || fill[3] && next) row0 <= entering[8*g+:8];
        if (fill[1] && here || fill[0] && next) row1 <= entering[8*g+:8];
        if (fill[2] && here || fill[1] && next) row2 <= entering[8*g+:8];
        if (fill[3] && here || fill[2] && next) row3 <= entering[8*g+:8];
        if (fade[0]) row0 <= 8'd0;
        if (fade[1]) row1 <= 8'd0;
        if (fade[2]) row2 <= 8'd0;
        if (fade[3]) row3 <= 8'd0;
      end

      ktls_mux4 head_mux (
          .sel(from),
          .a  ({row3, row2, row1, row0}),
          .z  (head[8*g+:8])
      );
    end
  endgenerate

  wire [W_LOG2+1:0] in = push ? {1'b0, push_cnt} : {W_LOG2 + 2{1'b0}};

  always @(posedge clk) begin
    if (push) wp <= {w_row + {1'b0, w_end[W_LOG2]}, w_end[W_LOG2-1:0]};
    rp  <= {r_row + {1'b0, r_end[W_LOG2]}, r_end[W_LOG2-1:0]};
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
