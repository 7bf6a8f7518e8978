// SPDX-License-Identifier: Apache-2.0
//
// Purpose: interrupt messages: one vector for each ring and one, the last, for errors. A bus
//   wrapper turns them into MSI-X; its table has the addresses and a second mask.
// Interface: `cause` is a level: the requests of the rings, then a refused register write, then a
//   fatal error. A message is due while its cause is high and `sent` is low. `sent` follows the
//   message; it falls with the cause, with an acknowledgement (`ack`) and with a write of the
//   enable bit (`set`). So a request that comes between the driver's last look and its
//   acknowledgement sends a message of its own, and none is lost. `ack` comes one cycle before the
//   cause that follows from it.
//   A message that is offered stays until the wrapper takes it, also during a soft reset.
// Latency: vectors take turns, one per cycle, so a message is offered 1 to RINGS + 1 cycles after
//   its cause; at most one message in two cycles.
// Source: PCI Local Bus Specification 3.0, section 6.8.3.4 (mask and pending bits).
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_msg #(
    // ring pairs, 1 to 8
    parameter RINGS = 1
) (
    input  wire             clk,
    input  wire             rst,
    // masks everything; a message that is offered stays
    input  wire             soft_rst,
    input  wire [RINGS+1:0] cause,
    // per vector: an acknowledgement, and a write of its enable bit
    input  wire [  RINGS:0] ack,
    input  wire [  RINGS:0] set,
    input  wire             set_value,
    output reg  [  RINGS:0] enable,
    output wire [  RINGS:0] pending,
    // to the bus wrapper
    output reg              msg_valid,
    input  wire             msg_ready,
    output reg  [      3:0] msg_vector
);

  localparam [3:0] LAST = RINGS[3:0];

  // one bit per cause; the last two share a vector
  reg [RINGS+1:0] sent;
  reg [RINGS:0] ack_late;
  reg [3:0] turn;

  wire [RINGS+1:0] due = cause & ~sent;
  wire [RINGS:0] send = pending & enable;
  wire [15:0] askers = {{15 - RINGS{1'b0}}, send};
  wire offer = !msg_valid && askers[turn];
  wire [RINGS:0] picked = {{RINGS{1'b0}}, offer} << turn;
  wire [RINGS:0] rearm = ack_late | set;

  assign pending = {|due[RINGS+1:RINGS], due[RINGS-1:0]};

  wire active = `KTLS_GATE(|{rst, soft_rst, cause, sent, ack, ack_late, set, msg_valid});

  always @(posedge clk) begin
    if (active) begin
      ack_late <= ack;
      enable <= (enable & ~set) | (set & {RINGS + 1{set_value}});
      sent <= (sent | {picked[RINGS], picked}) & cause & ~{rearm[RINGS], rearm};
      if (|send && !msg_valid) turn <= turn == LAST ? 4'd0 : turn + 4'd1;
      if (msg_ready) msg_valid <= 1'b0;
      if (offer) begin
        msg_valid  <= 1'b1;
        msg_vector <= turn;
      end
      if (soft_rst) begin
        ack_late <= {RINGS + 1{1'b0}};
        enable <= {RINGS + 1{1'b0}};
        sent <= {RINGS + 2{1'b0}};
        turn <= 4'd0;
      end
      if (rst) msg_valid <= 1'b0;
    end
  end

  `KTLS_STABLE(g_msg_stable, msg_valid, msg_ready, 4, msg_vector)

endmodule

`resetall
