// SPDX-License-Identifier: Apache-2.0
//
// Purpose: hold the text of an opened record until its tag has been compared, then
//   release it, or zeros of the same length.
// Interface: tag_* is the tag that was received, at any time before or after the
//   core's; new_* forgets that of an earlier record in the slot. a_* are the core's
//   blocks of one record with its facts beside them: text, then the computed tag
//   (a_tag). out_* are pieces of what may leave. res_* answers for res_slot, once
//   res_valid says that it is known and until res_take, what the record was: authentic, its type, bytes of its text (TLS 1.3: without type and
//   padding). idle: nothing is left to release.
// Latency/throughput: a block per cycle in and out; the first piece of a record 2
//   cycles after its tag. Time depends on lengths alone, never on what a tag or a
//   text is.
// Data format: byte 0 of a block is bits [127:120], of a piece bits [7:0].
// Source: RFC 8446 section 5.2 (inner plaintext: text || type || zeros).
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_release #(
    // log2 of the records that may be under way
    parameter SLOT_W = 3,
    // log2 of the blocks that are held: more than a record has
    parameter RING_W = 11
) (
    input  wire              clk,
    input  wire              rst,
    output wire              idle,
    // received tags
    input  wire              new_valid,
    input  wire [SLOT_W-1:0] new_slot,
    input  wire              tag_valid,
    input  wire [SLOT_W-1:0] tag_slot,
    input  wire [     127:0] tag_data,
    // records from the core
    input  wire              a_valid,
    output wire              a_ready,
    input  wire [     127:0] a_data,
    input  wire              a_tag,
    input  wire [SLOT_W-1:0] a_slot,
    input  wire [      14:0] a_len,
    input  wire              a_tls13,
    input  wire [       7:0] a_rtype,
    input  wire              a_poison,
    // released bytes
    output wire              out_valid,
    input  wire              out_ready,
    output wire [     127:0] out_data,
    output wire [       4:0] out_cnt,
    // what records were
    input  wire [SLOT_W-1:0] res_slot,
    input  wire              res_take,
    output wire              res_valid,
    output wire              res_ok,
    output wire [       7:0] res_rtype,
    output wire [      14:0] res_len
);

  localparam JOB_W = 15 + 1;

  reg [127:0] ring[0:(1<<RING_W)-1];
  reg [RING_W:0] wp;
  reg [RING_W:0] rp;

  reg [127:0] tag_mem[0:(1<<SLOT_W)-1];
  reg [(1<<SLOT_W)-1:0] tag_here;
  reg [23:0] result[0:(1<<SLOT_W)-1];
  reg [(1<<SLOT_W)-1:0] result_here;

  // -------------------------------------------------------------- text comes

  reg [10:0] block;  // number of the next block of the record
  reg [14:0] last_at;  // place of the last byte that is not zero
  reg [7:0] last_byte;
  reg [4:0] found;
  reg [7:0] found_byte;
  integer i;

  wire [RING_W:0] used = wp - rp;
  wire job_room;
  wire take_text = a_valid && !a_tag && a_ready;
  wire take_tag = a_valid && a_tag && a_ready;
  wire has_type = last_byte != 8'd0;
  wire good = a_data == tag_mem[a_slot] && !a_poison && (!a_tls13 || has_type);

  assign a_ready = a_tag ? tag_here[a_slot] && job_room : !used[RING_W];

  always @(posedge clk) begin
    if (take_text) begin
      ring[wp[RING_W-1:0]] <= a_data;
      wp <= wp + 1'b1;
      block <= block + 11'd1;
      found = 5'd16;
      found_byte = 8'd0;
      for (i = 0; i < 16; i = i + 1) begin
        if (a_data[8*(15-i)+:8] != 8'd0) begin
          found = i[4:0];
          found_byte = a_data[8*(15-i)+:8];
        end
      end
      if (!found[4]) begin
        last_at   <= {block, found[3:0]};
        last_byte <= found_byte;
      end
    end
    if (take_tag) begin
      result_here[a_slot] <= 1'b1;
      result[a_slot] <= {good, a_tls13 ? last_byte : a_rtype, a_tls13 ? last_at : a_len};
      block <= 11'd0;
      last_byte <= 8'd0;
    end
    if (tag_valid) begin
      tag_mem[tag_slot]  <= tag_data;
      tag_here[tag_slot] <= 1'b1;
    end
    if (new_valid) begin
      tag_here[new_slot] <= 1'b0;
    end
    if (res_take) result_here[res_slot] <= 1'b0;
    if (rst) begin
      result_here <= 0;
      wp <= 0;
      block <= 11'd0;
      last_byte <= 8'd0;
    end
  end

  assign res_valid = result_here[res_slot];
  assign {res_ok, res_rtype, res_len} = result[res_slot];

  // -------------------------------------------------------------- text leaves

  wire job_valid;
  wire job_done;
  wire [14:0] job_len;
  wire job_good;
  wire [SLOT_W:0] jobs;

  ktls_fifo #(
      .WIDTH(JOB_W),
      .LOG2 (SLOT_W)
  ) released (
      .clk(clk),
      .rst(rst),
      .s_valid(take_tag),
      .s_ready(job_room),
      .s_data({a_len, good}),
      .m_valid(job_valid),
      .m_ready(job_done),
      .m_data({job_len, job_good}),
      .count(jobs)
  );

  reg [14:0] sent;

  wire [14:0] left = job_len - sent;
  wire whole = left >= 15'd16;
  wire [127:0] text = job_good ? ring[rp[RING_W-1:0]] : 128'd0;

  assign idle = !job_valid && jobs == 0;
  assign out_valid = job_valid && left != 15'd0;
  assign out_cnt = whole ? 5'd16 : {1'b0, left[3:0]};
  assign out_data = {
    text[7:0],
    text[15:8],
    text[23:16],
    text[31:24],
    text[39:32],
    text[47:40],
    text[55:48],
    text[63:56],
    text[71:64],
    text[79:72],
    text[87:80],
    text[95:88],
    text[103:96],
    text[111:104],
    text[119:112],
    text[127:120]
  };
  assign job_done = job_valid && (left == 15'd0 || (out_ready && left <= 15'd16));

  always @(posedge clk) begin
    if (out_valid && out_ready) begin
      rp   <= rp + 1'b1;
      sent <= sent + 15'd16;
    end
    if (job_done) sent <= 15'd0;
    if (rst) begin
      rp   <= 0;
      sent <= 15'd0;
    end
  end

endmodule

`resetall
