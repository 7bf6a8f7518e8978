// SPDX-License-Identifier: Apache-2.0
//
// Purpose: write one completion per descriptor, in order, after its data.
// Interface: ring registers in, those of ring n in the n-th place; cpl_* announces
//   completions. For one with data (cpl_data) it waits for the reports of gather and
//   scatter and for the answers to all its writes (mark_*), then writes the entry.
//   Nothing is announced for which the ring has no room (ktls_sq); if a driver takes
//   room back it stalls. `prod` counts entries that are in memory. `failed` sticks when an entry could not be
//   written. done_* pulses feed the counters.
// Latency/throughput: 4 cycles per completion and one write burst.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_cq #(
    // rings
    parameter RINGS  = 1,
    // width of a ring's number
    parameter RING_W = 1,
    // bits of the data bus
    parameter DATA_W = 128,
    // log2 of the records that may be under way
    parameter SLOT_W = 3
) (
    input  wire                clk,
    input  wire                rst,
    // rings
    input  wire [64*RINGS-1:0] base,
    input  wire [ 4*RINGS-1:0] size_log2,
    input  wire [32*RINGS-1:0] cons,
    output reg  [32*RINGS-1:0] prod,
    output reg                 failed,
    output wire                idle,
    // completions to come
    input  wire                cpl_valid,
    output wire                cpl_ready,
    input  wire [  RING_W-1:0] cpl_ring,
    input  wire [         7:0] cpl_opcode,
    input  wire [        15:0] cpl_cookie,
    input  wire [         7:0] cpl_status,
    input  wire [        15:0] cpl_ctx,
    input  wire [         7:0] cpl_rtype,
    input  wire                cpl_rekey,
    input  wire                cpl_numbered,
    input  wire [        63:0] cpl_seq,
    input  wire [        31:0] cpl_index,
    input  wire                cpl_data,
    input  wire [  SLOT_W-1:0] cpl_slot,
    input  wire [        14:0] cpl_len,
    input  wire [        14:0] cpl_out_len,
    input  wire [        23:0] cpl_start,
    input  wire [        23:0] now,
    // reports of the data units
    input  wire                src_done,
    input  wire                src_short,
    input  wire                src_err,
    input  wire                dst_done,
    input  wire                dst_short,
    input  wire                dst_err,
    input  wire                mark_done,
    input  wire                mark_err,
    output wire [  SLOT_W-1:0] cycles_slot,
    input  wire [        31:0] cycles,
    input  wire                res_valid,
    input  wire                res_ok,
    input  wire [         7:0] res_rtype,
    input  wire [        14:0] res_len,
    // writes
    output wire                req_valid,
    input  wire                req_ready,
    output wire [        63:0] req_addr,
    output wire [         7:0] req_beats,
    output wire                w_valid,
    input  wire                w_ready,
    output wire [  DATA_W-1:0] w_data,
    output wire [DATA_W/8-1:0] w_strb,
    input  wire                b_done,
    input  wire                b_err,
    // events
    output wire                retire,
    output wire                done,
    output wire [         7:0] done_status,
    output wire                done_record,
    output wire [        14:0] done_len
);

  `include "ktls_nic.vh"

  localparam CPL_W = RING_W + 8 + 16 + 8 + 16 + 8 + 1 + 1 + 64 + 32 + 1 + SLOT_W + 15 + 15 + 24;
  localparam CQE_BITS = 8 * CQE_BYTES;
  localparam BEATS = CQE_BITS > DATA_W ? CQE_BITS / DATA_W : 1;
  localparam BUS_LOG2 = $clog2(DATA_W / 8);

  localparam OPEN_LOG2 = 6;  // more than bursts may be under way (ktls_dma_wr)

  localparam ST_WAIT = 2'd0;
  localparam ST_REQUEST = 2'd1;
  localparam ST_WRITE = 2'd2;

  // ------------------------------------------------------------------- queues

  wire v;
  wire take;
  wire [RING_W-1:0] ring;
  wire [7:0] opcode;
  wire [15:0] cookie;
  wire [7:0] status;
  wire [15:0] ctx;
  wire [7:0] rtype;
  wire rekey;
  wire numbered;
  wire [63:0] seq;
  wire [31:0] index;
  wire data;
  wire [SLOT_W-1:0] slot;
  wire [14:0] len;
  wire [14:0] out_len;
  wire [23:0] start;
  wire [SLOT_W:0] pending;

  ktls_fifo #(
      .WIDTH(CPL_W),
      .LOG2 (SLOT_W)
  ) jobs (
      .clk(clk),
      .rst(rst),
      .s_valid(cpl_valid),
      .s_ready(cpl_ready),
      .s_data({
        cpl_ring,
        cpl_opcode,
        cpl_cookie,
        cpl_status,
        cpl_ctx,
        cpl_rtype,
        cpl_rekey,
        cpl_numbered,
        cpl_seq,
        cpl_index,
        cpl_data,
        cpl_slot,
        cpl_len,
        cpl_out_len,
        cpl_start
      }),
      .m_valid(v),
      .m_ready(take),
      .m_data({
        ring,
        opcode,
        cookie,
        status,
        ctx,
        rtype,
        rekey,
        numbered,
        seq,
        index,
        data,
        slot,
        len,
        out_len,
        start
      }),
      .count(pending)
  );

  // one report of each unit per record; no more records than slots are under way
  wire use_reports;
  wire [2:0] r_valid;
  wire [5:0] r_data;
  wire [2:0] unused_ready;
  wire [3*(SLOT_W+1)-1:0] unused_count;

  genvar g;
  generate
    for (g = 0; g < 3; g = g + 1) begin : g_report
      ktls_fifo #(
          .WIDTH(2),
          .LOG2 (SLOT_W)
      ) report (
          .clk(clk),
          .rst(rst),
          .s_valid(g == 0 ? src_done : g == 1 ? dst_done : mark_done),
          .s_ready(unused_ready[g]),
          .s_data(g == 0 ? {src_err, src_short} : g == 1 ? {dst_err, dst_short} : {mark_err, 1'b0}),
          .m_valid(r_valid[g]),
          .m_ready(use_reports),
          .m_data(r_data[2*g+:2]),
          .count(unused_count[g*(SLOT_W+1)+:SLOT_W+1])
      );
    end
  endgenerate

  // -------------------------------------------------------------------- entry

  reg [1:0] state;
  reg [32*RINGS-1:0] written;  // entries handed to the bus
  reg [RING_W-1:0] target;  // the ring of this one
  // the rings of entries that are not answered yet
  reg [RING_W-1:0] owner_mem[0:(1<<OPEN_LOG2)-1];
  reg [OPEN_LOG2-1:0] wp;
  reg [OPEN_LOG2-1:0] rp;
  wire [RING_W-1:0] owner = owner_mem[rp];
  reg [CQE_BITS-1:0] entry;
  reg [7:0] beat;

  wire [31:0] serial = written[32*ring+:32];
  wire [3:0] log2 = size_log2[4*ring+:4];
  wire [31:0] unread = serial - cons[32*ring+:32];
  wire space = unread >> log2 == 32'd0;
  wire [31:0] rounds = serial >> log2;
  reg [63:0] addr;

  wire opened = opcode == OP_OPEN;
  wire [7:0] final_status = !data ? status :
                            r_data[1] ? CPL_SRC_BUS_ERROR :
                            r_data[0] ? CPL_SRC_SHORT :
                            (r_data[3] || r_data[5]) ? CPL_DST_BUS_ERROR :
                            r_data[2] ? CPL_DST_SHORT :
                            (opened && !res_ok) ? CPL_AUTH_FAILED : CPL_OK;
  wire good = data && final_status == CPL_OK;

  assign take = state == ST_WAIT && v && space && !failed && (!data || &r_valid) &&
      // a record without text is written before its tag has been compared
      (!data || !opened || res_valid);
  assign use_reports = take && data;
  assign cycles_slot = slot;

  assign retire = take && data;
  assign done = take;
  assign done_status = final_status;
  assign done_record = good;
  assign done_len = opened ? res_len : len;

  assign req_valid = state == ST_REQUEST;
  assign req_addr = {addr[63:BUS_LOG2], {BUS_LOG2{1'b0}}};
  assign req_beats = BEATS[7:0] - 8'd1;
  assign w_valid = state == ST_WRITE;

  generate
    if (DATA_W <= CQE_BITS) begin : g_beat
      assign w_data = entry[DATA_W-1:0];
      assign w_strb = ~{DATA_W / 8{1'b0}};
    end else begin : g_beat
      // one of several entries that share a beat
      localparam PLACES = DATA_W / CQE_BITS;
      wire [DATA_W/8-1:0] first = {{DATA_W / 8 - CQE_BYTES{1'b0}}, {CQE_BYTES{1'b1}}};
      assign w_data = {PLACES{entry}};
      assign w_strb = first << addr[BUS_LOG2-1:0];
    end
  endgenerate

  assign idle = pending == 0 && !v && state == ST_WAIT && wp == rp;

  always @(posedge clk) begin
    if (b_done) begin
      rp <= rp + 1'b1;
      if (b_err) failed <= 1'b1;
      else prod[32*owner+:32] <= prod[32*owner+:32] + 32'd1;
    end
    case (state)
      ST_WAIT: begin
        if (take) begin
          entry <= {CQE_BITS{1'b0}};
          entry[CQE_COOKIE_LSB+:CQE_COOKIE_W] <= cookie;
          entry[CQE_STATUS_LSB+:CQE_STATUS_W] <= final_status;
          entry[CQE_OPCODE_LSB+:CQE_OPCODE_W] <= opcode;
          entry[CQE_CTX_LSB+:CQE_CTX_W] <= ctx;
          entry[CQE_RTYPE_LSB+:CQE_RTYPE_W] <= !opened ? rtype : good ? res_rtype : 8'd0;
          entry[CQE_LEN_LSB+:CQE_LEN_W] <= !good ? 32'd0 : {17'd0, opened ? res_len : out_len};
          entry[CQE_CYCLES_LSB+:CQE_CYCLES_W] <= data ? cycles : 32'd0;
          entry[CQE_REC_SEQ_LSB+:CQE_REC_SEQ_W] <= seq;
          entry[CQE_SQ_INDEX_LSB+:CQE_SQ_INDEX_W] <= index;
          entry[CQE_LATENCY_LSB+:CQE_LATENCY_W] <= now - start;
          entry[CQE_REKEY_LSB+:CQE_REKEY_W] <= rekey;
          entry[CQE_NUMBERED_LSB+:CQE_NUMBERED_W] <= numbered;
          entry[CQE_PHASE_LSB+:CQE_PHASE_W] <= ~rounds[0];
          addr <= base[64*ring+:64] + {27'd0, serial & ~(32'hFFFFFFFF << log2), 5'd0};
          target <= ring;
          state <= ST_REQUEST;
        end
      end
      ST_REQUEST: begin
        if (req_ready) begin
          beat <= 8'd0;
          owner_mem[wp] <= target;
          wp <= wp + 1'b1;
          state <= ST_WRITE;
        end
      end
      default: begin
        if (w_ready) begin
          entry <= entry >> DATA_W;
          beat  <= beat + 8'd1;
          if (beat == BEATS[7:0] - 8'd1) begin
            written[32*target+:32] <= written[32*target+:32] + 32'd1;
            state <= ST_WAIT;
          end
        end
      end
    endcase
    if (rst) begin
      state <= ST_WAIT;
      written <= {RINGS{32'd0}};
      prod <= {RINGS{32'd0}};
      wp <= 0;
      rp <= 0;
      failed <= 1'b0;
    end
  end

  `KTLS_UNUSED({addr, rounds[31:1], r_data[4]})

endmodule

`resetall
