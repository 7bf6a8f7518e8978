// SPDX-License-Identifier: Apache-2.0
//
// Purpose: check the device's AXI4 master in every cycle and stop the simulation at the first
//   violation: a valid transfer that changes or disappears before it is accepted, a burst across
//   a 4 KiB boundary, WLAST at the wrong beat, an X on a control bit, attributes other than those
//   of the device's documentation, or data in a byte without a strobe. Data may come before its
//   address.
// Interface: observes only. A violation prints the rule and the time, then ends with $fatal.
// Source: AMBA AXI4 (IHI 0022) A3.2.1, A3.3.1, A3.4.1, A4.4, A4.7; rtl/dma for the attributes.
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
    input wire [         1:0] awburst,
    input wire [         3:0] awcache,
    input wire [         2:0] awprot,
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
    input wire [         1:0] arburst,
    input wire [         3:0] arcache,
    input wire [         2:0] arprot,
    input wire                arvalid,
    input wire                arready
);

  localparam SIZE = $clog2(DATA_W / 8);  // of a full beat
  localparam INCR = 2'b01;
  localparam CACHE = 4'b0011;  // normal, bufferable
  localparam PROT = 3'b010;  // unprivileged, non-secure, data
  localparam AW_W = 64 + 8;
  localparam W_W = DATA_W + DATA_W / 8 + 1;

  // *_held: a transfer waits for ready; *_was: its payload, which must stay stable
  reg aw_held = 0;
  reg w_held = 0;
  reg ar_held = 0;
  reg [AW_W-1:0] aw_was;
  reg [AW_W-1:0] ar_was;
  reg [W_W-1:0] w_was;
  // Beats - 1 of each burst, by its address and by WLAST. Either may come first; `checked` bursts
  // have both, and they agree.
  reg [7:0] lens[0:255];
  reg [7:0] lens_wp = 0;
  reg [7:0] ends[0:255];
  reg [7:0] ends_wp = 0;
  reg [7:0] checked = 0;
  reg [7:0] beat = 0;
  integer i;

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
        if (awsize !== SIZE[2:0]) fail("AWSIZE is not that of a full beat");
        if (awburst !== INCR) fail("AWBURST is not INCR");
        if (awcache !== CACHE) fail("AWCACHE");
        if (awprot !== PROT) fail("AWPROT");
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
        if (arsize !== SIZE[2:0]) fail("ARSIZE is not that of a full beat");
        if (arburst !== INCR) fail("ARBURST is not INCR");
        if (arcache !== CACHE) fail("ARCACHE");
        if (arprot !== PROT) fail("ARPROT");
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
          if (!(&wstrb))
            for (i = 0; i < DATA_W / 8; i = i + 1)
            if (!wstrb[i]) if (wdata[8*i+:8] !== 8'd0) fail("data in a byte without a strobe");
          if (wlast === 1'bx) fail("WLAST unknown");
          // the burst that is arriving, if its address is known
          if (lens_wp != ends_wp)
            if (wlast !== (beat == lens[ends_wp])) fail("WLAST at the wrong beat");
          if (wlast) begin
            ends[ends_wp] = beat;
            ends_wp = ends_wp + 1;
          end
          beat = wlast ? 8'd0 : beat + 8'd1;
        end
      end
      if (wready) begin
        w_held <= 1'b0;
      end else begin
        w_held <= !rst && wvalid;
        w_was  <= {wdata, wstrb, wlast};
      end
    end

    if (checked != lens_wp) begin
      if (checked != ends_wp) begin
        if (lens[checked] !== ends[checked]) fail("WLAST at the wrong beat");
        checked = checked + 1;
      end
    end

    if (rst) begin
      lens_wp = 0;
      ends_wp = 0;
      checked = 0;
      beat = 0;
    end
  end

endmodule

`default_nettype wire
