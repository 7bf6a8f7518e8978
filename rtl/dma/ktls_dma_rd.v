// SPDX-License-Identifier: Apache-2.0
//
// Purpose: AXI4 read master shared by N clients.
// Interface: a client requests a burst (address aligned to the bus, beats - 1, not crossing
//   4 KiB) and must have room for all of it: responses cannot stall. Lower client numbers have
//   priority. Responses come in the order of the requests. rsp_valid names the client; rsp_err
//   marks a beat that was not answered OKAY. `flush` stops new requests and drops what arrives.
//   `idle` is high while no burst is under way. Bits 0 and 1 of `stuck` are high while AR or R
//   owes progress. `broken` is high if a beat breaks the protocol: no burst awaits it, or RLAST is
//   not at the end of its burst. Such a beat reaches no client.
// Latency/throughput: 1 cycle to AR, 0 from R; one burst and one beat per cycle.
// Source: AMBA AXI4 (IHI 0022). All bursts have one ID, so responses are in order.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_dma_rd #(
    // clients
    parameter N = 4,
    // bits of the data bus
    parameter DATA_W = 128,
    // log2 of the bursts that may be under way
    parameter DEPTH_LOG2 = 5
) (
    input  wire              clk,
    input  wire              rst,
    input  wire              flush,
    output wire              idle,
    output wire [       1:0] stuck,
    output wire              broken,
    // clients
    input  wire [     N-1:0] req_valid,
    output wire [     N-1:0] req_ready,
    input  wire [  N*64-1:0] req_addr,
    input  wire [   N*8-1:0] req_beats,
    output wire [     N-1:0] rsp_valid,
    output wire [DATA_W-1:0] rsp_data,
    output wire              rsp_err,
    output wire              rsp_last,
    // AXI4
    output reg  [      63:0] m_axi_araddr,
    output reg  [       7:0] m_axi_arlen,
    output wire [       2:0] m_axi_arsize,
    output wire [       1:0] m_axi_arburst,
    output wire [       3:0] m_axi_arcache,
    output wire [       2:0] m_axi_arprot,
    output reg               m_axi_arvalid,
    input  wire              m_axi_arready,
    input  wire [DATA_W-1:0] m_axi_rdata,
    input  wire [       1:0] m_axi_rresp,
    input  wire              m_axi_rlast,
    input  wire              m_axi_rvalid,
    output wire              m_axi_rready
);

  localparam SIZE = $clog2(DATA_W / 8);  // AXI size code of a full beat

  assign m_axi_arsize  = SIZE[2:0];
  assign m_axi_arburst = 2'b01;  // INCR
  assign m_axi_arcache = 4'b0011;  // normal, bufferable
  assign m_axi_arprot  = 3'b010;  // unprivileged, non-secure, data

  reg [N-1:0] owner[0:(1<<DEPTH_LOG2)-1];  // one-hot client of each burst
  reg [7:0] length[0:(1<<DEPTH_LOG2)-1];  // its beats - 1
  reg [DEPTH_LOG2-1:0] wp;
  reg [DEPTH_LOG2-1:0] rp;
  reg [DEPTH_LOG2:0] bursts;
  reg [7:0] beat;  // number of the next beat of the oldest burst
  reg begun;  // a burst has been requested since the reset

  wire free = (!m_axi_arvalid || m_axi_arready) && !bursts[DEPTH_LOG2] && !flush;
  // lowest request wins
  wire [N-1:0] grant = req_valid & (~req_valid + 1'b1);
  wire start = free && |req_valid;
  wire owed = bursts != {{DEPTH_LOG2{1'b0}}, m_axi_arvalid};  // data of a burst that AR has taken
  wire good = owed && m_axi_rlast == (beat == length[rp]);
  wire taken = m_axi_rvalid && good;
  wire done = taken && m_axi_rlast;

  assign req_ready = free ? grant : {N{1'b0}};
  assign idle = !m_axi_arvalid && bursts == 0;

  reg [63:0] addr;
  reg [7:0] beats;
  integer i;

  always @* begin
    addr  = 64'd0;
    beats = 8'd0;
    for (i = 0; i < N; i = i + 1) begin
      if (grant[i]) begin
        addr  = req_addr[64*i+:64];
        beats = req_beats[8*i+:8];
      end
    end
  end

  // Icarus: one test per cycle while nothing happens
  wire active = `KTLS_GATE(rst || m_axi_arvalid || start || taken);

  always @(posedge clk) begin
    if (active) begin
      if (start) begin
        m_axi_arvalid <= 1'b1;
        m_axi_araddr <= addr;
        m_axi_arlen <= beats;
        owner[wp] <= grant;
        length[wp] <= beats;
        wp <= wp + 1'b1;
        begun <= 1'b1;
      end else if (m_axi_arready) begin
        m_axi_arvalid <= 1'b0;
      end
      if (taken) beat <= m_axi_rlast ? 8'd0 : beat + 8'd1;
      if (done) rp <= rp + 1'b1;
      if (start != done) bursts <= start ? bursts + 1'b1 : bursts - 1'b1;
      if (rst) begin
        m_axi_arvalid <= 1'b0;
        wp <= 0;
        rp <= 0;
        bursts <= 0;
        beat <= 8'd0;
        begun <= 1'b0;
      end
    end
  end

  // A dead bus may recover after a reset and answer requests that the reset has cancelled. Until
  // the first new request such beats are dropped; later they would be taken for its answer.
  assign m_axi_rready = 1'b1;
  assign broken = m_axi_rvalid && !good && (owed || begun);
  assign stuck = {owed && !m_axi_rvalid, m_axi_arvalid && !m_axi_arready};
  assign rsp_valid = (taken && !flush) ? owner[rp] : {N{1'b0}};
  assign rsp_data = m_axi_rdata;
  assign rsp_err = m_axi_rresp != 2'b00;
  assign rsp_last = m_axi_rlast;

endmodule

`resetall
