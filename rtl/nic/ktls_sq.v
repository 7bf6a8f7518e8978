// SPDX-License-Identifier: Apache-2.0
//
// Purpose: fetch submission descriptors of all rings ahead of their execution, or take them from
//   the push window.
// Interface: ring registers are inputs, ring 0 in the lowest bits. d_* offers descriptors with
//   their ring and index. d_err marks a descriptor that was read with an error; its
//   content is then meaningless. The consumer may stall. `cons` is the free-running index of
//   the first descriptor of a ring that has not been read.
//   Rings take turns, one descriptor each. A descriptor is fetched only if its completion will
//   find room in the completion ring, so a ring that its driver does not empty delays no other. A
//   descriptor beyond address 2^64 is not fetched; it arrives with d_err.
//   push_valid offers the last descriptor of a ring, for one cycle, in the cycle after its
//   doorbell. It is taken if the ring had no other and no read is under way, which keeps the
//   order. push_data must hold for another cycle.
//   data_rst drops and wipes all descriptors, which may hold keys; `rst` also resets the indices.
// Latency/throughput: one read burst per descriptor, every other cycle. Up to 2^DEPTH_LOG2
//   descriptors are under way or wait.
// Data format: structure `sqe_*` of docs/registers.md, byte 0 in d_data[7:0].
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_sq #(
    // rings
    parameter RINGS = 1,
    // width of a ring number
    parameter RING_W = 1,
    // bits of the data bus
    parameter DATA_W = 128,
    // log2 of the descriptors that are under way or wait
    parameter DEPTH_LOG2 = 4
) (
    input  wire                clk,
    input  wire                rst,
    input  wire                data_rst,
    // rings
    input  wire                enable,
    input  wire [64*RINGS-1:0] base,
    input  wire [ 4*RINGS-1:0] size_log2,
    input  wire [32*RINGS-1:0] prod,
    input  wire                push_valid,
    input  wire [         2:0] push_ring,
    input  wire [       511:0] push_data,
    output reg  [32*RINGS-1:0] cons,
    input  wire [ 4*RINGS-1:0] cq_log2,
    input  wire [32*RINGS-1:0] cq_cons,
    output wire                idle,
    // reads
    output wire                req_valid,
    input  wire                req_ready,
    output wire [        63:0] req_addr,
    output wire [         7:0] req_beats,
    input  wire                rsp_valid,
    input  wire [  DATA_W-1:0] rsp_data,
    input  wire                rsp_err,
    input  wire                rsp_last,
    // descriptors
    output wire                d_valid,
    input  wire                d_ready,
    output wire [       511:0] d_data,
    output wire [  RING_W-1:0] d_ring,
    output wire [        31:0] d_index,
    output wire                d_err
);

  `include "ktls_nic.vh"

  localparam BITS = 8 * SQE_RECORD_BYTES;
  localparam BEATS = BITS > DATA_W ? BITS / DATA_W : 1;
  localparam BEAT_LOG2 = $clog2(DATA_W / 8);

  // Index of the next descriptor to request, by ring. A ring has at most 2^15 descriptors, so 16
  // bits tell all distances apart.
  reg [16*RINGS-1:0] fetch;
  // Descriptors that are requested and not yet taken: the credits of the FIFO below.
  reg [DEPTH_LOG2:0] held;

  wire [RINGS-1:0] waiting;  // the driver has posted descriptors
  // The state of each ring one cycle ago, which shortens the paths from its registers. `fetch` of a
  // ring moves in the cycle after the ring was chosen, so its state is true again by then.
  reg [RINGS-1:0] has_room;  // for the completion of one more descriptor
  reg [RINGS-1:0] served;  // waiting and has_room
  reg [RINGS-1:0] over;  // the next descriptor lies beyond address 2^64
  wire [RINGS-1:0] has_room_now;
  wire [RINGS-1:0] over_now;
  wire [16*RINGS-1:0] place;  // of the next descriptor in its ring

  genvar g;
  generate
    for (g = 0; g < RINGS; g = g + 1) begin : g_ring
      // Each descriptor that was requested yields one completion, so `fetch` also counts the
      // entries that the completion ring must hold.
      wire [15:0] unread = fetch[16*g+:16] - cq_cons[32*g+:16];
      assign waiting[g] = fetch[16*g+:16] != prod[32*g+:16];
      wire [15:0] mask = ~(16'hFFFF << size_log2[4*g+:4]);
      assign place[16*g+:16] = fetch[16*g+:16] & mask;
      assign has_room_now[g] = unread >> cq_log2[4*g+:4] == 16'd0;
      // a ring passes 2^64 only from the last 2 MiB
      assign over_now[g] = &base[64*g+21+:43] && base[64*g+6+:15] > ~place[16*g+:15];
    end
  endgenerate

  // The next ring in turn that has work. It is chosen in one cycle and requested in the next,
  // which halves the path from the ring registers to the address.
  reg chosen;
  reg [RING_W-1:0] ring;
  reg [RING_W-1:0] next;
  integer i;

  always @* begin
    next = ring;
    // The last assignment wins: the lowest ring above the present one, otherwise the lowest.
    for (i = RINGS - 1; i >= 0; i = i - 1) if (served[i]) next = i[RING_W-1:0];
    for (i = RINGS - 1; i >= 0; i = i - 1) if (served[i] && i > ring) next = i[RING_W-1:0];
  end

  wire [63:0] first = base[64*ring+:64];
  wire room = enable && chosen && !held[DEPTH_LOG2] && served[ring];
  // The state was stale: the last descriptor of the ring had just left, or the driver has reset it.
  wire refused = chosen && !served[ring];

  assign req_valid = room && !over[ring];
  wire [63:0] addr = first + {42'd0, place[16*ring+:16], 6'd0};
  assign req_addr  = {addr[63:BEAT_LOG2], {BEAT_LOG2{1'b0}}};
  assign req_beats = BEATS[7:0] - 8'd1;

  wire take = d_valid && d_ready;
  wire [RING_W-1:0] pushed_ring = push_ring[RING_W-1:0];

  // Rings of the bursts under way. Responses come in the order of the requests.
  reg [RING_W-1:0] owner_mem[0:(1<<DEPTH_LOG2)-1];
  reg [DEPTH_LOG2-1:0] wp;
  reg [DEPTH_LOG2-1:0] rp;
  wire [RING_W-1:0] owner = owner_mem[rp];
  reg waits;  // wp != rp
  wire more = wp != rp + 1'b1;

  reg [511:0] part;  // the beats so far, shifted in from the left, so beat 0 ends on the right
  reg [RING_W-1:0] part_ring;
  reg [31:0] part_index;
  reg [511+DATA_W:0] with_beat;
  wire [DATA_W-1:0] beat;
  reg part_full;
  reg part_err;
  reg from_push;  // the descriptor is in push_data

  // a descriptor that cannot be fetched waits for those before it
  wire skip = room && over[ring] && !waits && !part_full;
  // `served` is of the cycle before the doorbell took effect
  wire pushed = push_valid && enable && has_room[pushed_ring] && !served[pushed_ring] &&
      !chosen && !waits && !held[DEPTH_LOG2];
  wire [RING_W-1:0] leaver = pushed ? pushed_ring : ring;
  wire starts = req_valid && req_ready;
  wire arrives = skip || pushed || (rsp_valid && rsp_last);
  wire [RING_W-1:0] arriver = waits ? owner : leaver;
  wire sent = starts || skip || pushed;

  generate
    if (DATA_W <= BITS) begin : g_beat
      assign beat = rsp_data;
    end else begin : g_beat
      // A beat has several descriptors; the one that was asked for goes to the left.
      localparam PLACE_W = BEAT_LOG2 - 6;
      reg [PLACE_W-1:0] place_mem[0:(1<<DEPTH_LOG2)-1];
      wire [PLACE_W-1:0] behind = ~place_mem[rp];

      always @(posedge clk) if (starts) place_mem[wp] <= addr[6+:PLACE_W];

      assign beat = rsp_data << {behind, 9'd0};
    end
  endgenerate

  // Icarus: one test per cycle while nothing happens
  wire active =
  `KTLS_GATE(
      rst || data_rst || push_valid || waiting != 0 || chosen || held != 0 ||
                           part_full || served != 0 || has_room != has_room_now || over != over_now)
  ;

  always @(posedge clk) begin
    if (active) begin
      has_room <= has_room_now;
      served <= waiting & has_room_now;
      over <= over_now;
      if (!chosen && served != 0) begin
        chosen <= 1'b1;
        ring   <= next;
      end
      if (refused) chosen <= 1'b0;
      if (sent) begin
        chosen <= 1'b0;  // also if this cycle chooses a ring while a descriptor is pushed
        fetch[16*leaver+:16] <= fetch[16*leaver+:16] + 16'd1;
        if (starts) begin
          owner_mem[wp] <= ring;
          wp <= wp + 1'b1;
        end
      end
      if (sent != take) held <= sent ? held + 1'b1 : held - 1'b1;
      part_full <= arrives;
      from_push <= pushed;
      if (part_full) part_err <= 1'b0;
      if (skip || pushed) part_err <= skip;
      if (arrives) begin
        part_ring <= arriver;
        part_index <= cons[32*arriver+:32];
        cons[32*arriver+:32] <= cons[32*arriver+:32] + 32'd1;
      end
      if (rsp_valid) begin
        with_beat = {beat, part};
        part <= with_beat[511+DATA_W:DATA_W];
        if (rsp_err) part_err <= 1'b1;
        if (rsp_last) begin
          rp <= rp + 1'b1;
        end
      end
      waits <= starts || (rsp_valid && rsp_last ? more : waits);
      if (data_rst || (part_full && !rsp_valid)) begin
        with_beat = {512 + DATA_W{1'b0}};
        part <= 512'd0;
      end
      if (data_rst) begin
        part_full <= 1'b0;
        from_push <= 1'b0;
      end
      if (rst) begin
        fetch <= {RINGS{16'd0}};
        cons <= {RINGS{32'd0}};
        held <= 0;
        chosen <= 1'b0;
        ring <= 0;
        wp <= 0;
        rp <= 0;
        waits <= 1'b0;
        part_err <= 1'b0;
        part_full <= 1'b0;
        from_push <= 1'b0;
      end
    end
  end

  assign idle = held == 0 && waiting == 0;

  // zero without a descriptor: see CLEAN
  wire [511:0] whole = part_full ? (from_push ? push_data : part) : 512'd0;

  `KTLS_UNUSED({with_beat[DATA_W-1:0], push_ring, prod, cq_cons, addr})
  wire unused_ready;
  wire [DEPTH_LOG2:0] unused_count;

  ktls_fifo #(
      .WIDTH (513 + 32 + RING_W),
      .LOG2  (DEPTH_LOG2),
      .CREDIT(1),
      .WIPE  (1),
      .CLEAN (1)
  ) descriptors (
      .clk(clk),
      .rst(rst || data_rst),
      .s_valid(part_full),
      .s_ready(unused_ready),
      .s_data({part_err, part_ring, part_index, whole}),
      .m_valid(d_valid),
      .m_ready(d_ready),
      .m_data({d_err, d_ring, d_index, d_data}),
      .count(unused_count)
  );

endmodule

`resetall
