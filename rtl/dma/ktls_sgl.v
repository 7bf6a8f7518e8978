// SPDX-License-Identifier: Apache-2.0
//
// Purpose: fetch scatter-gather lists and hand out their entries one by one; hand out direct
//   buffers, which have no list, in the same order.
// Interface: job_* takes lists in order, the next one while entries of the previous one wait.
//   e_* delivers the entries; its consumer may stall. e_last ends a list. With job_direct,
//   job_addr is the address of the only buffer; it yields one entry of 2^32 - 1 bytes, since the
//   consumer bounds each entry by its record. A list of 0 entries
//   yields one entry of length 0. e_err marks an entry that was read with an error; its length
//   is 0. A list that passes address 2^64 ends there, with such an entry. A beat of the bus holds
//   one entry of 16 bytes or several.
//   req_* requests only beats that have room in the FIFO, so rsp_* never stalls.
// Latency/throughput: bursts of up to 8 entries, several lists under way, one entry per cycle.
// Data format: structure `sge` of docs/registers.md.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_sgl #(
    // bits of the data bus
    parameter DATA_W = 128,
    // log2 of the lists and direct buffers that may be under way
    parameter LISTS_LOG2 = 4
) (
    input  wire              clk,
    input  wire              rst,
    // lists
    input  wire              job_valid,
    output wire              job_ready,
    input  wire              job_direct,
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

  localparam BEATS_LOG2 = LISTS_LOG2;
  localparam BURST = 8;  // entries, so never more beats
  localparam LANES = DATA_W / 128;
  localparam BEAT_LOG2 = $clog2(DATA_W / 8);
  localparam PLACE_W = LANES == 1 ? 1 : $clog2(LANES);  // of an entry in its beat
  localparam [3:0] TOP = LANES[3:0] - 4'd1;  // the last place of a beat

  reg busy;
  reg [63:0] addr;
  reg [15:0] left;
  reg over;  // the next entry lies beyond 2^64
  reg [BEATS_LOG2:0] held;  // beats that are stored or requested: the credits of the FIFO
  // Bursts under way: the places of the first and the last entry in their beats, and whether
  // the last entry ends its list.
  reg [PLACE_W-1:0] first_mem[0:(1<<BEATS_LOG2)-1];
  reg [PLACE_W-1:0] last_mem[0:(1<<BEATS_LOG2)-1];
  reg final_burst[0:(1<<BEATS_LOG2)-1];
  reg [BEATS_LOG2-1:0] wp;
  reg [BEATS_LOG2-1:0] rp;
  wire waiting = wp != rp;

  // Bursts stay inside windows of 128 bytes, so none crosses 4 KiB.
  wire [3:0] window = 4'd8 - {1'b0, addr[6:4]};
  wire [3:0] count = left < {12'd0, window} ? left[3:0] : window;
  // places of the first and the last entry, counted from the start of the first beat
  wire [3:0] first = addr[7:4] & TOP;
  wire [3:0] last = first + count - 4'd1;  // at most 3 + 8 - 1
  wire [3:0] more = last >> $clog2(LANES);  // beats after the first
  wire [BEATS_LOG2:0] beats = {{BEATS_LOG2 - 3{1'b0}}, more} + 1'b1;
  wire room = held <= (1 << BEATS_LOG2) - BURST;

  assign req_valid = busy && left != 0 && !over && room;
  assign req_addr  = {addr[63:BEAT_LOG2], {BEAT_LOG2{1'b0}}};
  assign req_beats = {4'd0, more};

  wire sent = req_valid && req_ready;
  wire [60:0] after = {1'b0, addr[63:4]} + {57'd0, count};  // address of the next entry, by 16
  // An empty list, or one that passes 2^64, becomes a beat of its own. It waits for earlier bursts,
  // to keep the order.
  wire empty_list = busy && (left == 0 || over) && !waiting && room;
  reg begun_burst;  // the burst that is arriving has given beats
  reg push;
  reg push_err;
  reg push_last;
  reg [PLACE_W-1:0] push_start;
  reg [PLACE_W-1:0] push_stop;
  reg [96*LANES-1:0] push_entries;
  wire pop;

  integer i;

  wire order_ready;
  wire direct_ready;

  assign job_ready = order_ready && (job_direct ? direct_ready : !busy);

  // Icarus: one test per cycle while nothing happens
  wire active = `KTLS_GATE(rst || job_valid || busy || held != 0 || rsp_valid || push);

  always @(posedge clk) begin
    if (active) begin
      if (job_valid && job_ready && !job_direct) begin
        busy <= 1'b1;
        addr <= job_addr;
        left <= job_cnt;
        over <= 1'b0;
      end
      if (sent) begin
        addr <= {after[59:0], 4'd0};
        over <= after[60];
        left <= left - {12'd0, count};
        first_mem[wp] <= first[PLACE_W-1:0];
        last_mem[wp] <= last[PLACE_W-1:0] & TOP[PLACE_W-1:0];
        final_burst[wp] <= left == {12'd0, count};
        wp <= wp + 1'b1;
        if (left == {12'd0, count}) busy <= 1'b0;
      end
      if (rsp_valid) begun_burst <= !rsp_last;
      if (rsp_valid && rsp_last) rp <= rp + 1'b1;
      if (empty_list) busy <= 1'b0;
      push <= rsp_valid || empty_list;
      if (rsp_valid || empty_list) begin
        push_err   <= rsp_valid ? rsp_err : over;
        push_last  <= empty_list || (rsp_last && final_burst[rp]);
        push_start <= empty_list || begun_burst ? {PLACE_W{1'b0}} : first_mem[rp];
        push_stop  <= empty_list ? {PLACE_W{1'b0}} : rsp_last ? last_mem[rp] : TOP[PLACE_W-1:0];
        for (i = 0; i < LANES; i = i + 1)
        push_entries[96*i+:96] <= {
          (empty_list || rsp_err) ? 32'd0 : rsp_data[128*i+SGE_LEN_LSB+:SGE_LEN_W],
          rsp_data[128*i+SGE_ADDR_LSB+:SGE_ADDR_W]
        };
      end
      if (sent || empty_list || pop)
        held <= held + (sent ? beats : {BEATS_LOG2 + 1{1'b0}}) + {{BEATS_LOG2{1'b0}}, empty_list}
                     - {{BEATS_LOG2{1'b0}}, pop};
      if (rst) begin
        busy <= 1'b0;
        begun_burst <= 1'b0;
        wp <= 0;
        rp <= 0;
        push <= 1'b0;
        held <= 0;
      end
    end
  end

  // ------------------------------------------------------------- beats to entries

  wire b_valid;
  wire b_err;
  wire b_last;
  wire [PLACE_W-1:0] b_start;
  wire [PLACE_W-1:0] b_stop;
  wire [96*LANES-1:0] b_entries;
  wire unused_ready;
  wire [BEATS_LOG2:0] unused_count;

  ktls_fifo #(
      .WIDTH (2 + 2 * PLACE_W + 96 * LANES),
      .LOG2  (BEATS_LOG2),
      .CREDIT(1)
  ) fetched (
      .clk(clk),
      .rst(rst),
      .s_valid(push),
      .s_ready(unused_ready),
      .s_data({push_err, push_last, push_start, push_stop, push_entries}),
      .m_valid(b_valid),
      .m_ready(pop),
      .m_data({b_err, b_last, b_start, b_stop, b_entries}),
      .count(unused_count)
  );

  reg begun;  // the beat at the head has given entries
  reg [PLACE_W-1:0] next;
  wire [PLACE_W-1:0] place = begun ? next : b_start;
  wire at_stop = place == b_stop;

  // ------------------------------------------------------- lists and direct buffers

  wire order_valid;
  wire direct;  // the oldest job is a direct buffer
  wire direct_valid;
  wire [63:0] direct_addr;
  wire leaves = e_valid && e_ready;
  wire [2*LISTS_LOG2+1:0] unused_jobs;

  ktls_fifo #(
      .WIDTH(1),
      .LOG2 (LISTS_LOG2)
  ) orders (
      .clk(clk),
      .rst(rst),
      .s_valid(job_valid && job_ready),
      .s_ready(order_ready),
      .s_data(job_direct),
      .m_valid(order_valid),
      .m_ready(leaves && e_last),
      .m_data(direct),
      .count(unused_jobs[LISTS_LOG2:0])
  );

  ktls_fifo #(
      .WIDTH(64),
      .LOG2 (LISTS_LOG2)
  ) directs (
      .clk(clk),
      .rst(rst),
      .s_valid(job_valid && job_ready && job_direct),
      .s_ready(direct_ready),
      .s_data(job_addr),
      .m_valid(direct_valid),
      .m_ready(leaves && direct),
      .m_data(direct_addr),
      .count(unused_jobs[2*LISTS_LOG2+1:LISTS_LOG2+1])
  );

  assign e_valid = order_valid && (direct ? direct_valid : b_valid);
  assign e_err = !direct && b_err;
  assign e_last = direct || (b_last && at_stop);
  assign {e_len, e_addr} = direct ? {32'hFFFFFFFF, direct_addr} : b_entries[96*place+:96];
  assign pop = leaves && !direct && at_stop;

  always @(posedge clk) begin
    if (leaves && !direct) begin
      begun <= !at_stop;
      next  <= place + 1'b1;
    end
    if (rst) begun <= 1'b0;
  end

  `KTLS_UNUSED({addr[3:0], rsp_data})

endmodule

`resetall
