// SPDX-License-Identifier: Apache-2.0
//
// Purpose: simulated host memory with an AXI4 port. Python reads and writes `mem` once per record,
//   so no Python runs per beat.
// Interface: a read is answered `latency` cycles after its address and a write `latency` cycles
//   after its last beat, both in order and pipelined. stall_* pauses a channel at random, in
//   stall_* of 256 cycles. Accesses to [err_lo, err_hi) are answered with err_resp if err_read or
//   err_write is set; accesses beyond the end of `mem` are answered with DECERR. A write that is
//   answered with an error changes nothing. While `dead` is set, no channel moves and all open
//   transactions are discarded, as after the reset of a bus.
//   EXTERNAL = 1: the memory is outside of the simulation. Python serves each burst once
//   (sim/external.py): ext_ar and ext_w change 1 ns after the clock edge that takes a read address
//   or the last beat of a write. Burst n of a kind has slot n mod Q; a set bit in ext_ar_bad or
//   ext_b_bad answers it with DECERR.
// Data format: mem[n] holds bytes 128 n to 128 n + 127, byte 128 n in [7:0]. EXTERNAL = 1: mem has
//   2 Q slots of 4 KiB, those of reads first; a burst lies in its slot as it lies in its page, and
//   strobes has the strobes of the slots of writes.
// verilator lint_off PROCASSINIT
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_host_mem #(
    parameter DATA_W = 128,
    // lines of 128 bytes (`LINE` in sim/wire.py)
    parameter LINES = 32768,
    parameter EXTERNAL = 0
) (
    input  wire                clk,
    input  wire                rst,
    input  wire [        63:0] awaddr,
    input  wire [         7:0] awlen,
    input  wire                awvalid,
    output wire                awready,
    input  wire [  DATA_W-1:0] wdata,
    input  wire [DATA_W/8-1:0] wstrb,
    input  wire                wlast,
    input  wire                wvalid,
    output wire                wready,
    output reg  [         1:0] bresp,
    output reg                 bvalid,
    input  wire                bready,
    input  wire [        63:0] araddr,
    input  wire [         7:0] arlen,
    input  wire                arvalid,
    output wire                arready,
    output reg  [  DATA_W-1:0] rdata,
    output reg  [         1:0] rresp,
    output reg                 rlast,
    output reg                 rvalid,
    input  wire                rready
);

  localparam BYTES = DATA_W / 8;
  localparam [63:0] LAST = {32'd0, BYTES[31:0]} - 64'd1;
  localparam LINE_W = $clog2(LINES);
  localparam Q = 256;  // open transactions of each kind

  reg [1023:0] mem[0:LINES-1];
  integer n;

  initial for (n = 0; n < LINES; n = n + 1) mem[n] = 1024'd0;

  // Python writes these.
  reg [31:0] latency = 1;
  reg [7:0] stall_ar = 0;
  reg [7:0] stall_r = 0;
  reg [7:0] stall_aw = 0;
  reg [7:0] stall_w = 0;
  reg [7:0] stall_b = 0;
  reg [31:0] stall_seed = 1;
  reg [63:0] err_lo = 0;
  reg [63:0] err_hi = 0;
  reg [1:0] err_resp = 2'b10;
  reg err_read = 0;
  reg err_write = 0;
  reg dead = 0;

  // Python serves these if EXTERNAL is 1: slot, beats - 1 and address of a burst.
  reg ext_ar = 0;
  reg [79:0] ext_ar_burst = 0;
  reg [Q-1:0] ext_ar_bad = 0;
  reg ext_w = 0;
  reg [79:0] ext_w_burst = 0;
  reg [Q-1:0] ext_b_bad = 0;
  reg ext_w_whole = 0;  // all strobes of the burst are set
  reg [127:0] strobes[0:32*Q-1];
  initial if (EXTERNAL != 0) for (n = 0; n < 32 * Q; n = n + 1) strobes[n] = 128'd0;

  reg [31:0] now = 0;
  reg go_ar = 1;
  reg go_r = 1;
  reg go_aw = 1;
  reg go_w = 1;
  reg go_b = 1;
  wire stalling = !dead && |{stall_ar, stall_r, stall_aw, stall_w, stall_b};

  wire settled = !dead && !stalling && go_ar && go_r && go_aw && go_w && go_b;

  // xorshift instead of $random: the same numbers in every simulator
  function dice(input [7:0] share);
    begin
      stall_seed = stall_seed ^ (stall_seed << 13);
      stall_seed = stall_seed ^ (stall_seed >> 17);
      stall_seed = stall_seed ^ (stall_seed << 5);
      dice = stall_seed[15:8] >= share;
    end
  endfunction

  wire quiet = rst || dead;

  always @(posedge clk) begin
    now <= now + 1;
    if (!settled) begin
      if (stalling) begin
        go_ar <= dice(stall_ar);
        go_r  <= dice(stall_r);
        go_aw <= dice(stall_aw);
        go_w  <= dice(stall_w);
        go_b  <= dice(stall_b);
      end else begin
        {go_ar, go_r, go_aw, go_w, go_b} <= {5{!dead}};
      end
    end
  end

  // The response to a beat. A macro, because in Icarus a function call costs as much as the beat.
  `define KTLS_RESPOND(resp, addr, errors, lost) \
      resp = 2'b00; \
      if (EXTERNAL != 0 ? lost : addr[63:7] >= LINES) resp = 2'b11; \
      else if (errors) if (addr + LAST >= err_lo && addr < err_hi) resp = err_resp;

  // ---------------------------------------------------------------------- reads

  reg [63:0] ar_addr[0:Q-1];
  reg [7:0] ar_len[0:Q-1];
  reg [31:0] ar_due[0:Q-1];
  reg [7:0] ar_wp = 0;
  reg [7:0] ar_rp = 0;
  reg [7:0] beat = 0;
  `KTLS_TMP(1, r_now)
  `KTLS_TMP(64, r_addr)
  `KTLS_TMP(64, r_at)
  `KTLS_TMP(2, r_resp)
  `KTLS_TMP(1, r_last)
  wire [7:0] ar_waiting = ar_wp - ar_rp;

  assign arready = go_ar && ar_waiting != 8'd255;
  wire take_ar = arvalid && arready;

  always @(posedge clk) begin
    if (take_ar) begin
      ar_addr[ar_wp] <= araddr;
      ar_len[ar_wp] <= arlen;
      ar_due[ar_wp] <= now + latency;
      ar_wp <= ar_wp + 1;
      if (EXTERNAL != 0) begin
        ext_ar_burst <= #1{ar_wp, arlen, araddr};
        ext_ar <= #1 !ext_ar;
      end
    end
    `KTLS_V(r_now) = 1'b0;
    if (ar_waiting != 0)
      if (go_r) if (!rvalid || rready) `KTLS_V(r_now) = $signed(now - ar_due[ar_rp]) >= 0;
    if (`KTLS_V(r_now)) begin
      `KTLS_V(r_addr) = ar_addr[ar_rp] + beat * BYTES;
      `KTLS_V(r_last) = beat == ar_len[ar_rp];
      rvalid <= 1'b1;
      `KTLS_RESPOND(`KTLS_V(r_resp), `KTLS_V(r_addr), err_read, ext_ar_bad[ar_rp])
      `KTLS_V(r_at) = `KTLS_V(r_addr);
      if (EXTERNAL != 0) `KTLS_V(r_at) = {44'd0, ar_rp, `KTLS_V(r_addr) [11:0]};
      rresp <= `KTLS_V(r_resp);
      // The device must not use data that came with an error: make it recognisable.
      if (`KTLS_V(r_resp) != 0) rdata <= {DATA_W / 8{8'hEE}};
      else rdata <= mem[`KTLS_V(r_at) [7+:LINE_W]][8*`KTLS_V(r_at) [6:0]+:DATA_W];
      rlast <= `KTLS_V(r_last);
      if (`KTLS_V(r_last)) begin
        beat  <= 0;
        ar_rp <= ar_rp + 1;
      end else begin
        beat <= beat + 1;
      end
    end else if (rready) begin
      rvalid <= 1'b0;
    end
    if (quiet) begin
      rvalid <= 1'b0;
      ar_wp  <= 0;
      ar_rp  <= 0;
      beat   <= 0;
    end
  end

  // --------------------------------------------------------------------- writes

  reg [63:0] aw_addr[0:Q-1];
  reg [7:0] aw_wp = 0;
  reg [7:0] aw_rp = 0;
  reg [31:0] b_due[0:Q-1];
  reg [1:0] b_resp[0:Q-1];
  reg [7:0] b_wp = 0;
  reg [7:0] b_rp = 0;
  reg [7:0] wbeat = 0;
  reg [1:0] worst = 0;
  `KTLS_TMP(1, b_now)
  `KTLS_TMP(64, w_addr)
  `KTLS_TMP(64, w_at)
  reg whole = 1;
  `KTLS_TMP(2, w_resp)
  integer i;
  wire [7:0] aw_waiting = aw_wp - aw_rp;
  wire [7:0] b_waiting = b_wp - b_rp;

  assign awready = go_aw && aw_waiting != 8'd255;
  assign wready  = go_w && aw_waiting != 0 && b_waiting != 8'd255;

  always @(posedge clk) begin
    if (awvalid && awready) begin
      aw_addr[aw_wp] <= awaddr;
      aw_wp <= aw_wp + 1;
    end
    if (wvalid && wready) begin
      `KTLS_V(w_addr) = aw_addr[aw_rp] + wbeat * BYTES;
      `KTLS_RESPOND(`KTLS_V(w_resp), `KTLS_V(w_addr), err_write, 1'b0)
      `KTLS_V(w_at) = `KTLS_V(w_addr);
      if (EXTERNAL != 0) `KTLS_V(w_at) = {44'd1, aw_rp, `KTLS_V(w_addr) [11:0]};
      if (`KTLS_V(w_resp) == 0) begin
        if (&wstrb) mem[`KTLS_V(w_at) [7+:LINE_W]][8*`KTLS_V(w_at) [6:0]+:DATA_W] <= wdata;
        else
          for (i = 0; i < BYTES; i = i + 1)
          if (wstrb[i])
            mem[`KTLS_V(w_at) [7+:LINE_W]][8*`KTLS_V(w_at) [6:0]+8*i+:8] <= wdata[8*i+:8];
      end
      if (EXTERNAL != 0) begin
        strobes[`KTLS_V(w_at) [7+:13]][`KTLS_V(w_at) [6:0]+:BYTES] <= wstrb;
        whole <= whole && &wstrb || wlast;
        if (wlast) begin
          ext_w_burst <= #1{aw_rp, wbeat, aw_addr[aw_rp]};
          ext_w_whole <= #1 whole && &wstrb;
          ext_w <= #1 !ext_w;
        end
      end
      wbeat <= wbeat + 1;
      worst <= worst | `KTLS_V(w_resp);
      if (wlast) begin
        wbeat <= 0;
        worst <= 0;
        aw_rp <= aw_rp + 1;
        b_due[b_wp] <= now + latency;
        b_resp[b_wp] <= worst | `KTLS_V(w_resp);
        b_wp <= b_wp + 1;
      end
    end
    `KTLS_V(b_now) = 1'b0;
    if (b_waiting != 0)
      if (go_b) if (!bvalid || bready) `KTLS_V(b_now) = $signed(now - b_due[b_rp]) >= 0;
    if (`KTLS_V(b_now)) begin
      bvalid <= 1'b1;
      bresp  <= EXTERNAL != 0 ? b_resp[b_rp] | {2{ext_b_bad[b_rp]}} : b_resp[b_rp];
      b_rp   <= b_rp + 1;
    end else if (bready) begin
      bvalid <= 1'b0;
    end
    if (quiet) begin
      bvalid <= 1'b0;
      aw_wp  <= 0;
      aw_rp  <= 0;
      b_wp   <= 0;
      b_rp   <= 0;
      wbeat  <= 0;
      worst  <= 0;
      whole  <= 1;
    end
  end

  `undef KTLS_RESPOND

  // WLAST marks the end of a burst; ktls_axi_check compares it with the length.
  `KTLS_UNUSED(awlen)

endmodule

`default_nettype wire
