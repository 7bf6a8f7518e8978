// SPDX-License-Identifier: Apache-2.0
//
// Purpose: turn the entries of a scatter-gather list into bursts that cover exactly the bytes
//   of one record.
// Interface: job_* takes the length of a record, e_* the entries of its list (ktls_sgl). For
//   each burst, one request (req_*) and one chunk (c_*) leave in the same cycle. Kinds of
//   chunks: DATA (bytes of a burst, from byte c_off of its first beat on), MISSING (bytes that
//   the list does not hold, or that an entry places beyond address 2^64), END (end of the record;
//   c_short reports that the list was too short, c_err that it was read with an error or passed
//   2^64). Entries after the last byte are read and ignored. Any consumer may stall.
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
    input  wire        clk,
    input  wire        rst,
    input  wire        job_valid,
    output wire        job_ready,
    input  wire [16:0] job_len,
    input  wire        e_valid,
    output wire        e_ready,
    input  wire [63:0] e_addr,
    input  wire [31:0] e_len,
    input  wire        e_last,
    input  wire        e_err,
    output wire        req_valid,
    input  wire        req_ready,
    output wire [63:0] req_addr,
    output wire [ 7:0] req_beats,
    output wire        c_valid,
    input  wire        c_ready,
    output wire [ 1:0] c_kind,
    output wire [16:0] c_bytes,
    output wire [ 7:0] c_off,
    output wire        c_short,
    output wire        c_err,
    // the chunk is END; it leaves with end_ready instead of c_ready
    output wire        at_end,
    input  wire        end_ready
);

  localparam KIND_DATA = 2'd0;
  localparam KIND_MISSING = 2'd1;
  localparam KIND_END = 2'd2;

  localparam ST_IDLE = 2'd0;
  localparam ST_ENTRY = 2'd1;  // take an entry
  localparam ST_BURST = 2'd2;  // cover its bytes by bursts
  localparam ST_END = 2'd3;  // after the last entry: MISSING if bytes are left, then END

  localparam BEAT = DATA_W / 8;  // bytes
  localparam BEAT_LOG2 = $clog2(BEAT);
  localparam BURST = 16 * BEAT;  // bytes; bursts stay inside windows of this size
  localparam BURST_LOG2 = BEAT_LOG2 + 4;

  reg [1:0] state;
  reg [16:0] left;  // bytes of the record
  reg [16:0] here;  // bytes of this entry
  reg [63:0] addr;
  reg last;
  reg short;
  reg err;
  reg over;  // the rest of this entry lies beyond 2^64

  wire [16:0] to_window = BURST[16:0] - {{17 - BURST_LOG2{1'b0}}, addr[BURST_LOG2-1:0]};
  wire [16:0] bytes = here < to_window ? here : to_window;
  wire [16:0] into_beat = {{17 - BEAT_LOG2{1'b0}}, addr[BEAT_LOG2-1:0]};
  wire [16:0] last_byte = into_beat + bytes - 17'd1;

  // Bytes of the entry that belong to the record. Once the record is covered this is 0, so the
  // rest of its list is read and ignored.
  wire [16:0] take = e_len < {15'd0, left} ? e_len[16:0] : left;

  // Bursts end at windows, so an entry that passes 2^64 has a burst that ends exactly there.
  wire [64:0] after = {1'b0, addr} + {48'd0, bytes};
  wire burst = state == ST_BURST && !over;
  wire missing = state == ST_END && left != 0;

  assign job_ready = state == ST_IDLE;
  assign e_ready = state == ST_ENTRY;

  assign req_valid = burst && c_ready;
  assign req_addr = {addr[63:BEAT_LOG2], {BEAT_LOG2{1'b0}}};
  assign req_beats = {4'd0, last_byte[BEAT_LOG2+:4]};

  assign c_valid = burst ? req_ready : state == ST_BURST || state == ST_END;
  assign c_kind = burst ? KIND_DATA : over || missing ? KIND_MISSING : KIND_END;
  assign c_bytes = burst ? bytes : over ? here : left;
  assign c_off = into_beat[7:0];
  assign at_end = state == ST_END && !missing;
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
          addr <= e_addr;
          here <= take;
          last <= e_last;
          if (e_err) err <= 1'b1;
          if (take != 0) state <= ST_BURST;
          else if (e_last) state <= ST_END;
        end
      end
      ST_BURST: begin
        if (c_valid && c_ready) begin
          addr <= after[63:0];
          here <= here - c_bytes;
          left <= left - c_bytes;
          if (here == c_bytes) begin
            over  <= 1'b0;
            state <= last ? ST_END : ST_ENTRY;
          end else if (after[64]) begin
            over <= 1'b1;
            err  <= 1'b1;
          end
        end
      end
      default: begin  // ST_END
        if (missing) begin
          if (c_ready) begin
            left  <= 17'd0;
            short <= 1'b1;
          end
        end else if (end_ready) begin
          state <= ST_IDLE;
        end
      end
    endcase
    if (rst) state <= ST_IDLE;
  end

  `KTLS_UNUSED(last_byte)

endmodule

`resetall
