// SPDX-License-Identifier: Apache-2.0
//
// Purpose: adapter that puts a core in the block shape (block_gcm) in place of ktls_gcm.
//   Copy it, replace the instance at the end, and change what differs.
// Interface: as rtl/core/ktls_gcm.v; hw/examples/empty_core/ktls_gcm.v states every rule.
//   The adapter is one sequence of operations of the core: nonce, AAD blocks, text blocks,
//   end. Four differences between the two shapes are bridged here:
//   1. Contexts and wiping. The core holds one key; the adapter keeps the raw keys of the
//      device's contexts and loads the key of a record when the core holds another one.
//   2. Commands. The device announces a record with its lengths; the core takes each
//      block with an operation of its own.
//   3. Words. The core has no valid/ready: the adapter takes a word when the core is free and
//      holds the result until the device takes it.
//   4. What the core cannot do. It ignores cmd_decrypt and key_256: the core seals with
//      128-bit keys only, and capabilities.toml says so.
// Latency/throughput: that of block_gcm, two cycles per block, and the time to load a key
//   whenever the context changes.
// Source: the port rules of ktls_gcm.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_gcm #(
    // blocks per cycle
    parameter LANES = 1,
    // width of a context number
    parameter CTX_W = 6
) (
    input  wire                 clk,
    input  wire                 rst,
    // keys
    input  wire                 key_valid,
    output wire                 key_ready,
    input  wire                 key_clear,
    input  wire [    CTX_W-1:0] key_ctx,
    input  wire                 key_256,
    input  wire [        255:0] key,
    // records
    input  wire                 cmd_valid,
    output wire                 cmd_ready,
    input  wire [    CTX_W-1:0] cmd_ctx,
    input  wire                 cmd_decrypt,
    input  wire [         95:0] cmd_nonce,
    input  wire [         15:0] cmd_aad_len,
    input  wire [         31:0] cmd_len,
    // words in
    input  wire                 s_valid,
    output wire                 s_ready,
    input  wire [128*LANES-1:0] s_data,
    // words out
    output wire                 m_valid,
    input  wire                 m_ready,
    output wire [128*LANES-1:0] m_data,
    output wire                 m_tag
);

  generate
    // an instance of a module that does not exist: every tool stops and prints its name
    if (LANES != 1) begin : g_illegal
      ktls_gcm_of_block_core_supports_only_LANES_1 illegal_parameter ();
    end
  endgenerate

  localparam OP_KEY = 3'd0;
  localparam OP_NONCE = 3'd1;
  localparam OP_AAD = 3'd2;
  localparam OP_TEXT = 3'd3;
  localparam OP_END = 3'd4;

  localparam ST_WIPE = 3'd0;  // after reset: zeros into every context
  localparam ST_IDLE = 3'd1;
  localparam ST_KEY = 3'd2;
  localparam ST_NONCE = 3'd3;
  localparam ST_BLOCK = 3'd4;  // take the next word
  localparam ST_OUT = 3'd5;  // wait for the core, then give its block
  localparam ST_WAIT = 3'd6;  // wait for the core, then go on in `after`

  reg [2:0] state;
  reg [2:0] after;
  wire core_busy;

  // ------------------------------------------------------- 1. contexts and wiping

  reg [127:0] key_mem[0:(1<<CTX_W)-1];
  reg [CTX_W-1:0] ctx;  // of the record or of the key that is being installed
  reg [CTX_W-1:0] loaded;  // the context whose key the core holds

  wire set_key = key_valid && key_ready;
  wire take_cmd = cmd_valid && cmd_ready;

  // The key goes first if both ask. Neither ready waits for its own valid.
  assign key_ready = state == ST_IDLE;
  assign cmd_ready = state == ST_IDLE && !key_valid;

  always @(posedge clk) begin
    if (state == ST_WIPE) key_mem[ctx] <= 128'd0;
    else if (set_key) key_mem[key_ctx] <= key_clear ? 128'd0 : key[255:128];
  end

  // ------------------------------------------------------ 2. commands and 3. words

  reg ending;  // the operation under way ends the record
  reg [95:0] nonce;
  reg [12:0] aad_left;  // words
  reg [28:0] text_left;
  reg [3:0] aad_tail;  // bytes in the last word, 0: all 16
  reg [3:0] text_tail;
  reg [127:0] keep;  // ones at the bytes of the word that are text

  wire in_aad = aad_left != 0;
  wire in_text = !in_aad && text_left != 0;
  wire [3:0] tail = in_aad && aad_left == 1 ? aad_tail : in_text && text_left == 1 ? text_tail : 0;
  wire [4:0] bytes = tail == 0 ? 5'd16 : {1'b0, tail};

  // what the core is asked for, in this state
  wire next_word = state == ST_BLOCK && (in_aad || in_text) && s_valid;
  wire end_record = state == ST_BLOCK && !in_aad && !in_text;
  wire core_start = state == ST_KEY || state == ST_NONCE || next_word || end_record;
  wire [2:0] core_op = state == ST_KEY ? OP_KEY : state == ST_NONCE ? OP_NONCE :
                       in_aad ? OP_AAD : in_text ? OP_TEXT : OP_END;
  wire [127:0] core_in = state == ST_KEY ? key_mem[ctx] :
                         state == ST_NONCE ? {nonce, 32'd0} : s_data;
  wire [127:0] core_out;

  // Take no word before its command, and none after the last word of a record.
  assign s_ready = state == ST_BLOCK && (in_aad || in_text);
  assign m_valid = state == ST_OUT && !core_busy;
  assign m_tag   = ending;
  assign m_data  = core_out & keep;

  always @(posedge clk) begin
    case (state)
      ST_WIPE: begin
        ctx <= ctx + 1'b1;
        // `ctx` wraps to 0, whose zeros now overwrite what the core held before the reset
        if (&ctx) state <= ST_KEY;
      end

      ST_IDLE: begin
        if (set_key) begin
          // Load at once, and not only when a record needs the key: a wiped key must leave
          // the core now, and key_ready must mean that the key can be used.
          ctx   <= key_ctx;
          after <= ST_IDLE;
          state <= ST_KEY;
        end else if (take_cmd) begin
          ctx <= cmd_ctx;
          nonce <= cmd_nonce;
          aad_left <= {1'b0, cmd_aad_len[15:4]} + {12'd0, |cmd_aad_len[3:0]};
          text_left <= {1'b0, cmd_len[31:4]} + {28'd0, |cmd_len[3:0]};
          aad_tail <= cmd_aad_len[3:0];
          text_tail <= cmd_len[3:0];
          after <= ST_NONCE;
          state <= cmd_ctx == loaded ? ST_NONCE : ST_KEY;
        end
      end

      ST_KEY: begin
        loaded <= ctx;
        state  <= ST_WAIT;
      end

      ST_NONCE: begin
        after <= ST_BLOCK;
        state <= ST_WAIT;
      end

      ST_BLOCK: begin
        keep   <= end_record ? ~128'd0 : ~(~128'd0 >> {bytes, 3'd0});
        ending <= end_record;
        if (next_word && in_aad) begin
          aad_left <= aad_left - 13'd1;
          state <= ST_WAIT;
        end else if (next_word) begin
          text_left <= text_left - 29'd1;
          state <= ST_OUT;
        end else if (end_record) begin
          state <= ST_OUT;
        end
      end

      ST_OUT: if (m_valid && m_ready) state <= ending ? ST_IDLE : ST_BLOCK;

      default: if (!core_busy) state <= after;  // ST_WAIT
    endcase
    if (rst) begin
      state <= ST_WIPE;
      after <= ST_IDLE;
      ctx   <= 0;
    end
  end

  // -------------------------------------------------------------- the foreign core

  block_gcm core (
      .clk(clk),
      .rst_n(!rst),
      .op(core_op),
      .start(core_start),
      .block_in(core_in),
      .block_len(bytes),
      .busy(core_busy),
      .block_out(core_out)
  );

  // 4. what the core cannot do
  wire unused_ok = &{1'b0, cmd_decrypt, key_256, key[127:0]};

endmodule

`resetall
