// SPDX-License-Identifier: Apache-2.0
//
// Purpose: write one completion per descriptor, in the order of the descriptors and after the
//   data of the record.
// Interface: ring registers are inputs, ring 0 in the lowest bits. cpl_* takes announced
//   completions (layout: ktls_cpl.vh). A completion with a job waits for the reports of gather
//   (src_*) and scatter (dst_*), for the response to every write of the job (mark_*) and, for
//   OPEN, for the result of the tag comparison (res_*).
//   ktls_sq fetches a descriptor only when the ring has room for its completion. If the driver
//   withdraws that room, the unit stalls. `prod` counts the entries that are in memory. `failed`
//   is sticky; it is set when the write of an entry was answered with an error, when the entry
//   lies beyond address 2^64, or by `lost`. `flush` stops new entries. done_* pulses once per
//   completion, for the counters.
// Latency/throughput: 4 cycles and one write burst per completion, and 1 cycle before if it has
//   no job and nothing waits.
// Data format: structure `cqe` of docs/registers.md.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_cq #(
    // rings
    parameter RINGS = 1,
    // width of a ring number
    parameter RING_W = 1,
    // bits of the data bus
    parameter DATA_W = 128,
    // log2 of the jobs that may be under way
    parameter SLOT_W = 3,
    // log2 of the entries whose write responses may be outstanding: more than ktls_dma_wr allows
    parameter OPEN_LOG2 = 6,
    // width of an announced completion: CPL_BITS of ktls_cpl.vh
    parameter CPL_W = 221
) (
    input  wire                clk,
    input  wire                rst,
    input  wire                flush,
    // rings
    input  wire [64*RINGS-1:0] base,
    input  wire [ 4*RINGS-1:0] size_log2,
    input  wire [32*RINGS-1:0] cons,
    output reg  [32*RINGS-1:0] prod,
    // entries whose burst the bus has taken, by ring
    output reg  [32*RINGS-1:0] written,
    output reg                 failed,
    output wire                idle,
    // announced completions
    input  wire                cpl_valid,
    output wire                cpl_ready,
    input  wire [   CPL_W-1:0] cpl_data,
    // free-running cycle count
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
    output wire                res_take,
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
    // a write was lost after its completion had been written
    input  wire                lost,
    // events
    output wire                retire,
    output wire                done,
    output wire [         7:0] done_status,
    output wire                done_record,
    output wire [        14:0] done_len
);

  `include "ktls_nic.vh"
  `include "ktls_cpl.vh"

  localparam CQE_BITS = 8 * CQE_BYTES;
  // An entry is one or several beats, or shares a beat with others on a wide bus.
  localparam BEATS = CQE_BITS > DATA_W ? CQE_BITS / DATA_W : 1;
  localparam BUS_LOG2 = $clog2(DATA_W / 8);

  localparam ST_WAIT = 2'd0;  // for the oldest announced completion
  localparam ST_REQUEST = 2'd1;  // ask for the burst
  localparam ST_WRITE = 2'd2;  // send its beats

  generate
    if (CPL_W != CPL_BITS) begin : g_illegal_cpl
      ktls_cq_CPL_W_must_be_CPL_BITS illegal_parameter ();
    end
  endgenerate

  // ------------------------------------------------------------------------- queues

  wire head_valid;
  wire take;
  wire [CPL_W-1:0] head;
  wire [SLOT_W:0] pending;

  ktls_fifo #(
      .WIDTH(CPL_W),
      .LOG2 (SLOT_W)
  ) announced (
      .clk(clk),
      .rst(rst),
      .s_valid(cpl_valid),
      .s_ready(cpl_ready),
      .s_data(cpl_data),
      .m_valid(head_valid),
      .m_ready(take),
      .m_data(head),
      .count(pending)
  );

  wire [RING_W-1:0] ring = head[CPL_RING_LSB+:RING_W];
  wire [7:0] opcode = head[CPL_OPCODE_LSB+:CPL_OPCODE_W];
  wire has_job = head[CPL_HAS_JOB_LSB];
  wire [31:0] index = head[CPL_INDEX_LSB+:CPL_INDEX_W];
  wire [14:0] len = head[CPL_LEN_LSB+:CPL_LEN_W];
  wire [14:0] out_len = head[CPL_OUT_LEN_LSB+:CPL_OUT_LEN_W];

  // Each unit reports once per job. No more jobs than slots are under way, so the queues never
  // overflow (CREDIT).
  wire use_reports;
  wire [2:0] report_valid;
  wire [5:0] reports;
  wire [2:0] unused_ready;
  wire [3*(SLOT_W+1)-1:0] unused_count;

  genvar g;
  generate
    for (g = 0; g < 3; g = g + 1) begin : g_report
      ktls_fifo #(
          .WIDTH (2),
          .LOG2  (SLOT_W),
          .CREDIT(1)
      ) report (
          .clk(clk),
          .rst(rst),
          .s_valid(g == 0 ? src_done : g == 1 ? dst_done : mark_done),
          .s_ready(unused_ready[g]),
          .s_data(g == 0 ? {src_err, src_short} : g == 1 ? {dst_err, dst_short} : {mark_err, 1'b0}),
          .m_valid(report_valid[g]),
          .m_ready(use_reports),
          .m_data(reports[2*g+:2]),
          .count(unused_count[g*(SLOT_W+1)+:SLOT_W+1])
      );
    end
  endgenerate

  // -------------------------------------------------------------------- entry

  reg [1:0] state;
  reg [RING_W-1:0] target;  // ring of the present entry
  // Rings of the entries whose write response is outstanding. Responses come in order.
  reg [RING_W-1:0] owner_mem[0:(1<<OPEN_LOG2)-1];
  reg [OPEN_LOG2-1:0] wp;
  reg [OPEN_LOG2-1:0] rp;
  wire [RING_W-1:0] owner = owner_mem[rp];
  reg [CQE_BITS-1:0] entry;
  wire [CQE_BITS-1:0] entry_rest;  // after the beat that leaves
  reg [7:0] beat;

  // Index of the entry in its ring, free-running: the low bits are its place, and the bit above
  // them changes with every round, which yields the phase bit.
  wire [31:0] serial = written[32*ring+:32];
  wire [3:0] log2 = size_log2[4*ring+:4];
  wire [31:0] above = 32'hFFFFFFFF << log2;  // the bits of a number of rounds
  wire [31:0] unread = serial - cons[32*ring+:32];
  wire space = (unread & above) == 32'd0;
  wire [31:0] rounds = serial >> log2;
  // The ring of the oldest announced completion has space. It is known a cycle after that
  // completion is, which costs no cycle while an entry is written or a job is under way.
  reg room;
  reg [63:0] addr;
  wire [63:0] ring_base = base[64*ring+:64];
  wire [31:0] place = serial & ~above;
  reg over;  // the entry lies beyond 2^64

  // The first cause in the order of the data path wins, because later units only see its
  // consequences.
  wire opened = opcode == OP_OPEN;
  wire [7:0] final_status = !has_job ? head[CPL_STATUS_LSB+:CPL_STATUS_W] :
                            reports[1] ? CPL_SRC_BUS_ERROR :
                            reports[0] ? CPL_SRC_SHORT :
                            (reports[3] || reports[5]) ? CPL_DST_BUS_ERROR :
                            reports[2] ? CPL_DST_SHORT :
                            (opened && !res_ok) ? CPL_AUTH_FAILED : CPL_OK;
  wire good = has_job && {reports[5], reports[3:0]} == 5'd0 && (!opened || res_ok);

  assign take = state == ST_WAIT && room && !flush && (!has_job || &report_valid) &&
      // an opened record without text has no writes that wait for its tag
      (!has_job || !opened || res_valid);
  assign use_reports = take && has_job;
  assign cycles_slot = head[CPL_SLOT_LSB+:SLOT_W];

  assign retire = take && has_job;
  assign res_take = retire && opened;
  assign done = take;
  assign done_status = final_status;
  assign done_record = good;
  assign done_len = opened ? res_len : len;

  assign req_valid = state == ST_REQUEST && !over;
  assign req_addr = {addr[63:BUS_LOG2], {BUS_LOG2{1'b0}}};
  assign req_beats = BEATS[7:0] - 8'd1;
  assign w_valid = state == ST_WRITE;

  generate
    if (DATA_W <= CQE_BITS) begin : g_beat
      assign w_data = entry[DATA_W-1:0];
      assign w_strb = ~{DATA_W / 8{1'b0}};
    end else begin : g_beat
      // Several entries share a beat: repeat this one and strobe its place.
      localparam PLACES = DATA_W / CQE_BITS;
      wire [DATA_W/8-1:0] first = {{DATA_W / 8 - CQE_BYTES{1'b0}}, {CQE_BYTES{1'b1}}};
      assign w_data = {PLACES{entry}};
      assign w_strb = first << addr[BUS_LOG2-1:0];
    end
  endgenerate

  generate
    if (BEATS > 1) begin : g_rest
      assign entry_rest = entry >> DATA_W;
    end else begin : g_rest
      assign entry_rest = entry;
    end
  endgenerate

  assign idle = pending == 0 && !head_valid && state == ST_WAIT && wp == rp;

  always @(posedge clk) begin
    if (b_done) begin
      `KTLS_ASSERT(wp != rp, "a write response without an outstanding entry")
      rp <= rp + 1'b1;
      if (b_err) failed <= 1'b1;
      else prod[32*owner+:32] <= prod[32*owner+:32] + 32'd1;
    end
    if (lost) failed <= 1'b1;
    // `written` counts the present entry from the cycle after ST_REQUEST
    room <= head_valid && space && !take && state != ST_REQUEST;
    case (state)
      ST_WAIT: begin
        if (take) begin
          entry <= {CQE_BITS{1'b0}};
          entry[CQE_COOKIE_LSB+:CQE_COOKIE_W] <= head[CPL_COOKIE_LSB+:CPL_COOKIE_W];
          entry[CQE_STATUS_LSB+:CQE_STATUS_W] <= final_status;
          entry[CQE_OPCODE_LSB+:CQE_OPCODE_W] <= opcode;
          entry[CQE_CTX_LSB+:CQE_CTX_W] <= head[CPL_CTX_LSB+:CPL_CTX_W];
          entry[CQE_GEN_LSB+:CQE_GEN_W] <= head[CPL_GEN_LSB+:CPL_GEN_W];
          entry[CQE_RTYPE_LSB+:CQE_RTYPE_W] <=
              !opened ? head[CPL_RTYPE_LSB+:CPL_RTYPE_W] : good ? res_rtype : 8'd0;
          entry[CQE_LEN_LSB+:CQE_LEN_W] <= !good ? 32'd0 : {17'd0, opened ? res_len : out_len};
          entry[CQE_CYCLES_LSB+:CQE_CYCLES_W] <= has_job ? cycles : 32'd0;
          entry[CQE_REC_SEQ_LSB+:CQE_REC_SEQ_W] <= head[CPL_SEQ_LSB+:CPL_SEQ_W];
          entry[CQE_SQ_INDEX_LSB+:CQE_SQ_INDEX_W] <= index;
          entry[CQE_LATENCY_LSB+:CQE_LATENCY_W] <= now - head[CPL_START_LSB+:CPL_START_W];
          entry[CQE_REKEY_LSB+:CQE_REKEY_W] <= head[CPL_REKEY_LSB];
          entry[CQE_NUMBERED_LSB+:CQE_NUMBERED_W] <= head[CPL_NUMBERED_LSB];
          entry[CQE_PHASE_LSB+:CQE_PHASE_W] <= ~rounds[0];
          {over, addr} <= {1'b0, ring_base} + {28'd0, place, 5'd0};
          target <= ring;
          state <= ST_REQUEST;
        end
      end
      ST_REQUEST: begin
        if (over) begin
          failed <= 1'b1;
          state  <= ST_WAIT;
        end else if (req_ready) begin
          beat <= 8'd0;
          owner_mem[wp] <= target;
          written[32*target+:32] <= written[32*target+:32] + 32'd1;
          wp <= wp + 1'b1;
          state <= ST_WRITE;
        end
      end
      default: begin
        if (w_ready) begin
          entry <= entry_rest;
          beat  <= beat + 8'd1;
          if (beat == BEATS[7:0] - 8'd1) state <= ST_WAIT;
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
      room <= 1'b0;
    end
  end

  `KTLS_STABLE(g_req_stable, req_valid, req_ready, 72, {req_addr, req_beats})
  `KTLS_STABLE(g_w_stable, w_valid, w_ready, DATA_W + DATA_W / 8, {w_data, w_strb})

  `KTLS_UNUSED({addr, rounds[31:1], reports[4]})

endmodule

`resetall
