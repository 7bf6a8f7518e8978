// SPDX-License-Identifier: Apache-2.0
//
// Purpose: registers of the device on AXI4-Lite, counters, interrupt, its messages and reset.
// Interface: 32-bit AXI4-Lite, one access at a time in each direction. Bytes that are not
//   strobed keep their value. Reads and writes of unknown addresses have no effect; such a read
//   returns 0. The master may stall both response channels.
//   `flush` stops the bus masters. core_rst resets everything but this block's bus interface;
//   data_rst resets the units that hold keys or text. The section on reset below gives their
//   order.
// Latency: a write takes effect 1 cycle after address and data (3 behind SQ_PUSH) and is answered 2
//   cycles later. A read is answered 2 cycles after its address. The interrupt follows its causes
//   by 1 cycle.
// Data format: docs/registers.md. Ring registers are packed with ring 0 in the lowest bits.
// Source: AMBA AXI4-Lite (IHI 0022), hw/ktls_nic.rdl.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_csr #(
    // blocks per cycle, for CAPS
    parameter LANES = 1,
    // contexts, for CAPS
    parameter CONTEXTS = 64,
    // ring pairs, 1 to 8
    parameter RINGS = 1,
    // value of the register SUITES
    parameter [9:0] SUITES = 10'h3ff
) (
    input  wire                clk,
    input  wire                rst,
    // AXI4-Lite
    input  wire [        11:0] s_axil_awaddr,
    input  wire                s_axil_awvalid,
    output wire                s_axil_awready,
    input  wire [        31:0] s_axil_wdata,
    input  wire [         3:0] s_axil_wstrb,
    input  wire                s_axil_wvalid,
    output wire                s_axil_wready,
    output wire [         1:0] s_axil_bresp,
    output reg                 s_axil_bvalid,
    input  wire                s_axil_bready,
    input  wire [        11:0] s_axil_araddr,
    input  wire                s_axil_arvalid,
    output wire                s_axil_arready,
    output wire [        31:0] s_axil_rdata,
    output wire [         1:0] s_axil_rresp,
    output reg                 s_axil_rvalid,
    input  wire                s_axil_rready,
    // interrupt
    output wire                irq,
    output wire                msg_valid,
    input  wire                msg_ready,
    output wire [         3:0] msg_vector,
    // reset
    output wire                flush,
    output wire                core_rst,
    output wire                data_rst,
    input  wire                masters_idle,
    // control and state
    output reg                 enable,
    output reg                 ordered,
    input  wire                keys_ready,
    input  wire                idle,
    input  wire                wr_idle,
    input  wire                cq_failed,
    input  wire                bus_dead,
    output wire [        23:0] now,
    output reg  [        31:0] key_warn,
    output reg  [        31:0] key_limit,
    output reg  [        31:0] watchdog,
    // rings, ring 0 in the lowest bits
    output reg  [64*RINGS-1:0] sq_base,
    output reg  [ 4*RINGS-1:0] sq_log2,
    output reg  [32*RINGS-1:0] sq_prod,
    // a descriptor that came with its doorbell: offered for one cycle, and held for another
    output wire                push_valid,
    output reg  [         2:0] push_ring,
    output reg  [       511:0] push_data,
    input  wire [32*RINGS-1:0] sq_cons,
    output reg  [64*RINGS-1:0] cq_base,
    output reg  [ 4*RINGS-1:0] cq_log2,
    output reg  [32*RINGS-1:0] cq_cons,
    input  wire [32*RINGS-1:0] cq_prod,
    input  wire [32*RINGS-1:0] cq_written,
    // events
    input  wire                done,
    input  wire [         7:0] done_status,
    input  wire                done_record,
    input  wire [        14:0] done_len
);

  `include "ktls_nic.vh"

  localparam STRIDE_LOG2 = $clog2(RING_STRIDE);
  localparam [11:0] SQ_PUSH = REG_RING0_SQ_PUSH - REG_RING0_SQ_BASE_LO;
  genvar g;
  integer n;

  // --------------------------------------------------------------- bus, writes
  //
  // Address and data are taken in one cycle and take effect in the next, which keeps the bus out of
  // the paths between registers. The response comes when the interrupt has followed, so a driver
  // that has consumed its completions sees no interrupt of theirs.

  reg pending;  // a write has been taken and has not taken effect
  reg written;  // a write took effect in the previous cycle
  reg [11:0] waddr;
  reg [11:0] w_offset;  // waddr, counted from the registers of ring 0
  reg [RINGS-1:0] w_to;  // waddr is a register of this ring
  reg to_push;  // waddr is SQ_PUSH of a ring
  reg [31:0] wdata;
  reg [3:0] wstrb;
  reg push_done;  // a doorbell has offered the push window in the previous cycle
  reg push_clear;  // in the cycle before that
  wire take_write = s_axil_awvalid && s_axil_wvalid && !pending && !written &&
      (!s_axil_bvalid || s_axil_bready);
  wire write = pending && !push_done && !push_clear;

  wire [11:0] awaddr = {s_axil_awaddr[11:2], 2'b00};
  wire [11:0] aw_offset = awaddr - REG_RING0_SQ_BASE_LO;

  assign s_axil_awready = take_write;
  assign s_axil_wready  = take_write;
  assign s_axil_bresp   = 2'b00;

  always @(posedge clk) begin
    if (rst || take_write || write) begin
      pending <= take_write;
      waddr <= awaddr;
      w_offset <= aw_offset;
      to_push <= aw_offset[STRIDE_LOG2-1:0] == SQ_PUSH[STRIDE_LOG2-1:0] &&
          aw_offset >> STRIDE_LOG2 < RINGS;
      for (n = 0; n < RINGS; n = n + 1) w_to[n] <= aw_offset[11:STRIDE_LOG2] == n[11-STRIDE_LOG2:0];
      wdata <= s_axil_wdata;
      wstrb <= s_axil_wstrb;
      if (write) wdata <= 32'd0;  // it may be a part of a key
      if (rst) begin
        pending <= 1'b0;
        wdata   <= 32'd0;
      end
    end
    written <= write && !rst;
    if (rst) s_axil_bvalid <= 1'b0;
    else if (written) s_axil_bvalid <= 1'b1;
    else if (s_axil_bready) s_axil_bvalid <= 1'b0;
  end

  function [31:0] merge(input [31:0] old, input [31:0] data, input [3:0] strb);
    integer i;
    begin
      for (i = 0; i < 4; i = i + 1) merge[8*i+:8] = strb[i] ? data[8*i+:8] : old[8*i+:8];
    end
  endfunction

  // --------------------------------------------------------------------- reset
  //
  // A reset must not cut a burst on the bus, so it waits for the masters. Keys and text do not
  // wait, because the bus may never answer:
  //
  //   reset_wanted  ___/~~~~~~~~~~~~\________   from the write of CTRL.reset
  //   flush         ___/~~~~~~~~~~~~\________   the masters start no burst and write no text
  //   data_rst      _____/~~~\________/~~~\__   2 cycles: wipe keys and text
  //   masters_idle  ______________/~~~~~~~~~~   outstanding bursts have ended
  //   core_rst      ________________/~~~\____   2 cycles
  //
  // A fatal error (cq_failed, bus_dead) sets `halted`, which holds `flush` until such a reset and
  // wipes likewise. The registers stay readable, so that the driver can read the cause.

  reg [1:0] reset_cnt;  // cycles of core_rst that are left
  reg reset_wanted;
  reg wiped;  // data_rst has pulsed for this flush
  reg [1:0] wipe_cnt;  // cycles of data_rst that are left

  wire halted = cq_failed || bus_dead;

  assign core_rst = rst || reset_cnt != 0;
  assign data_rst = core_rst || wipe_cnt != 0;
  assign flush = reset_wanted || halted;

  // Icarus: one test per cycle while nothing happens
  wire active = `KTLS_GATE(core_rst || write || flush || wipe_cnt != 0);

  reg ordered_wanted;
  wire [31:0] ctrl_now = {29'd0, ordered_wanted, 1'b0, enable};
  wire [31:0] ctrl_new = merge(ctrl_now, wdata, wstrb);

  // Until the driver has read STATUS.ready as 1 after a reset, the device takes only CTRL.reset and
  // WATCHDOG. So the outcome of a write does not depend on how far the reset has come.
  reg armed;
  reg watchdog_kept;  // WATCHDOG was written after the last CTRL.reset
  reg [31:0] resets;
  wire do_write = write && armed;
  wire do_reset = write && waddr == REG_CTRL && ctrl_new[CTRL_RESET_LSB];
  wire do_watchdog = write && waddr == REG_WATCHDOG;

  always @(posedge clk) begin
    if (active) begin
      if (reset_cnt != 0) reset_cnt <= reset_cnt - 2'd1;
      if (reset_wanted && masters_idle && reset_cnt == 0) begin
        reset_wanted <= 1'b0;
        reset_cnt <= 2'd2;
      end
      if (wipe_cnt != 0) wipe_cnt <= wipe_cnt - 2'd1;
      if (flush && !wiped) begin
        wiped <= 1'b1;
        wipe_cnt <= 2'd2;
      end
      if (core_rst) begin
        wiped <= 1'b0;
        wipe_cnt <= 2'd0;
      end
      if (do_reset) begin
        reset_wanted <= 1'b1;
        resets <= resets + 32'd1;
      end
      if (do_watchdog || do_reset) watchdog_kept <= do_watchdog;
      if (rst) begin
        reset_wanted <= 1'b0;
        reset_cnt <= 2'd0;
        resets <= 32'd0;
        watchdog_kept <= 1'b0;
      end
    end
  end

  // ----------------------------------------------------------------- registers

  reg [31:0] irq_enable;
  reg [32*RINGS-1:0] irq_mod;

  // The registers of ring n are those of ring 0, n strides higher. Split an address into its ring
  // and the address of the same register of ring 0.
  wire [32*RINGS-1:0] ring_errors;  // the registers ERRORS
  wire [11:0] w_first = REG_RING0_SQ_BASE_LO + {6'd0, w_offset[5:0]};

  // Checks of a write to a ring. They are made once, with the registers of the written ring.
  wire [2:0] w_at = w_offset[STRIDE_LOG2+:3];
  wire [7:0] set_up;  // both rings of the pair have an address
  wire [31:0] prod_old = sq_prod[32*w_at+:32];
  wire [31:0] cons_old = cq_cons[32*w_at+:32];
  wire [31:0] fetched = sq_cons[32*w_at+:32];
  wire [31:0] prod_new = merge(prod_old, wdata, wstrb);
  wire [31:0] cons_new = merge(cons_old, wdata, wstrb);
  wire [31:0] posted = prod_new - fetched;
  wire [31:0] in_ring = prod_old - fetched;
  wire [31:0] slots = 32'd1 << sq_log2[4*w_at+:4];
  wire prod_ok = posted >= in_ring && posted <= slots && set_up[w_at];
  // A driver that polls memory may consume an entry before its write has been answered, so the
  // bound is not cq_prod.
  wire cons_ok = cons_new - cons_old <= cq_written[32*w_at+:32] - cons_old;
  // bytes of the written word that are not 0
  wire [3:0] w_given = wstrb & {|wdata[31:24], |wdata[23:16], |wdata[15:8], |wdata[7:0]};
  // an address is a multiple of 64 already, so its old bits need no check
  wire base_ok = !wstrb[0] || wdata[5:0] == 6'd0;

  always @(posedge clk) begin
    if (do_write) begin
      case (waddr)
        REG_CTRL: begin
          enable <= ctrl_new[CTRL_ENABLE_LSB];
          ordered_wanted <= ctrl_new[CTRL_ORDERED_LSB];
        end
        REG_IRQ_ENABLE: irq_enable <= merge(irq_enable, wdata, wstrb) & 32'd7;
        REG_KEY_WARN: key_warn <= merge(key_warn, wdata, wstrb);
        REG_KEY_LIMIT: key_limit <= merge(key_limit, wdata, wstrb);
        default: ;
      endcase
    end
    if (core_rst) begin
      enable <= CTRL_ENABLE_RESET;
      ordered_wanted <= CTRL_ORDERED_RESET;
      irq_enable <= 32'd0;
      key_warn <= 32'd0;
      key_limit <= 32'd0;
    end
    // a record that is under way keeps its mode, and so do its writes
    if (idle && wr_idle) ordered <= ordered_wanted;
    if (core_rst) ordered <= CTRL_ORDERED_RESET;
    if (do_watchdog) watchdog <= merge(watchdog, wdata, wstrb);
    else if (rst || (core_rst && !watchdog_kept)) watchdog <= WATCHDOG_CYCLES_RESET;
  end

  generate
    for (g = 0; g < RINGS; g = g + 1) begin : g_ring
      reg [7:0] err_prod;  // refused writes; the counts saturate
      reg [7:0] err_cons;
      reg [7:0] err_base;

      // bytes of the two addresses that are not 0, which shortens the path of a doorbell
      reg [7:0] sq_given;
      reg [7:0] cq_given;

      assign set_up[g] = sq_given != 8'd0 && cq_given != 8'd0;
      assign ring_errors[32*g+:32] = {8'd0, err_base, err_cons, err_prod};

      always @(posedge clk) begin
        if (do_write || core_rst) begin
          if (do_write && w_to[g]) begin
            case (w_first)
              REG_RING0_SQ_BASE_LO:
              if (base_ok) begin
                sq_base[64*g+:32] <= merge(sq_base[64*g+:32], wdata, wstrb);
                sq_given[3:0] <= (sq_given[3:0] & ~wstrb) | w_given;
              end else if (!(&err_base)) err_base <= err_base + 8'd1;
              REG_RING0_SQ_BASE_HI: begin
                sq_base[64*g+32+:32] <= merge(sq_base[64*g+32+:32], wdata, wstrb);
                sq_given[7:4] <= (sq_given[7:4] & ~wstrb) | w_given;
              end
              REG_RING0_SQ_SIZE: if (wstrb[0]) sq_log2[4*g+:4] <= wdata[3:0];
              REG_RING0_SQ_PROD, REG_RING0_SQ_PUSH:
              if (prod_ok) sq_prod[32*g+:32] <= prod_new;
              else if (!(&err_prod)) err_prod <= err_prod + 8'd1;
              REG_RING0_CQ_BASE_LO:
              if (base_ok) begin
                cq_base[64*g+:32] <= merge(cq_base[64*g+:32], wdata, wstrb);
                cq_given[3:0] <= (cq_given[3:0] & ~wstrb) | w_given;
              end else if (!(&err_base)) err_base <= err_base + 8'd1;
              REG_RING0_CQ_BASE_HI: begin
                cq_base[64*g+32+:32] <= merge(cq_base[64*g+32+:32], wdata, wstrb);
                cq_given[7:4] <= (cq_given[7:4] & ~wstrb) | w_given;
              end
              REG_RING0_CQ_SIZE: if (wstrb[0]) cq_log2[4*g+:4] <= wdata[3:0];
              REG_RING0_CQ_CONS:
              if (cons_ok) cq_cons[32*g+:32] <= cons_new;
              else if (!(&err_cons)) err_cons <= err_cons + 8'd1;
              REG_RING0_IRQ_MOD: irq_mod[32*g+:32] <= merge(irq_mod[32*g+:32], wdata, wstrb);
              REG_RING0_ERRORS: begin
                err_prod <= 8'd0;
                err_cons <= 8'd0;
                err_base <= 8'd0;
              end
              default: ;
            endcase
          end
          if (core_rst) begin
            sq_given <= 8'd0;
            cq_given <= 8'd0;
            sq_base[64*g+:64] <= 64'd0;
            sq_log2[4*g+:4] <= 4'd0;
            sq_prod[32*g+:32] <= 32'd0;
            cq_base[64*g+:64] <= 64'd0;
            cq_log2[4*g+:4] <= 4'd0;
            cq_cons[32*g+:32] <= 32'd0;
            irq_mod[32*g+:32] <= {RING0_IRQ_MOD_TIMER_RESET, RING0_IRQ_MOD_COUNT_RESET};
            err_prod <= 8'd0;
            err_cons <= 8'd0;
            err_base <= 8'd0;
          end
        end
      end
    end
  endgenerate

  generate
    for (g = RINGS; g < 8; g = g + 1) begin : g_no_ring
      assign set_up[g] = 1'b0;
    end
  endgenerate

  // --------------------------------------------------------------- push window
  //
  // The window may hold a key, so a doorbell clears it whether or not ktls_sq has taken it.
  // Register writes wait until then: a word is either written or cleared.

  wire pushing = do_write && to_push;
  // the doorbell was for one descriptor, and was not refused
  reg  push_one;
  reg  push_ok;
  assign push_valid = push_done && push_one && push_ok;
  wire fills = do_write && waddr[11:6] == REG_PUSH0_WORD[11:6];

  always @(posedge clk) begin
    if (`KTLS_GATE(pushing || push_done || push_clear || data_rst)) begin
      push_done <= pushing;
      push_clear <= push_done;
      push_ok <= prod_ok;
      push_one <= prod_new[15:0] == prod_old[15:0] + 16'd1;
      push_ring <= w_at;
      if (data_rst) {push_done, push_clear} <= 2'd0;
    end
  end

  generate
    for (g = 0; g < 16; g = g + 1) begin : g_window
      wire here = fills && waddr[5:2] == g;
      integer b;

      always @(posedge clk) begin
        if (here || push_clear || data_rst) begin
          for (b = 0; b < 4; b = b + 1) begin
            if (wstrb[b]) push_data[32*g+8*b+:8] <= wdata[8*b+:8];
          end
          if (push_clear || data_rst) push_data[32*g+:32] <= 32'd0;
        end
      end
    end
  endgenerate

  // ------------------------------------------------------------------ counters
  //
  // A counter wraps. The lower half of a 64-bit counter latches the upper half when it is read,
  // so a driver that reads the lower half first gets a consistent value.

  reg [63:0] cycles;
  reg [31:0] cnt_descriptors;
  reg [31:0] cnt_records;
  reg [63:0] cnt_bytes;
  reg [31:0] cnt_refused;
  reg [31:0] cnt_short;
  reg [31:0] cnt_bus;
  reg [31:0] cnt_auth;

  assign now = cycles[23:0];

  always @(posedge clk) begin
    cycles <= cycles + 64'd1;
    if (done) begin
      cnt_descriptors <= cnt_descriptors + 32'd1;
      if (done_record) begin
        cnt_records <= cnt_records + 32'd1;
        cnt_bytes   <= cnt_bytes + {49'd0, done_len};
      end
      case (done_status)
        CPL_OK: ;
        CPL_SRC_SHORT, CPL_DST_SHORT: cnt_short <= cnt_short + 32'd1;
        CPL_SRC_BUS_ERROR, CPL_DST_BUS_ERROR, CPL_SQ_BUS_ERROR: cnt_bus <= cnt_bus + 32'd1;
        CPL_AUTH_FAILED: cnt_auth <= cnt_auth + 32'd1;
        default: cnt_refused <= cnt_refused + 32'd1;
      endcase
    end
    if (core_rst) begin
      cycles <= 64'd0;
      cnt_descriptors <= 32'd0;
      cnt_records <= 32'd0;
      cnt_bytes <= 64'd0;
      cnt_refused <= 32'd0;
      cnt_short <= 32'd0;
      cnt_bus <= 32'd0;
      cnt_auth <= 32'd0;
    end
  end

  // ----------------------------------------------------------------- interrupt
  //
  // The interrupt is a level: it stays until the driver has moved cq_cons. A ring requests
  // service when it has `count` unread completions, or `timer` cycles after the first one.

  wire [RINGS-1:0] ring_cause;

  generate
    for (g = 0; g < RINGS; g = g + 1) begin : g_irq
      // A driver that polls memory may consume an entry before its write has been answered.
      // For a moment cq_cons is then ahead of cq_prod, and nothing is unread.
      // A ring has at most 2^15 entries, so 17 bits hold the distance and its sign.
      wire [16:0] ahead = cq_prod[32*g+:17] - cq_cons[32*g+:17];
      wire some = !ahead[16] && ahead != 17'd0;
      wire [15:0] count = irq_mod[32*g+RING0_IRQ_MOD_COUNT_LSB+:RING0_IRQ_MOD_COUNT_W];
      wire [15:0] timer = irq_mod[32*g+RING0_IRQ_MOD_TIMER_LSB+:RING0_IRQ_MOD_TIMER_W];
      reg [15:0] waited;
      wire counting = `KTLS_GATE(core_rst || (some ? !(&waited) : waited != 0));
      wire timed_out = timer != 0 && waited >= timer;

      assign ring_cause[g] = some && (ahead[15:0] >= count || timed_out);

      always @(posedge clk) begin
        if (counting) begin
          if (!(&waited)) waited <= waited + 16'd1;
          if (core_rst || !some) waited <= 16'd0;
        end
      end
    end
  endgenerate

  reg [RINGS+1:0] causes_q;  // for short paths

  always @(posedge clk) causes_q <= {ring_cause, |ring_errors, halted};

  wire [31:0] causes = {
    {24 - RINGS{1'b0}}, causes_q[RINGS+1:2], 5'd0, causes_q[1:0], |causes_q[RINGS+1:2]
  };

  assign irq = |(causes & irq_enable);

  // ------------------------------------------------------------------ messages

  wire [RINGS:0] msg_ack, msg_set, msg_enable, msg_pending;

  generate
    for (g = 0; g < RINGS; g = g + 1) begin : g_msg
      wire here = do_write && w_to[g];

      assign msg_ack[g] = here && w_first == REG_RING0_CQ_CONS;
      assign msg_set[g] = here && w_first == REG_RING0_MSG && wstrb[0];
    end
  endgenerate

  assign msg_ack[RINGS] = do_write && w_first == REG_RING0_ERRORS && w_to != 0;
  assign msg_set[RINGS] = do_write && waddr == REG_ERROR_MSG && wstrb[0];

  ktls_msg #(
      .RINGS(RINGS)
  ) messages (
      .clk(clk),
      .rst(rst),
      .soft_rst(core_rst || reset_wanted),
      .cause({causes[1], causes[2], causes[IRQ_STATUS_RINGS_LSB+:RINGS]}),
      .ack(msg_ack),
      .set(msg_set),
      .set_value(wdata[0]),
      .enable(msg_enable),
      .pending(msg_pending),
      .msg_valid(msg_valid),
      .msg_ready(msg_ready),
      .msg_vector(msg_vector)
  );

  // ---------------------------------------------------------------- bus, reads

  // Three registers, of which at most one is not 0: one multiplexer for all would be a long path.
  reg [31:0] global_data;
  reg [31:0] sq_data;
  reg [31:0] cq_data;

  assign s_axil_rdata = global_data | sq_data | cq_data;

  reg [31:0] bytes_hi;  // upper half of each counter when its lower half was read
  reg [31:0] cycles_hi;
  reg read;  // an address has been taken in the previous cycle
  wire [11:0] araddr = {s_axil_araddr[11:2], 2'b00};
  reg [11:0] raddr;
  reg [11:0] r_offset;  // raddr, counted from the registers of ring 0

  assign s_axil_arready = !read && (!s_axil_rvalid || s_axil_rready);
  assign s_axil_rresp   = 2'b00;

  wire [3:0] lanes = LANES[3:0];
  wire [3:0] rings = RINGS[3:0];
  wire [15:0] contexts = CONTEXTS[15:0];
  wire [11:0] r_first = REG_RING0_SQ_BASE_LO + {6'd0, r_offset[5:0]};
  wire [2:0] r_at = r_offset[STRIDE_LOG2+:3];
  // Descriptors are executed only after the key memory has been cleared.
  wire ready = keys_ready && !flush && !core_rst;

  always @(posedge clk) begin
    read <= s_axil_arvalid && s_axil_arready;
    raddr <= araddr;
    r_offset <= araddr - REG_RING0_SQ_BASE_LO;
    if (s_axil_rready) s_axil_rvalid <= 1'b0;
    if (read) begin
      if (raddr == REG_STATUS && ready) armed <= 1'b1;
      s_axil_rvalid <= 1'b1;
      case (raddr)
        REG_ID: global_data <= ID_VALUE_RESET;
        REG_VERSION: global_data <= {VERSION_MAJOR_RESET, VERSION_MINOR_RESET};
        REG_CAPS: global_data <= {contexts, 4'd0, rings, 3'd0, 1'b1, lanes};
        REG_SUITES: global_data <= {22'd0, SUITES};
        REG_CTRL: global_data <= ctrl_now;
        REG_STATUS: global_data <= {28'd0, bus_dead, cq_failed, idle, ready};
        REG_IRQ_STATUS: global_data <= causes;
        REG_IRQ_ENABLE: global_data <= irq_enable;
        REG_KEY_WARN: global_data <= key_warn;
        REG_KEY_LIMIT: global_data <= key_limit;
        REG_WATCHDOG: global_data <= watchdog;
        REG_RESETS: global_data <= resets;
        REG_ERROR_MSG: global_data <= {30'd0, msg_pending[RINGS], msg_enable[RINGS]};
        REG_CNT_DESCRIPTORS: global_data <= cnt_descriptors;
        REG_CNT_RECORDS: global_data <= cnt_records;
        REG_CNT_BYTES_LO: begin
          global_data <= cnt_bytes[31:0];
          bytes_hi <= cnt_bytes[63:32];
        end
        REG_CYCLES_LO: begin
          global_data <= cycles[31:0];
          cycles_hi   <= cycles[63:32];
        end
        REG_CNT_BYTES_HI: global_data <= bytes_hi;
        REG_CYCLES_HI: global_data <= cycles_hi;
        REG_CNT_ERR_REFUSED: global_data <= cnt_refused;
        REG_CNT_ERR_SHORT: global_data <= cnt_short;
        REG_CNT_ERR_BUS: global_data <= cnt_bus;
        REG_CNT_ERR_AUTH: global_data <= cnt_auth;
        default: global_data <= 32'd0;
      endcase
      sq_data <= 32'd0;
      cq_data <= 32'd0;
      if (r_offset >> STRIDE_LOG2 < RINGS) begin
        case (r_first)
          REG_RING0_SQ_BASE_LO: sq_data <= sq_base[64*r_at+:32];
          REG_RING0_SQ_BASE_HI: sq_data <= sq_base[64*r_at+32+:32];
          REG_RING0_SQ_SIZE: sq_data <= {28'd0, sq_log2[4*r_at+:4]};
          REG_RING0_SQ_PROD: sq_data <= sq_prod[32*r_at+:32];
          REG_RING0_SQ_CONS: sq_data <= sq_cons[32*r_at+:32];
          REG_RING0_CQ_BASE_LO: cq_data <= cq_base[64*r_at+:32];
          REG_RING0_CQ_BASE_HI: cq_data <= cq_base[64*r_at+32+:32];
          REG_RING0_CQ_SIZE: cq_data <= {28'd0, cq_log2[4*r_at+:4]};
          REG_RING0_CQ_CONS: cq_data <= cq_cons[32*r_at+:32];
          REG_RING0_CQ_PROD: cq_data <= cq_prod[32*r_at+:32];
          REG_RING0_IRQ_MOD: cq_data <= irq_mod[32*r_at+:32];
          REG_RING0_ERRORS: cq_data <= ring_errors[32*r_at+:32];
          REG_RING0_MSG: cq_data <= {30'd0, msg_pending[r_at], msg_enable[r_at]};
          default: ;
        endcase
      end
    end
    if (do_reset) armed <= 1'b0;
    if (rst) begin
      read <= 1'b0;
      s_axil_rvalid <= 1'b0;
      armed <= 1'b0;
    end
    if (core_rst) begin
      bytes_hi  <= 32'd0;
      cycles_hi <= 32'd0;
    end
  end

  `KTLS_STABLE(g_b_stable, s_axil_bvalid, s_axil_bready, 2, s_axil_bresp)
  `KTLS_STABLE(g_r_stable, s_axil_rvalid, s_axil_rready, 32, s_axil_rdata)

  `KTLS_UNUSED({s_axil_awaddr[1:0], s_axil_araddr[1:0], w_offset, r_offset, ctrl_new[31:2]})

endmodule

`resetall
