// SPDX-License-Identifier: Apache-2.0
//
// Purpose: fetch submission descriptors ahead of their execution.
// Interface: ring registers in; d_* gives descriptors in ring order, d_err if one
//   could not be read (its content is then meaningless). `cons` is the free-running
//   index of the first descriptor that has not been read.
// Latency/throughput: one read burst per descriptor, up to 16 under way or waiting.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_sq #(
    // bits of the data bus
    parameter DATA_W = 128
) (
    input  wire              clk,
    input  wire              rst,
    // ring
    input  wire              enable,
    input  wire [      63:0] base,
    input  wire [       3:0] size_log2,
    input  wire [      31:0] prod,
    output reg  [      31:0] cons,
    output wire              idle,
    // reads
    output wire              req_valid,
    input  wire              req_ready,
    output wire [      63:0] req_addr,
    output wire [       7:0] req_beats,
    input  wire              rsp_valid,
    input  wire [DATA_W-1:0] rsp_data,
    input  wire              rsp_err,
    input  wire              rsp_last,
    // descriptors
    output wire              d_valid,
    input  wire              d_ready,
    output wire [     511:0] d_data,
    output wire              d_err
);

  `include "ktls_nic.vh"

  localparam DEPTH_LOG2 = 4;
  localparam BEATS = 8 * SQE_SEAL_BYTES / DATA_W;

  reg [31:0] fetch;  // next to ask for
  reg [DEPTH_LOG2:0] held;  // asked for and not yet taken

  wire [31:0] mask = ~(32'hFFFFFFFF << size_log2);
  wire [31:0] place = fetch & mask;

  assign req_valid = enable && fetch != prod && !held[DEPTH_LOG2];
  assign req_addr  = base + {26'd0, place, 6'd0};
  assign req_beats = BEATS[7:0] - 8'd1;

  wire sent = req_valid && req_ready;
  wire take = d_valid && d_ready;

  reg [511:0] part;  // the beats so far, shifted in from the left
  wire [511+DATA_W:0] with_beat = {rsp_data, part};
  reg part_full;
  reg part_err;

  always @(posedge clk) begin
    if (sent) fetch <= fetch + 32'd1;
    if (sent != take) held <= sent ? held + 1'b1 : held - 1'b1;
    part_full <= rsp_valid && rsp_last;
    if (part_full) part_err <= 1'b0;
    if (rsp_valid) begin
      part <= with_beat[511+DATA_W:DATA_W];
      if (rsp_err) part_err <= 1'b1;
      if (rsp_last) cons <= cons + 32'd1;
    end
    if (rst) begin
      fetch <= 32'd0;
      cons <= 32'd0;
      held <= 0;
      part_err <= 1'b0;
      part_full <= 1'b0;
    end
  end

  assign idle = held == 0 && fetch == prod;

  wire unused_ok = &{1'b0, with_beat};
  wire unused_ready;
  wire [DEPTH_LOG2:0] unused_count;

  ktls_fifo #(
      .WIDTH(513),
      .LOG2 (DEPTH_LOG2)
  ) descriptors (
      .clk(clk),
      .rst(rst),
      .s_valid(part_full),
      .s_ready(unused_ready),
      .s_data({part_err, part}),
      .m_valid(d_valid),
      .m_ready(d_ready),
      .m_data({d_err, d_data}),
      .count(unused_count)
  );

endmodule

`resetall
