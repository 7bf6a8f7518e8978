// SPDX-License-Identifier: Apache-2.0
//
// Purpose: check the device's AXI4 master in every cycle and stop the simulation at the first
//   violation: a valid transfer that changes or disappears before it is accepted, a burst across
//   a 4 KiB boundary, WLAST at the wrong beat, data before its address, an X on a control bit.
// Interface: observes only. A violation prints the rule and the time, then ends with $fatal.
// Source: AMBA AXI4 (IHI 0022) A3.2.1, A3.4.1.
// verilator lint_off PROCASSINIT
`timescale 1ns / 1ps
`default_nettype none

module ktls_axi_check #(
    parameter DATA_W = 128
) (
    input wire                clk,
    input wire                rst,
    input wire [        63:0] awaddr,
    input wire [         7:0] awlen,
    input wire [         2:0] awsize,
    input wire                awvalid,
    input wire                awready,
    input wire [  DATA_W-1:0] wdata,
    input wire [DATA_W/8-1:0] wstrb,
    input wire                wlast,
    input wire                wvalid,
    input wire                wready,
    input wire [        63:0] araddr,
    input wire [         7:0] arlen,
    input wire [         2:0] arsize,
    input wire                arvalid,
    input wire                arready
);

  localparam AW_W = 64 + 8;
  localparam W_W = DATA_W + DATA_W / 8 + 1;

  // *_held: a transfer waits for ready; *_was: its payload, which must stay stable
  reg aw_held = 0;
  reg w_held = 0;
  reg ar_held = 0;
  reg [AW_W-1:0] aw_was;
  reg [AW_W-1:0] ar_was;
  reg [W_W-1:0] w_was;
  // burst lengths of accepted addresses whose data is not complete
  reg [7:0] lens[0:255];
  reg [7:0] lens_wp = 0;
  reg [7:0] lens_rp = 0;
  reg [7:0] beat = 0;

  task fail(input [8*40-1:0] what);
    begin
      $display("AXI: %0s at %0t", what, $time);
      $fatal(1, "AXI4 rule broken by the device");
    end
  endtask

  // offset of the first byte in its 4 KiB page; the last beat must start in the same page
  function crosses(input [11:0] offset, input [7:0] len, input [2:0] size);
    crosses = {4'd0, offset} + ({8'd0, len} << size) >= 16'd4096;
  endfunction

  wire aw_seen = awvalid !== 1'b0 || aw_held;
  wire ar_seen = arvalid !== 1'b0 || ar_held;
  wire w_seen = wvalid !== 1'b0 || w_held;

  // Icarus: a channel is checked only while it is active, and rare conditions are nested.
  always @(posedge clk) begin
    if (aw_seen) begin
      if (!rst) begin
        if (awvalid === 1'bx) fail("AWVALID unknown");
        if (aw_held) begin
          if (!awvalid || {awaddr, awlen} !== aw_was) fail("AW changed before AWREADY");
        end
        if (crosses(awaddr[11:0], awlen, awsize)) fail("write burst crosses 4 KiB");
        if (awready) begin
          if ((^awaddr) === 1'bx) fail("AWADDR unknown");
          lens[lens_wp] = awlen;
          lens_wp = lens_wp + 1;
        end
      end
      aw_held <= !rst && awvalid && !awready;
      aw_was  <= {awaddr, awlen};
    end

    if (ar_seen) begin
      if (!rst) begin
        if (arvalid === 1'bx) fail("ARVALID unknown");
        if (ar_held) begin
          if (!arvalid || {araddr, arlen} !== ar_was) fail("AR changed before ARREADY");
        end
        if (crosses(araddr[11:0], arlen, arsize)) fail("read burst crosses 4 KiB");
        if (arready && (^araddr) === 1'bx) fail("ARADDR unknown");
      end
      ar_held <= !rst && arvalid && !arready;
      ar_was  <= {araddr, arlen};
    end

    if (w_seen) begin
      if (!rst) begin
        if (wvalid === 1'bx) fail("WVALID unknown");
        if (w_held) begin
          if (!wvalid || {wdata, wstrb, wlast} !== w_was) fail("W changed before WREADY");
        end
        if (wready) begin
          if ((^wstrb) === 1'bx) fail("WSTRB unknown");
          if (lens_wp == lens_rp) fail("W before AW was accepted");
          if (wlast !== (beat == lens[lens_rp])) fail("WLAST at the wrong beat");
          beat = beat + 1;
          if (wlast) begin
            beat = 0;
            lens_rp = lens_rp + 1;
          end
        end
      end
      if (wready) begin
        w_held <= 1'b0;
      end else begin
        w_held <= !rst && wvalid;
        w_was  <= {wdata, wstrb, wlast};
      end
    end

    if (rst) begin
      lens_wp = 0;
      lens_rp = 0;
      beat = 0;
    end
  end

endmodule

`default_nettype wire
