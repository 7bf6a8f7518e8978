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
    // lines of 128 bytes: `LINE` of sim/wire.py
    parameter LINES  = 32768
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

  reg [1023:0] mem[0:LINES-1];
  integer n;

  initial for (n = 0; n < LINES; n = n + 1) mem[n] = 1024'd0;

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

  wire settled = !dead && !stalling && go_ar && go_r && go_aw && go_w && go_b;

  // xorshift: the same numbers in every simulator
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

  // the response to a beat at an address: a macro, because a function call costs as much
  // as the beat
  `define KTLS_RESPOND(resp, addr, errors) \
      resp = 2'b00; \
      if (addr[63:7] >= LINES) resp = 2'b11; \
      else if (errors) if (addr + BYTES > err_lo && addr < err_hi) resp = err_resp;

  // ---------------------------------------------------------------------- reads

  reg [63:0] ar_addr[0:Q-1];
  reg [7:0] ar_len[0:Q-1];
  reg [31:0] ar_due[0:Q-1];
  reg [5:0] ar_wp = 0;
  reg [5:0] ar_rp = 0;
  reg [7:0] beat = 0;
  // temporaries are memories: rtl/ktls_defs.vh
  reg r_now[0:0];
  reg [63:0] a[0:0];
  reg [1:0] rr[0:0];
  reg last[0:0];
  wire [5:0] ar_waiting = ar_wp - ar_rp;

  // an address that waits is not refused again because of a pause
  assign arready = go_ar && ar_waiting != 6'd63;
  wire take_ar = arvalid && arready;

  always @(posedge clk) begin
    if (take_ar) begin
      ar_addr[ar_wp] <= araddr;
      ar_len[ar_wp] <= arlen;
      ar_due[ar_wp] <= now + latency;
      ar_wp <= ar_wp + 1;
    end
    r_now[0] = 1'b0;
    if (ar_waiting != 0)
      if (go_r) if (!rvalid || rready) r_now[0] = $signed(now - ar_due[ar_rp]) >= 0;
    if (r_now[0]) begin
      a[0] = ar_addr[ar_rp] + beat * BYTES;
      last[0] = beat == ar_len[ar_rp];
      rvalid <= 1'b1;
      `KTLS_RESPOND(rr[0], a[0], err_read)
      rresp <= rr[0];
      // what comes with an error must not be used: make it recognisable
      if (rr[0] != 0) rdata <= {DATA_W / 8{8'hEE}};
      else rdata <= mem[a[0][63:7]][8*a[0][6:0]+:DATA_W];
      rlast <= last[0];
      if (last[0]) begin
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
  reg [5:0] aw_wp = 0;
  reg [5:0] aw_rp = 0;
  reg [31:0] b_due[0:Q-1];
  reg [1:0] b_resp[0:Q-1];
  reg [5:0] b_wp = 0;
  reg [5:0] b_rp = 0;
  reg [7:0] wbeat = 0;
  reg [1:0] worst = 0;
  reg b_now[0:0];
  reg [63:0] w[0:0];
  reg [1:0] wr[0:0];
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
      w[0] = aw_addr[aw_rp] + wbeat * BYTES;
      `KTLS_RESPOND(wr[0], w[0], err_write)
      if (wr[0] == 0) begin
        if (&wstrb) mem[w[0][63:7]][8*w[0][6:0]+:DATA_W] <= wdata;
        else
          for (i = 0; i < BYTES; i = i + 1)
          if (wstrb[i]) mem[w[0][63:7]][8*(w[0][6:0]+i)+:8] <= wdata[8*i+:8];
      end
      wbeat <= wbeat + 1;
      worst <= worst | wr[0];
      if (wlast) begin
        wbeat <= 0;
        worst <= 0;
        aw_rp <= aw_rp + 1;
        b_due[b_wp] <= now + latency;
        b_resp[b_wp] <= worst | wr[0];
        b_wp <= b_wp + 1;
      end
    end
    b_now[0] = 1'b0;
    if (b_waiting != 0) if (go_b) if (!bvalid || bready) b_now[0] = $signed(now - b_due[b_rp]) >= 0;
    if (b_now[0]) begin
      bvalid <= 1'b1;
      bresp  <= b_resp[b_rp];
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
    end
  end

  `undef KTLS_RESPOND

`ifdef VERILATOR
  wire unused_ok = &{1'b0, awlen};
`endif

endmodule

`default_nettype wire
