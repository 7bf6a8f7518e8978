// SPDX-License-Identifier: Apache-2.0
//
// Purpose: fetch scatter-gather lists and hand their entries out one by one.
// Interface: job_* takes lists in order, the next while entries of the last are
//   still waiting. e_* gives the entries; e_last ends a list. A list of 0 entries
//   gives one of length 0. e_err: the entry could not be read (its length is 0).
// Latency/throughput: bursts of up to 8 entries, several lists under way at once, an
//   entry per cycle.
// Data format: structure `sge` of docs/registers.md.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_sgl #(
    // bits of the data bus; one entry is one beat of 128 bits
    parameter DATA_W = 128
) (
    input  wire              clk,
    input  wire              rst,
    // lists
    input  wire              job_valid,
    output wire              job_ready,
    input  wire [      63:0] job_addr,
    input  wire [      15:0] job_cnt,
    // reads
    output wire              req_valid,
    input  wire              req_ready,
    output wire [      63:0] req_addr,
    output wire [       7:0] req_beats,
    input  wire              rsp_valid,
    input  wire [DATA_W-1:0] rsp_data,
    input  wire              rsp_err,
    input  wire              rsp_last,
    // entries
    output wire              e_valid,
    input  wire              e_ready,
    output wire [      63:0] e_addr,
    output wire [      31:0] e_len,
    output wire              e_last,
    output wire              e_err
);

  `include "ktls_nic.vh"

  localparam ENTRIES_LOG2 = 4;
  localparam BURST = 8;

  reg busy;
  reg [63:0] addr;
  reg [15:0] left;
  reg [ENTRIES_LOG2:0] held;  // entries stored or asked for
  // bursts under way, and whether each is the last of its list
  reg final_burst[0:(1<<ENTRIES_LOG2)-1];
  reg [ENTRIES_LOG2-1:0] wp;
  reg [ENTRIES_LOG2-1:0] rp;
  wire waiting = wp != rp;

  // stay inside 128-byte windows, so that no burst crosses 4 KiB
  wire [3:0] window = 4'd8 - {1'b0, addr[6:4]};
  wire [3:0] beats = left < {12'd0, window} ? left[3:0] : window;
  wire room = held <= (1 << ENTRIES_LOG2) - BURST;

  assign req_valid = busy && left != 0 && room;
  assign req_addr  = {addr[63:4], 4'd0};
  assign req_beats = {4'd0, beats} - 8'd1;

  wire sent = req_valid && req_ready;
  wire empty_list = busy && left == 0 && !waiting && room;
  reg push;
  reg push_err;
  reg push_last;
  reg [31:0] push_len;
  reg [63:0] push_addr;
  wire pop = e_valid && e_ready;

  assign job_ready = !busy;

  always @(posedge clk) begin
    if (job_valid && job_ready) begin
      busy <= 1'b1;
      addr <= job_addr;
      left <= job_cnt;
    end
    if (sent) begin
      addr <= {addr[63:4], 4'd0} + {56'd0, beats, 4'd0};
      left <= left - {12'd0, beats};
      final_burst[wp] <= left == {12'd0, beats};
      wp <= wp + 1'b1;
      if (left == {12'd0, beats}) busy <= 1'b0;
    end
    if (rsp_valid && rsp_last) rp <= rp + 1'b1;
    if (empty_list) busy <= 1'b0;
    push <= rsp_valid || empty_list;
    if (rsp_valid || empty_list) begin
      push_err  <= rsp_valid && rsp_err;
      push_last <= empty_list || (rsp_last && final_burst[rp]);
      push_len  <= (empty_list || rsp_err) ? 32'd0 : rsp_data[SGE_LEN_LSB+:SGE_LEN_W];
      push_addr <= rsp_data[SGE_ADDR_LSB+:SGE_ADDR_W];
    end
    held <= held + (sent ? {1'b0, beats} : 5'd0) + {4'd0, empty_list} - {4'd0, pop};
    if (rst) begin
      busy <= 1'b0;
      wp   <= 0;
      rp   <= 0;
      push <= 1'b0;
      held <= 0;
    end
  end

  wire unused_ready;
  wire [ENTRIES_LOG2:0] unused_count;

  ktls_fifo #(
      .WIDTH(98),
      .LOG2 (ENTRIES_LOG2)
  ) entries (
      .clk(clk),
      .rst(rst),
      .s_valid(push),
      .s_ready(unused_ready),
      .s_data({push_err, push_last, push_len, push_addr}),
      .m_valid(e_valid),
      .m_ready(e_ready),
      .m_data({e_err, e_last, e_len, e_addr}),
      .count(unused_count)
  );

  wire unused_ok = &{1'b0, addr[3:0], rsp_data[127:96]};

endmodule

`resetall
