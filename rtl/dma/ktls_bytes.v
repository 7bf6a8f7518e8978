// SPDX-License-Identifier: Apache-2.0
//
// Purpose: byte queue: pieces of 0 to W bytes in, pieces of 0 to W bytes out, so
//   that data of any alignment is packed, split and shifted in one place.
// Interface: push_* adds push_cnt bytes (byte 0 of push_data first) when
//   push_ready; `avail` bytes can be taken, the first W of them stand in `data`;
//   pop_cnt bytes leave in this cycle (pop_cnt <= avail, 0: nothing).
// Latency/throughput: a byte can leave in the cycle after it came; W bytes in and
//   out per cycle.
// Data format: byte 0 is bits [7:0], as on AXI.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_bytes #(
    // log2 of the bytes per cycle
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

  // room for 3 W bytes: W may come while W are on their way out
  reg [3*BITS-1:0] store;
  reg [W_LOG2+1:0] cnt;

  reg [3*BITS-1:0] piece[0:0];
  reg [3*BITS-1:0] kept[0:0];
  reg [W_LOG2+1:0] kept_cnt[0:0];
  wire [BITS-1:0] ones = ~{BITS{1'b0}};

  assign push_ready = cnt <= (2 << W_LOG2);
  assign avail = cnt;
  assign data = store[BITS-1:0];

  wire push = push_valid && push_ready && push_cnt != 0;

  always @(posedge clk) begin
    if (push || pop_cnt != 0) begin
      kept_cnt[0] = cnt - {1'b0, pop_cnt};
      // a whole word alone
      if (`KTLS_SHORTCUT(push && push_cnt[W_LOG2] && kept_cnt[0] == 0)) begin
        store <= {{2 * BITS{1'b0}}, push_data};
        cnt   <= {1'b0, push_cnt};
      end else begin
        kept[0] = `KTLS_SHORTCUT(pop_cnt[W_LOG2]) ? store >> BITS : store >> {pop_cnt, 3'd0};
        if (push) begin
          piece[0] = {{2 * BITS{1'b0}}, push_data};
          if (!`KTLS_SHORTCUT(push_cnt[W_LOG2]))
            piece[0] = piece[0] & ~({{2 * BITS{1'b1}}, ones} << {push_cnt, 3'd0});
          kept[0] = kept[0] | (piece[0] << {kept_cnt[0], 3'd0});
          kept_cnt[0] = kept_cnt[0] + {1'b0, push_cnt};
        end
        store <= kept[0];
        cnt   <= kept_cnt[0];
      end
    end
    if (rst) begin
      store <= {3 * BITS{1'b0}};
      cnt   <= 0;
    end
  end

endmodule

`resetall
