// SPDX-License-Identifier: Apache-2.0
//
// Purpose: the device with everything that must run fast around it: clock, reset, host memory,
//   register master and bus checks. Python uses the bfm_* signals once per register access and
//   host.mem once per record.
// Interface: toggle bfm_go to start a register access; bfm_done takes the value of bfm_go when it
//   is finished. irq_seen is the interrupt, msg_total counts its messages. All three change 1 ns
//   after a clock edge, so Python never sees a half-evaluated edge, regardless of the simulator's
//   order of events. The clock runs only while Python waits.
// verilator lint_off PROCASSINIT
`timescale 1ns / 1ps
`default_nettype none

module ktls_tb #(
    parameter LANES = 1,
    parameter CONTEXTS = 64,
    parameter RINGS = 4,
    parameter SMALL_CORE = 0,
    parameter [9:0] SUITES = 10'h3ff,
    parameter LINES = 32768,
    parameter EXTERNAL = 0
);

  localparam DATA_W = 128 * LANES;

  reg  clk = 0;
  reg  rst = 1;
  wire irq;

  always #2 clk = !clk;

  initial begin
    repeat (5) @(posedge clk);
    rst <= 0;
  end

  reg irq_seen = 0;
  always @(irq) irq_seen <= #1 irq;

  // interrupt messages; Python compares the counts with those that it has handled
  reg msg_ready = 1;
  reg [31:0] msg_total = 0;
  reg [15:0] msg_count[0:15];
  wire msg_valid;
  wire [3:0] msg_vector;
  integer vector;

  initial for (vector = 0; vector < 16; vector = vector + 1) msg_count[vector] = 0;

  always @(posedge clk) begin
    if (msg_valid) begin
      if (msg_ready) begin
        msg_count[msg_vector] <= msg_count[msg_vector] + 16'd1;
        msg_total <= #1 msg_total + 1;
      end
    end
  end

  // ------------------------------------------------------------ register master

  reg bfm_go = 0;
  reg bfm_done = 0;
  reg bfm_write = 0;
  reg [11:0] bfm_addr = 0;
  reg [31:0] bfm_wdata = 0;
  reg [31:0] bfm_rdata = 0;

  reg awvalid = 0;
  reg wvalid = 0;
  reg arvalid = 0;
  reg busy = 0;
  wire awready, wready, arready, bvalid, rvalid;
  wire [31:0] rdata;
  wire [1:0] bresp, rresp;

  // Icarus: one test per cycle while the master is idle
  wire asked = busy || bfm_go != bfm_done;

  always @(posedge clk) begin
    if (asked) begin
      if (awready) awvalid <= 0;
      if (wready) wvalid <= 0;
      if (arready) arvalid <= 0;
      if (!rst && !busy && bfm_go != bfm_done) begin
        busy <= 1;
        awvalid <= bfm_write;
        wvalid <= bfm_write;
        arvalid <= !bfm_write;
      end
      if (busy && (bvalid || rvalid)) begin
        bfm_rdata <= rdata;
        bfm_done <= #1 bfm_go;
        busy <= 0;
      end
    end
  end

  // --------------------------------------------------------------------- device

  wire [63:0] m_awaddr;
  wire [ 7:0] m_awlen;
  wire [ 2:0] m_awsize;
  wire [ 1:0] m_awburst;
  wire [ 3:0] m_awcache;
  wire [ 2:0] m_awprot;
  wire m_awvalid, m_awready;
  wire [  DATA_W-1:0] m_wdata;
  wire [DATA_W/8-1:0] m_wstrb;
  wire m_wlast, m_wvalid, m_wready;
  wire [1:0] m_bresp;
  wire m_bvalid, m_bready;
  wire [63:0] m_araddr;
  wire [ 7:0] m_arlen;
  wire [ 2:0] m_arsize;
  wire [ 1:0] m_arburst;
  wire [ 3:0] m_arcache;
  wire [ 2:0] m_arprot;
  wire m_arvalid, m_arready;
  wire [DATA_W-1:0] m_rdata;
  wire [1:0] m_rresp;
  wire m_rlast, m_rvalid, m_rready;

  ktls_nic #(
      .LANES(LANES),
      .CONTEXTS(CONTEXTS),
      .RINGS(RINGS),
      .SMALL_CORE(SMALL_CORE),
      .SUITES(SUITES)
  ) nic (
      .clk(clk),
      .rst(rst),
      .irq(irq),
      .msg_valid(msg_valid),
      .msg_ready(msg_ready),
      .msg_vector(msg_vector),
      .s_axil_awaddr(bfm_addr),
      .s_axil_awvalid(awvalid),
      .s_axil_awready(awready),
      .s_axil_wdata(bfm_wdata),
      .s_axil_wstrb(4'b1111),
      .s_axil_wvalid(wvalid),
      .s_axil_wready(wready),
      .s_axil_bresp(bresp),
      .s_axil_bvalid(bvalid),
      .s_axil_bready(1'b1),
      .s_axil_araddr(bfm_addr),
      .s_axil_arvalid(arvalid),
      .s_axil_arready(arready),
      .s_axil_rdata(rdata),
      .s_axil_rresp(rresp),
      .s_axil_rvalid(rvalid),
      .s_axil_rready(1'b1),
      .m_axi_awaddr(m_awaddr),
      .m_axi_awlen(m_awlen),
      .m_axi_awsize(m_awsize),
      .m_axi_awburst(m_awburst),
      .m_axi_awcache(m_awcache),
      .m_axi_awprot(m_awprot),
      .m_axi_awvalid(m_awvalid),
      .m_axi_awready(m_awready),
      .m_axi_wdata(m_wdata),
      .m_axi_wstrb(m_wstrb),
      .m_axi_wlast(m_wlast),
      .m_axi_wvalid(m_wvalid),
      .m_axi_wready(m_wready),
      .m_axi_bresp(m_bresp),
      .m_axi_bvalid(m_bvalid),
      .m_axi_bready(m_bready),
      .m_axi_araddr(m_araddr),
      .m_axi_arlen(m_arlen),
      .m_axi_arsize(m_arsize),
      .m_axi_arburst(m_arburst),
      .m_axi_arcache(m_arcache),
      .m_axi_arprot(m_arprot),
      .m_axi_arvalid(m_arvalid),
      .m_axi_arready(m_arready),
      .m_axi_rdata(m_rdata),
      .m_axi_rresp(m_rresp),
      .m_axi_rlast(m_rlast),
      .m_axi_rvalid(m_rvalid),
      .m_axi_rready(m_rready)
  );

  ktls_host_mem #(
      .DATA_W(DATA_W),
      .LINES(LINES),
      .EXTERNAL(EXTERNAL)
  ) host (
      .clk(clk),
      .rst(rst),
      .awaddr(m_awaddr),
      .awlen(m_awlen),
      .awvalid(m_awvalid),
      .awready(m_awready),
      .wdata(m_wdata),
      .wstrb(m_wstrb),
      .wlast(m_wlast),
      .wvalid(m_wvalid),
      .wready(m_wready),
      .bresp(m_bresp),
      .bvalid(m_bvalid),
      .bready(m_bready),
      .araddr(m_araddr),
      .arlen(m_arlen),
      .arvalid(m_arvalid),
      .arready(m_arready),
      .rdata(m_rdata),
      .rresp(m_rresp),
      .rlast(m_rlast),
      .rvalid(m_rvalid),
      .rready(m_rready)
  );

  ktls_axi_check #(
      .DATA_W(DATA_W)
  ) check (
      .clk(clk),
      .rst(rst || host.dead),
      .awaddr(m_awaddr),
      .awlen(m_awlen),
      .awsize(m_awsize),
      .awburst(m_awburst),
      .awcache(m_awcache),
      .awprot(m_awprot),
      .awvalid(m_awvalid),
      .awready(m_awready),
      .wdata(m_wdata),
      .wstrb(m_wstrb),
      .wlast(m_wlast),
      .wvalid(m_wvalid),
      .wready(m_wready),
      .araddr(m_araddr),
      .arlen(m_arlen),
      .arsize(m_arsize),
      .arburst(m_arburst),
      .arcache(m_arcache),
      .arprot(m_arprot),
      .arvalid(m_arvalid),
      .arready(m_arready)
  );

  ktls_access_log accesses (
      .clk(clk),
      .awaddr(m_awaddr),
      .awlen(m_awlen),
      .awtaken(m_awvalid && m_awready),
      .araddr(m_araddr),
      .arlen(m_arlen),
      .artaken(m_arvalid && m_arready)
  );

  // ------------------------------------------------- hash of all outputs of the device

  localparam OUT_W = 1 + 5 + 4 + 1 + 32 + 4 + 2 * 85 + DATA_W / 8 * 9 + 2 + 2;
  localparam HASH_W = (OUT_W + 63) / 64 * 64;

  // a register, not a wire: it costs nothing while the hash is off
  reg [HASH_W-1:0] sample;

  always @(posedge clk) begin
    if (outputs.on)
      sample <= {
        {HASH_W - OUT_W{1'b0}},
        irq,
        msg_valid,
        msg_vector,
        awready,
        wready,
        arready,
        bvalid,
        rvalid,
        rdata,
        bresp,
        rresp,
        m_awaddr,
        m_awlen,
        m_awsize,
        m_awburst,
        m_awcache,
        m_awprot,
        m_awvalid,
        m_araddr,
        m_arlen,
        m_arsize,
        m_arburst,
        m_arcache,
        m_arprot,
        m_arvalid,
        m_wdata,
        m_wstrb,
        m_wlast,
        m_wvalid,
        m_bready,
        m_rready
      };
  end

  ktls_hash #(
      .WIDTH(HASH_W)
  ) outputs (
      .clk(clk),
      .v  (sample)
  );

endmodule

`default_nettype wire
