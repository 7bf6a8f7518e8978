// SPDX-License-Identifier: Apache-2.0
//
// Purpose: byte queue. It moves 0 to W bytes per cycle in and out, so data of any alignment is
//   packed, split and shifted in one place.
// Interface: push_* adds push_cnt bytes of push_data, byte 0 first, in a cycle with push_ready.
//   `avail` is the number of bytes in the queue; `data` holds the first W of them. pop_cnt bytes
//   leave at the end of the cycle; pop_cnt must not exceed `avail` or W, and 0 takes none.
//   push_ready does not depend on pop_cnt.
// Latency/throughput: a byte can leave one cycle after it entered; W bytes per cycle each way.
// Data format: byte 0 is bits [7:0], as on AXI.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_bytes #(
    // log2 of W, the bytes per cycle
    parameter W_LOG2 = 4
) (
    input  wire                   clk,
    input  wire                   rst,
    input  wire                   push_valid,
    output wire                   push_ready,
    input  wire [(8<<W_LOG2)-1:0] push_data,
    input  wire [       W_LOG2:0] push_cnt,
    output wire [     W_LOG2+1:0] avail,
    output wire [(8<<W_LOG2)-1:0] data,
    input  wire [       W_LOG2:0] pop_cnt
);

  localparam BITS = 8 << W_LOG2;

  // The queue has room for 3 W bytes: with up to 2 W inside, W more fit whatever leaves. So
  // push_ready needs no path from pop_cnt and the queue still moves W bytes each way per cycle.
  reg [3*BITS-1:0] store;  // bits above 8 cnt are zero, so that new bytes can be ORed in
  reg [W_LOG2+1:0] cnt;

  `KTLS_TMP(3 * BITS, piece)
  `KTLS_TMP(3 * BITS, kept)
  `KTLS_TMP(W_LOG2 + 2, kept_cnt)
  wire [BITS-1:0] ones = ~{BITS{1'b0}};

  assign push_ready = cnt <= (2 << W_LOG2);
  assign avail = cnt;
  assign data = store[BITS-1:0];

  wire push = push_valid && push_ready && push_cnt != 0;

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
          // clear the bytes of push_data beyond push_cnt
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

endmodule

`resetall
