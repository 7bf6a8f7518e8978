// SPDX-License-Identifier: Apache-2.0
//
// Purpose: host memory behind AXI4, for simulation: Python reads and writes `mem`
//   per record, no Python runs per beat.
// Interface: reads are answered `latency` cycles after their address, writes
//   `latency` cycles after their last beat, both in order and pipelined. stall_*
//   (0..255 of 256) makes a channel pause at random. Accesses to [err_lo, err_hi)
//   are answered with err_resp if err_read or err_write says so, those behind the
//   end of memory with DECERR; such writes change nothing. While `dead` nothing moves
//   and everything under way is forgotten, as after the reset of a bus.
// Data format: mem[n] holds bytes 64n..64n+63, byte 64n in [7:0].
`timescale 1ns / 1ps
`default_nettype none

module ktls_host_mem #(
    parameter DATA_W = 128,
    // 64-byte lines
    parameter LINES  = 65536
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
  localparam Q = 64;  // transactions of each kind that may wait

  reg [511:0] mem[0:LINES-1];
  integer n;

  initial for (n = 0; n < LINES; n = n + 1) mem[n] = 512'd0;

  // knobs, written from Python
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

  reg [31:0] now = 0;
  reg go_ar = 1;
  reg go_r = 1;
  reg go_aw = 1;
  reg go_w = 1;
  reg go_b = 1;
  wire stalling = !dead && |{stall_ar, stall_r, stall_aw, stall_w, stall_b};

  // xorshift: the same numbers in every simulator
  function dice(input [7:0] share);
    begin
      stall_seed = stall_seed ^ (stall_seed << 13);
      stall_seed = stall_seed ^ (stall_seed >> 17);
      stall_seed = stall_seed ^ (stall_seed << 5);
      dice = stall_seed[15:8] >= share;
    end
  endfunction

  always @(posedge clk) begin
    now <= now + 1;
    if (stalling) begin
      go_ar <= dice(stall_ar);
      go_r  <= dice(stall_r);
      go_aw <= dice(stall_aw);
      go_w  <= dice(stall_w);
      go_b  <= dice(stall_b);
    end else if (dead) begin
      {go_ar, go_r, go_aw, go_w, go_b} <= 5'b00000;
    end else begin
      {go_ar, go_r, go_aw, go_w, go_b} <= 5'b11111;
    end
  end

  function [1:0] answer(input [63:0] addr, input is_write);
    begin
      answer = 2'b00;
      if (addr[63:6] >= LINES) answer = 2'b11;
      else if (addr + BYTES > err_lo && addr < err_hi && (is_write ? err_write : err_read))
        answer = err_resp;
    end
  endfunction

  // ---------------------------------------------------------------------- reads

  reg [63:0] ar_addr[0:Q-1];
  reg [7:0] ar_len[0:Q-1];
  reg [31:0] ar_due[0:Q-1];
  reg [5:0] ar_wp = 0;
  reg [5:0] ar_rp = 0;
  reg [7:0] beat = 0;
  reg [63:0] a;
  wire [5:0] ar_waiting = ar_wp - ar_rp;

  // an address that waits is not refused again because of a pause
  assign arready = go_ar && ar_waiting != 6'd63;

  always @(posedge clk) begin
    if (arvalid && arready) begin
      ar_addr[ar_wp] <= araddr;
      ar_len[ar_wp] <= arlen;
      ar_due[ar_wp] <= now + latency;
      ar_wp <= ar_wp + 1;
    end
    if (rready) rvalid <= 1'b0;
    if (ar_waiting != 0 && (!rvalid || rready) && go_r && $signed(now - ar_due[ar_rp]) >= 0) begin
      a = ar_addr[ar_rp] + beat * BYTES;
      rvalid <= 1'b1;
      rresp  <= answer(a, 1'b0);
      // what comes with an error must not be used: make it recognisable
      if (answer(a, 1'b0) != 0) rdata <= {DATA_W / 8{8'hEE}};
      else rdata <= mem[a[63:6]][8*a[5:0]+:DATA_W];
      rlast <= beat == ar_len[ar_rp];
      if (beat == ar_len[ar_rp]) begin
        beat  <= 0;
        ar_rp <= ar_rp + 1;
      end else begin
        beat <= beat + 1;
      end
    end
    if (rst || dead) begin
      rvalid <= 1'b0;
      ar_wp  <= 0;
      ar_rp  <= 0;
      beat   <= 0;
    end
  end

  // --------------------------------------------------------------------- writes

  reg [63:0] aw_addr[0:Q-1];
  reg [5:0] aw_wp = 0;
  reg [5:0] aw_rp = 0;
  reg [31:0] b_due[0:Q-1];
  reg [1:0] b_resp[0:Q-1];
  reg [5:0] b_wp = 0;
  reg [5:0] b_rp = 0;
  reg [7:0] wbeat = 0;
  reg [1:0] worst = 0;
  reg [63:0] w;
  reg [1:0] wr;
  integer i;
  wire [5:0] aw_waiting = aw_wp - aw_rp;
  wire [5:0] b_waiting = b_wp - b_rp;

  assign awready = go_aw && aw_waiting != 6'd63;
  assign wready  = go_w && aw_waiting != 0 && b_waiting != 6'd63;

  always @(posedge clk) begin
    if (awvalid && awready) begin
      aw_addr[aw_wp] <= awaddr;
      aw_wp <= aw_wp + 1;
    end
    if (wvalid && wready) begin
      w  = aw_addr[aw_rp] + wbeat * BYTES;
      wr = answer(w, 1'b1);
      if (wr == 0) begin
        if (&wstrb) mem[w[63:6]][8*w[5:0]+:DATA_W] <= wdata;
        else
          for (i = 0; i < BYTES; i = i + 1)
          if (wstrb[i]) mem[w[63:6]][8*(w[5:0]+i)+:8] <= wdata[8*i+:8];
      end
      wbeat <= wbeat + 1;
      worst <= worst | wr;
      if (wlast) begin
        wbeat <= 0;
        worst <= 0;
        aw_rp <= aw_rp + 1;
        b_due[b_wp] <= now + latency;
        b_resp[b_wp] <= worst | wr;
        b_wp <= b_wp + 1;
      end
    end
    if (bready) bvalid <= 1'b0;
    if (b_waiting != 0 && (!bvalid || bready) && go_b && $signed(now - b_due[b_rp]) >= 0) begin
      bvalid <= 1'b1;
      bresp  <= b_resp[b_rp];
      b_rp   <= b_rp + 1;
    end
    if (rst || dead) begin
      bvalid <= 1'b0;
      aw_wp  <= 0;
      aw_rp  <= 0;
      b_wp   <= 0;
      b_rp   <= 0;
      wbeat  <= 0;
      worst  <= 0;
    end
  end

  wire unused_ok = &{1'b0, awlen};

endmodule

`default_nettype wire
