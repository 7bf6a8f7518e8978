// SPDX-License-Identifier: Apache-2.0
//
// Purpose: output queue. It holds the text of an opened record until its tag has been compared
//   and then releases the text, or zeros of the same length.
// Interface: a_* takes pieces (up to one word) together with the properties of their record. A
//   sealed record delivers all its pieces. An opened record (a_open) delivers its text and then
//   the computed tag (a_tag), which is not passed on; its first a_tag_len bytes count. tag_* is
//   the received tag; it may arrive before or after the computed one. Both come in the order of
//   the opened records, and results are taken in that order. out_* offers pieces until they are
//   accepted. Zeros overwrite the pieces that have left; `clean` is high when none is left to
//   overwrite. res_* reports the result of the opened record in slot res_slot, the oldest whose
//   result has not been taken, from res_valid until res_take: whether it is authentic, its type,
//   and the bytes of its text (TLS 1.3: without type and padding).
// Latency/throughput: one piece per cycle in and out. A piece of a sealed record can leave 1
//   cycle after it entered; the text of an opened record, 1 cycle after its tag. Times depend on
//   lengths only, never on the content of tag or text.
// Data format: byte 0 of a piece is on the left at a_* and in [7:0] at out_*.
// Source: RFC 8446 section 5.2 (inner plaintext: text || type || zeros).
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_release #(
    // 16-byte blocks of a piece
    parameter LANES  = 1,
    // log2 of the jobs that may be under way
    parameter SLOT_W = 3
) (
    input  wire                      clk,
    input  wire                      rst,
    output wire                      clean,
    // received tags
    input  wire                      tag_valid,
    input  wire [        SLOT_W-1:0] tag_slot,
    input  wire [             127:0] tag_data,
    // pieces
    input  wire                      a_valid,
    output wire                      a_ready,
    input  wire [     128*LANES-1:0] a_data,
    input  wire [$clog2(16*LANES):0] a_cnt,
    input  wire                      a_open,
    input  wire                      a_tag,
    input  wire [        SLOT_W-1:0] a_slot,
    input  wire [              14:0] a_len,
    input  wire [               4:0] a_tag_len,
    input  wire                      a_tls13,
    input  wire [               7:0] a_rtype,
    input  wire                      a_poison,
    // pieces that may leave
    output wire                      out_valid,
    input  wire                      out_ready,
    output wire [     128*LANES-1:0] out_data,
    output wire [$clog2(16*LANES):0] out_cnt,
    // results of opened records
    input  wire [        SLOT_W-1:0] res_slot,
    input  wire                      res_take,
    output wire                      res_valid,
    output wire                      res_ok,
    output wire [               7:0] res_rtype,
    output wire [              14:0] res_len
);

  localparam DATA_W = 128 * LANES;
  localparam WORD = 16 * LANES;  // bytes
  localparam WORD_LOG2 = $clog2(WORD);
  localparam RING_W = 15 - WORD_LOG2;  // 32 KiB: more than a record
  localparam ENTRY_W = 1 + SLOT_W + WORD_LOG2 + 1 + DATA_W;

  //      xp            rp              cp                  wp
  //   ---|-- overwrite --|-- may leave --|-- wait for a tag --|-- free ---
  reg [ENTRY_W-1:0] ring[0:(1<<RING_W)-1];
  reg [RING_W:0] wp;  // place of the next piece to store
  reg [RING_W:0] cp;  // pieces before this place may leave
  reg [RING_W:0] rp;  // place of the next piece to leave
  reg [RING_W:0] used;  // wp - rp
  reg [RING_W:0] xp;  // place of the oldest piece that has left and is not overwritten

  // A reset drops all pieces but must not forget where they are, so it does not set these
  // registers to 0. Hardware may begin with any values; a simulator needs some.
  initial begin
    wp = 0;
    xp = 0;
  end

  // By slot. Counters tell which slots hold a tag or a result, because both come in order; flags
  // of every slot would cost a wide selection in front of each decision.
  reg [127:0] tag_mem[0:(1<<SLOT_W)-1];
  reg [SLOT_W:0] tags;  // received tags that wait for the computed one
  reg tag_here;  // tags != 0
  reg [23:0] result[0:(1<<SLOT_W)-1];
  reg [SLOT_W:0] results;  // results that have not been taken
  reg result_here;  // results != 0
  // The text may leave as it is. Each piece of text clears the bit, and the tag sets it.
  reg authentic[0:(1<<SLOT_W)-1];

  // --------------------------------------------------------------- pieces in

  reg [14-WORD_LOG2:0] word;  // number of the next word of text
  // The inner type of TLS 1.3 is the last byte that is not zero. It is searched for while the
  // pieces pass, so that no second pass is needed.
  reg [14:0] last_at;
  reg [7:0] last_byte;
  reg has_type;  // such a byte has passed
  // The search is a tree: bytes of a group of four, groups of a block, blocks of a word.
  reg [31:0] group;
  reg [3:0] filled;  // which of its bytes are not zero, the first on the left
  reg [3:0] filled_groups;
  reg [1:0] at;  // place of the last of them
  reg [63:0] ends;  // for each group: place and value of that byte
  reg [9:0] end_of_group;
  reg [WORD_LOG2:0] found;
  reg [7:0] found_byte;
  integer n;
  integer i;

  wire verdict = a_open && a_tag;
  wire stores = a_valid && a_ready && !verdict && !rst;
  wire judges = a_valid && a_ready && verdict;
  // Icarus: temporaries of the clocked block, because wires would be evaluated for every piece
  reg [127:0] after_tag;
  reg equal;
  reg good;

  wire leaves = out_valid && out_ready;

  assign a_ready = verdict ? tag_here : !used[RING_W];
  assign clean   = xp == rp;

  wire [ENTRY_W-1:0] entry = {a_open, a_slot, a_cnt, a_data};
  wire [RING_W:0] wp_next = wp + 1'b1;
  wire [RING_W:0] unwiped = wp - xp;  // pieces inside or not overwritten

  always @(posedge clk) begin
    if (stores) begin
      ring[wp[RING_W-1:0]] <= entry;
      wp <= wp_next;
      if (!a_open) cp <= wp_next;
      if (unwiped[RING_W]) xp <= xp + 1'b1;
    end else if (!clean) begin
      ring[xp[RING_W-1:0]] <= {ENTRY_W{1'b0}};
      xp <= xp + 1'b1;
    end
    if (stores && a_open) begin
      word <= word + 1'b1;
      authentic[a_slot] <= 1'b0;
      found = WORD[WORD_LOG2:0];
      found_byte = 8'd0;
      for (n = 0; n < LANES; n = n + 1) begin
        for (i = 0; i < 4; i = i + 1) begin
          group = a_data[DATA_W-1-128*n-32*i-:32];
          filled = {|group[31:24], |group[23:16], |group[15:8], |group[7:0]};
          filled_groups[3-i] = |filled;
          at = {|filled[1:0], filled[0] || filled[2:1] == 2'b10};
          ends[16*i+:16] = {6'd0, at, group[{~at, 3'b000}+:8]};
        end
        at = {|filled_groups[1:0], filled_groups[0] || filled_groups[2:1] == 2'b10};
        end_of_group = ends[{at, 4'b0000}+:10];
        if (|filled_groups) begin
          found = 16 * n[WORD_LOG2:0] + {{WORD_LOG2 - 4{1'b0}}, 1'b0, at, end_of_group[9:8]};
          found_byte = end_of_group[7:0];
        end
      end
      if (!found[WORD_LOG2]) begin
        last_at   <= {word, found[WORD_LOG2-1:0]};
        last_byte <= found_byte;
        has_type  <= 1'b1;
      end
    end
    if (judges) begin
      // One comparison of all bits: its time does not depend on the first difference.
      after_tag = {128{1'b1}} >> {a_tag_len, 3'b000};
      equal = (a_data[DATA_W-1-:128] | after_tag) == (tag_mem[a_slot] | after_tag);
      // All text of the record may leave, as zeros if it is not authentic.
      cp <= wp;
      good = equal && !a_poison && (!a_tls13 || has_type);
      authentic[a_slot] <= good;
      result[a_slot] <= {good, a_tls13 ? last_byte : a_rtype, a_tls13 ? last_at : a_len};
      word <= 0;
      last_byte <= 8'd0;
      has_type <= 1'b0;
    end
    if (tag_valid) tag_mem[tag_slot] <= tag_data;
    if (tag_valid != judges) begin
      tags <= tag_valid ? tags + 1'b1 : tags - 1'b1;
      tag_here <= tag_valid || tags != 1;
    end
    if (judges != res_take) begin
      results <= judges ? results + 1'b1 : results - 1'b1;
      result_here <= judges || results != 1;
    end
    if (rst) begin
      tags <= 0;
      tag_here <= 1'b0;
      results <= 0;
      result_here <= 1'b0;
      cp <= wp;
      word <= 0;
      last_byte <= 8'd0;
      has_type <= 1'b0;
    end
  end

  assign res_valid = result_here;
  assign {res_ok, res_rtype, res_len} = result[res_slot];

  // -------------------------------------------------------------- pieces out

  // The piece at rp is in one of two registers and the other is zero: `fresh` if it entered when
  // it was the only one, and otherwise `old`, the output register of the ring. So a block RAM
  // fits, and no text stays behind when the last piece leaves.
  reg [ENTRY_W-1:0] fresh;
  reg [ENTRY_W-1:0] old;
  wire opened;
  wire [SLOT_W-1:0] slot;
  wire [DATA_W-1:0] held;

  assign {opened, slot, out_cnt, held} = fresh | old;
  assign out_valid = rp != cp;

  ktls_swap #(
      .LANES(LANES)
  ) swap (
      .a(opened && !authentic[slot] ? {DATA_W{1'b0}} : held),
      .z(out_data)
  );

  wire [RING_W:0] rp_next = rp + 1'b1;
  wire only = used[RING_W:1] == 0;  // at most one piece is inside
  wire enters = stores && only && leaves == used[0];  // it will be the only one

  always @(posedge clk) begin
    if (leaves || enters || rst) begin
      fresh <= {ENTRY_W{1'b0}};
      if (enters) fresh <= entry;
    end
    if (leaves || rst) begin
      old <= ring[rp_next[RING_W-1:0]];
      if (only || rst) old <= {ENTRY_W{1'b0}};
    end
    if (leaves) rp <= rp_next;
    if (leaves != stores) used <= stores ? used + 1'b1 : used - 1'b1;
    if (rst) begin
      rp   <= wp;
      used <= 0;
    end
  end

endmodule

`resetall
