// SPDX-License-Identifier: Apache-2.0
//
// Purpose: turn the entries of a scatter-gather list into bursts that cover exactly the bytes
//   of one record.
// Interface: job_* takes the length of a record, e_* the entries of its list (ktls_sgl). For
//   each burst, one request (req_*) and one chunk (c_*) leave in the same cycle. Kinds of
//   chunks: DATA (bytes of a burst), MISSING (bytes that the list does not hold, or that an entry
//   places beyond address 2^64), END (end of the record; c_short reports that the list was too
//   short, c_err that it was read with an error or passed 2^64). The bytes of a chunk go from byte
//   c_off of its first beat to byte c_stop - 1 of its last beat; c_beats counts the beats - 1.
//   Entries after the last byte are read and ignored. Any consumer may stall.
// Latency/throughput: one burst per cycle, 2 cycles per entry.
// Source: AMBA AXI4 (IHI 0022): a burst must not cross 4 KiB. Bursts stay inside windows of 16
//   beats, which divide 4 KiB.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_plan #(
    // bits of the data bus
    parameter DATA_W = 128
) (
    input  wire                        clk,
    input  wire                        rst,
    input  wire                        job_valid,
    output wire                        job_ready,
    input  wire [                16:0] job_len,
    input  wire                        e_valid,
    output wire                        e_ready,
    input  wire [                63:0] e_addr,
    input  wire [                31:0] e_len,
    input  wire                        e_last,
    input  wire                        e_err,
    output wire                        req_valid,
    input  wire                        req_ready,
    output wire [                63:0] req_addr,
    output wire [                 7:0] req_beats,
    output wire                        c_valid,
    input  wire                        c_ready,
    output wire [                 1:0] c_kind,
    output wire [                 3:0] c_beats,
    output wire [$clog2(DATA_W/8)-1:0] c_off,
    output wire [  $clog2(DATA_W/8):0] c_stop,
    output wire                        c_short,
    output wire                        c_err,
    // the chunk is END; it leaves with end_ready instead of c_ready
    output wire                        at_end,
    input  wire                        end_ready
);

  localparam KIND_DATA = 2'd0;
  localparam KIND_MISSING = 2'd1;
  localparam KIND_END = 2'd2;

  localparam ST_IDLE = 2'd0;
  localparam ST_ENTRY = 2'd1;  // take an entry
  localparam ST_BURST = 2'd2;  // cover its bytes by bursts
  localparam ST_END = 2'd3;  // after the last entry: bytes that are left are MISSING, then END

  localparam BEAT = DATA_W / 8;  // bytes
  localparam BEAT_LOG2 = $clog2(BEAT);
  localparam BURST_LOG2 = BEAT_LOG2 + 4;  // 16 beats; bursts stay inside windows of this size

  reg [1:0] state;
  reg [16:0] left;  // bytes of the record that follow this entry
  reg [63:0] addr;
  reg [17:0] reach;  // end of this entry, in bytes from the start of the window of addr
  reg last;
  reg short;
  reg err;
  reg over;  // the rest of this entry has no address

  // Bytes of the entry that belong to the record. Once the record is covered this is 0, so the
  // rest of its list is read and ignored. One subtraction compares and counts what is left.
  wire [17:0] rest = {1'b0, left} - {1'b0, e_len[16:0]};
  wire beyond = rest[17] || e_len[31:17] != 0;  // the entry is longer than what is left
  wire [16:0] take = beyond ? left : e_len[16:0];
  wire none = left == 0;

  // The entry ends in this window, perhaps with it.
  wire into_window = |reach[BURST_LOG2-1:0];
  wire [17-BURST_LOG2:0] windows = reach[17:BURST_LOG2];
  wire ends = windows == 0 || (windows == 1 && !into_window);
  wire into_beat = |reach[BEAT_LOG2-1:0];
  wire [3:0] last_beat = ends ? reach[BEAT_LOG2+:4] - {3'd0, !into_beat} : 4'd15;

  // Bursts end at windows, so an entry that passes 2^64 has a burst that ends exactly there.
  wire [64-BURST_LOG2:0] next_window = {1'b0, addr[63:BURST_LOG2]} + 1'b1;
  wire passes = next_window[64-BURST_LOG2];
  wire burst = state == ST_BURST && !over;
  wire moves = c_ready && (over || req_ready);  // in ST_BURST: a chunk leaves

  assign job_ready = state == ST_IDLE;
  assign e_ready = state == ST_ENTRY;

  assign req_valid = burst && c_ready;
  assign req_addr = {addr[63:BEAT_LOG2], {BEAT_LOG2{1'b0}}};
  assign req_beats = {4'd0, c_beats};

  assign at_end = state == ST_END && none;
  assign c_valid = burst ? req_ready : state == ST_BURST || at_end;
  assign c_kind = state == ST_END ? KIND_END : over ? KIND_MISSING : KIND_DATA;
  assign c_beats = last_beat - addr[BEAT_LOG2+:4];
  assign c_off = addr[BEAT_LOG2-1:0];
  assign c_stop = {!(ends && into_beat), ends ? reach[BEAT_LOG2-1:0] : {BEAT_LOG2{1'b0}}};
  assign c_short = short;
  assign c_err = err;

  always @(posedge clk) begin
    case (state)
      ST_IDLE: begin
        if (job_valid) begin
          left  <= job_len;
          short <= 1'b0;
          err   <= 1'b0;
          over  <= 1'b0;
          state <= ST_ENTRY;
        end
      end
      ST_ENTRY: begin
        if (e_valid) begin
          addr  <= e_addr;
          reach <= {{18 - BURST_LOG2{1'b0}}, e_addr[BURST_LOG2-1:0]} + {1'b0, take};
          left  <= beyond ? 17'd0 : rest[16:0];
          last  <= e_last;
          if (e_err) err <= 1'b1;
          if (!none && e_len != 0) state <= ST_BURST;
          else if (e_last) state <= ST_END;
        end
      end
      ST_BURST: begin
        if (moves) begin
          addr <= {next_window[63-BURST_LOG2:0], {BURST_LOG2{1'b0}}};
          reach[17:BURST_LOG2] <= windows - 1'b1;
          if (ends) begin
            over  <= 1'b0;
            state <= last ? ST_END : ST_ENTRY;
          end else if (passes) begin
            over <= 1'b1;
            err  <= 1'b1;
          end
        end
      end
      default: begin  // ST_END
        addr[BURST_LOG2-1:0] <= {BURST_LOG2{1'b0}};
        if (!none) begin
          reach <= {1'b0, left};
          left  <= 17'd0;
          over  <= 1'b1;
          short <= 1'b1;
          state <= ST_BURST;
        end else if (end_ready) begin
          state <= ST_IDLE;
        end
      end
    endcase
    if (rst) state <= ST_IDLE;
  end

endmodule

`resetall
