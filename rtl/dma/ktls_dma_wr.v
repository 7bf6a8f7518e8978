// SPDX-License-Identifier: Apache-2.0
//
// Purpose: AXI4 write master shared by the scatter unit (client 0) and the completion writer
//   (client 1).
// Interface: a client requests a burst (address aligned to the bus, beats - 1, not crossing
//   4 KiB) and then delivers its beats. Only the client whose burst is running sees w_ready. A
//   request with `mark` writes nothing: it yields `mark_done` when every earlier burst of client
//   0 has been answered, with mark_err if a response was not OKAY. Client 1 gets b1_done per
//   burst. If `ordered`, the bus keeps the order of the writes: a mark is done as soon as every
//   earlier burst has been requested, b1_done pulses when the bus has taken the burst, and a
//   response that is not OKAY raises `lost`. `ordered` changes only while `idle`. `flush` stops
//   new requests and completes a running burst with beats that write nothing. `idle` is high
//   while nothing is under way. Bits 0 to 2 of `stuck` are high while AW, W or B owes progress.
//   `broken` is high if a response breaks the protocol: no complete burst awaits it.
//   Bytes of m_axi_wdata without a strobe are 0, and so is all of it while no beat is offered: no
//   text of another record shows there. A beat that the bus has not taken stays, even in a reset,
//   as the source demands.
// Latency/throughput: 1 cycle to AW and W, one beat per cycle, no gap between bursts.
// Source: AMBA AXI4 (IHI 0022). All bursts have one ID, so responses are in order.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_dma_wr #(
    // bits of the data bus
    parameter DATA_W = 128,
    // log2 of the bursts that may be under way
    parameter DEPTH_LOG2 = 5
) (
    input  wire                clk,
    input  wire                rst,
    input  wire                flush,
    input  wire                ordered,
    output wire                idle,
    output wire [         2:0] stuck,
    output wire                broken,
    // requests
    input  wire [         1:0] req_valid,
    output wire [         1:0] req_ready,
    input  wire [       127:0] req_addr,
    input  wire [        15:0] req_beats,
    input  wire                req0_mark,
    // beats
    input  wire [         1:0] w_valid,
    output wire [         1:0] w_ready,
    input  wire [  DATA_W-1:0] w0_data,
    input  wire [DATA_W/8-1:0] w0_strb,
    input  wire [  DATA_W-1:0] w1_data,
    input  wire [DATA_W/8-1:0] w1_strb,
    // responses
    output wire                mark_done,
    output wire                mark_err,
    output wire                b1_done,
    output wire                b1_err,
    output wire                lost,
    // AXI4
    output reg  [        63:0] m_axi_awaddr,
    output reg  [         7:0] m_axi_awlen,
    output wire [         2:0] m_axi_awsize,
    output wire [         1:0] m_axi_awburst,
    output wire [         3:0] m_axi_awcache,
    output wire [         2:0] m_axi_awprot,
    output reg                 m_axi_awvalid,
    input  wire                m_axi_awready,
    output reg  [  DATA_W-1:0] m_axi_wdata,
    output reg  [DATA_W/8-1:0] m_axi_wstrb,
    output reg                 m_axi_wlast,
    output reg                 m_axi_wvalid,
    input  wire                m_axi_wready,
    input  wire [         1:0] m_axi_bresp,
    input  wire                m_axi_bvalid,
    output wire                m_axi_bready
);

  localparam STRB_W = DATA_W / 8;
  localparam SIZE = $clog2(DATA_W / 8);  // AXI size code of a full beat

  assign m_axi_awsize  = SIZE[2:0];
  assign m_axi_awburst = 2'b01;  // INCR
  assign m_axi_awcache = 4'b0011;  // normal, bufferable
  assign m_axi_awprot  = 3'b010;  // unprivileged, non-secure, data

  // Owner of each outstanding response. A mark has an entry of its own and leaves without a
  // response when it reaches the head.
  reg tag_client[0:(1<<DEPTH_LOG2)-1];
  reg tag_mark[0:(1<<DEPTH_LOG2)-1];
  reg [DEPTH_LOG2-1:0] wp;
  reg [DEPTH_LOG2-1:0] rp;
  reg [DEPTH_LOG2:0] tags;

  reg active;  // a burst is being filled
  reg client;
  reg [7:0] left;  // beats - 1
  reg [DEPTH_LOG2:0] complete;  // bursts whose beats have all left and whose response has not come
  reg begun;  // a burst has been requested since the reset

  wire slot = !m_axi_wvalid || m_axi_wready;
  wire load = active && slot && (w_valid[client] || flush);
  wire ending = load && left == 8'd0;

  // Completions have priority: they are short, and the driver waits for them.
  wire sel = req_valid[1];
  wire is_mark = !sel && req0_mark;
  wire tag_room = !tags[DEPTH_LOG2];
  wire burst_room = (!m_axi_awvalid || m_axi_awready) && (!active || ending);
  wire accept = |req_valid && tag_room && !flush && (is_mark || burst_room);
  wire start = accept && !is_mark;
  wire enters = accept && !(is_mark && ordered);

  // The beats of the last burst may leave before its address, which must not be answered then.
  wire address_late = m_axi_awvalid && !active && !m_axi_wvalid;
  wire owed = complete != {{DEPTH_LOG2{1'b0}}, address_late};
  wire completes = m_axi_wvalid && m_axi_wready && m_axi_wlast;

  wire head_mark = tags != 0 && tag_mark[rp];
  wire answered = m_axi_bvalid && m_axi_bready && owed;
  wire retire = head_mark || answered;

  assign req_ready = {accept && sel, accept && !sel};
  assign w_ready = {active && slot && client, active && slot && !client};
  assign idle = !m_axi_awvalid && !m_axi_wvalid && !active && tags == 0;

  reg  err;  // of client 0 since the last mark

  // The bus takes a burst with its last beat, or later with its address. An address that is still
  // offered while no burst is filled is that of the burst whose beats leave.
  reg  last_client;  // of the beat in m_axi_wdata
  reg  waits_for_address;
  wire address_open = m_axi_awvalid && !m_axi_awready;
  wire issued = (completes || waits_for_address) && !(address_open && !active);

  // A dead bus may recover after a reset and answer bursts that the reset has cancelled. Until the
  // first new burst such responses are dropped; later they would be taken for its answer.
  assign m_axi_bready = tags == 0 || !tag_mark[rp];
  assign mark_done = head_mark || (accept && is_mark && ordered);
  assign mark_err = err && !ordered;
  assign b1_done = ordered ? issued && last_client : answered && tag_client[rp];
  assign b1_err = !ordered && m_axi_bresp != 2'b00;
  assign lost = ordered && answered && m_axi_bresp != 2'b00;
  assign broken = m_axi_bvalid && m_axi_bready && !owed && begun;
  assign stuck = {
    owed && !m_axi_bvalid, m_axi_wvalid && !m_axi_wready, m_axi_awvalid && !m_axi_awready
  };

  wire [STRB_W-1:0] strb = client ? w1_strb : w0_strb;
  `KTLS_TMP(DATA_W, data)
  integer i;

  always @(posedge clk) begin
    if (load) begin
      `KTLS_V(data) = client ? w1_data : w0_data;
      if (`KTLS_SHORTCUT(&strb) == 1'b0)
        for (i = 0; i < STRB_W; i = i + 1) if (!strb[i]) `KTLS_V(data) [8*i+:8] = 8'd0;
      m_axi_wvalid <= 1'b1;
      m_axi_wlast  <= left == 8'd0;
      m_axi_wdata  <= flush ? {DATA_W{1'b0}} : `KTLS_V(data);
      `KTLS_V(data) = {DATA_W{1'b0}};  // Icarus keeps the temporary; text must not stay there
      m_axi_wstrb <= flush ? {STRB_W{1'b0}} : strb;
      left <= left - 8'd1;
      last_client <= client;
      if (ending) active <= 1'b0;
    end else if (m_axi_wvalid && m_axi_wready) begin
      m_axi_wvalid <= 1'b0;
      m_axi_wdata  <= {DATA_W{1'b0}};
    end
    if (completes != answered) complete <= completes ? complete + 1'b1 : complete - 1'b1;

    if (start) begin
      m_axi_awvalid <= 1'b1;
      m_axi_awaddr <= sel ? req_addr[127:64] : req_addr[63:0];
      m_axi_awlen <= sel ? req_beats[15:8] : req_beats[7:0];
      left <= sel ? req_beats[15:8] : req_beats[7:0];
      client <= sel;
      active <= 1'b1;
      begun <= 1'b1;
    end else if (m_axi_awready) begin
      m_axi_awvalid <= 1'b0;
    end

    if (completes || waits_for_address) waits_for_address <= !issued;

    if (enters) begin
      tag_client[wp] <= sel;
      tag_mark[wp] <= is_mark;
      wp <= wp + 1'b1;
      if (!retire) tags <= tags + 1'b1;
    end
    if (retire) begin
      rp <= rp + 1'b1;
      if (!enters) tags <= tags - 1'b1;
      if (head_mark) err <= 1'b0;
      else if (!tag_client[rp] && m_axi_bresp != 2'b00) err <= 1'b1;
    end

    if (rst) begin
      m_axi_awvalid <= 1'b0;
      m_axi_wvalid <= 1'b0;
      m_axi_wdata <= {DATA_W{1'b0}};
      active <= 1'b0;
      complete <= 0;
      begun <= 1'b0;
      client <= 1'b0;
      waits_for_address <= 1'b0;
      wp <= 0;
      rp <= 0;
      tags <= 0;
      err <= 1'b0;
    end
  end

endmodule

`resetall
