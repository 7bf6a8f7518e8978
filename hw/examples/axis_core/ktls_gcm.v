// SPDX-License-Identifier: Apache-2.0
//
// Purpose: adapter that puts a core in the AXI-Stream shape (axis_gcm) in place of
//   ktls_gcm. Copy it, replace the instance at the end, and change what differs.
// Interface: as rtl/core/ktls_gcm.v; hw/examples/empty_core/ktls_gcm.v states every rule.
//   Five differences between the two shapes are bridged here, in the order of the sections:
//   1. Contexts. The core holds one key; the device has 2^CTX_W contexts. The adapter keeps
//      the raw keys and loads the key of a record when the core holds another one.
//   2. Wiping. A wiped key must be gone from this memory and from the registers of the core.
//   3. Commands. The core takes nonce and direction from sideband registers at a pulse.
//   4. Streams. The core uses tkeep and tlast; the device announces the lengths in advance.
//      Byte 0 is on the right in the core and on the left in the device.
//   5. Tag. The core has a register for it; the device expects it as the last word.
// Latency/throughput: that of axis_gcm, two cycles per record, and the time to load a key
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
      ktls_gcm_of_axis_core_supports_only_LANES_1 illegal_parameter ();
    end
  endgenerate

  localparam ST_WIPE = 3'd0;  // after reset: zeros into every context
  localparam ST_IDLE = 3'd1;
  localparam ST_LOAD = 3'd2;  // pulse key_load
  localparam ST_LOADING = 3'd3;
  localparam ST_START = 3'd4;  // pulse start
  localparam ST_DATA = 3'd5;
  localparam ST_TAG = 3'd6;

  reg  [      2:0] state;
  wire             core_busy;

  // ------------------------------------------------------- 1. contexts, 2. wiping
  //
  // A wiped context holds a key of 256 zero bits, not of 128: loading it overwrites all 60
  // words of the core's key schedule, so that no word of an earlier 256-bit key is left.

  reg  [    255:0] key_mem                                                     [0:(1<<CTX_W)-1];
  reg              k256_mem                                                    [0:(1<<CTX_W)-1];
  reg  [CTX_W-1:0] ctx;  // of the record or of the key that is being installed
  reg  [CTX_W-1:0] loaded;  // the context whose key the core holds
  reg              has_record;  // a record waits for the key

  wire             set_key = key_valid && key_ready;
  wire             take_cmd = cmd_valid && cmd_ready;

  // A key has priority over a command. Neither ready waits for its own valid.
  assign key_ready = state == ST_IDLE;
  assign cmd_ready = state == ST_IDLE && !key_valid;

  always @(posedge clk) begin
    if (state == ST_WIPE) begin
      key_mem[ctx]  <= 256'd0;
      k256_mem[ctx] <= 1'b1;
    end else if (set_key) begin
      key_mem[key_ctx]  <= key_clear ? 256'd0 : key;
      k256_mem[key_ctx] <= key_clear || key_256;
    end
  end

  // ------------------------------------------------------------------ 3. commands

  reg [95:0] nonce;
  reg decrypt;
  reg [12:0] aad_left;  // words
  reg [28:0] text_left;
  reg [3:0] aad_tail;  // bytes in the last word, 0: all 16
  reg [3:0] text_tail;
  reg empty;  // neither AAD nor text: the stream still needs a beat with tlast

  wire s_axis_tready;
  wire tag_valid;
  wire give;  // a beat goes to the core

  wire in_aad = aad_left != 0;
  wire in_text = !in_aad && text_left != 0;

  always @(posedge clk) begin
    case (state)
      ST_WIPE: begin
        ctx <= ctx + 1'b1;
        // `ctx` wraps to 0, whose zeros now overwrite what the core held before the reset
        if (&ctx) state <= ST_LOAD;
      end

      ST_IDLE: begin
        has_record <= take_cmd;
        if (set_key) begin
          // Load at once, and not only when a record needs the key: a wiped key must leave
          // the core now, and key_ready must mean that the key can be used.
          ctx   <= key_ctx;
          state <= ST_LOAD;
        end else if (take_cmd) begin
          ctx <= cmd_ctx;
          nonce <= cmd_nonce;
          decrypt <= cmd_decrypt;
          aad_left <= {1'b0, cmd_aad_len[15:4]} + {12'd0, |cmd_aad_len[3:0]};
          text_left <= {1'b0, cmd_len[31:4]} + {28'd0, |cmd_len[3:0]};
          aad_tail <= cmd_aad_len[3:0];
          text_tail <= cmd_len[3:0];
          empty <= cmd_aad_len == 0 && cmd_len == 0;
          state <= cmd_ctx == loaded ? ST_START : ST_LOAD;
        end
      end

      ST_LOAD: begin
        loaded <= ctx;
        state  <= ST_LOADING;
      end

      ST_LOADING: if (!core_busy) state <= has_record ? ST_START : ST_IDLE;

      ST_START: state <= ST_DATA;

      ST_DATA: begin
        if (give) begin
          empty <= 1'b0;
          if (in_aad) aad_left <= aad_left - 13'd1;
          else if (in_text) text_left <= text_left - 29'd1;
        end
        if (tag_valid) state <= ST_TAG;
      end

      default: if (m_ready) state <= ST_IDLE;  // ST_TAG
    endcase
    if (rst) begin
      state <= ST_WIPE;
      ctx <= 0;
      has_record <= 1'b0;
    end
  end

  // ------------------------------------------------------------------- 4. streams

  // Take no word before its command, and none after the last word of a record.
  wire s_axis_tvalid = state == ST_DATA && (empty || (s_valid && (in_aad || in_text)));
  wire s_axis_tlast = empty || (in_aad ? aad_left == 1 && text_left == 0 : text_left == 1);
  wire [3:0] tail = in_aad && aad_left == 1 ? aad_tail : in_text && text_left == 1 ? text_tail : 0;
  wire [15:0] s_axis_tkeep = empty ? 16'd0 : tail == 0 ? 16'hffff : ~(16'hffff << tail);
  wire [127:0] s_axis_tdata;

  assign s_ready = state == ST_DATA && (in_aad || in_text) && s_axis_tready;
  assign give = s_axis_tvalid && s_axis_tready;

  wire m_axis_tvalid;
  wire [127:0] m_axis_tdata;
  wire [15:0] m_axis_tkeep;
  wire m_axis_tlast;
  wire [127:0] text;

  genvar g;
  generate
    for (g = 0; g < 16; g = g + 1) begin : g_byte
      assign s_axis_tdata[8*g+:8] = s_data[127-8*g-:8];
      // In AXI-Stream a byte without tkeep has any value; the device expects zeros.
      assign text[127-8*g-:8] = m_axis_tkeep[g] ? m_axis_tdata[8*g+:8] : 8'd0;
    end
  endgenerate

  // ----------------------------------------------------------------------- 5. tag

  wire [127:0] tag;

  assign m_valid = state == ST_TAG || (state == ST_DATA && m_axis_tvalid);
  assign m_tag   = state == ST_TAG;
  assign m_data  = state == ST_TAG ? tag : text;

  // -------------------------------------------------------------- the foreign core

  axis_gcm core (
      .aclk(clk),
      .aresetn(!rst),
      .key_load(state == ST_LOAD),
      .key(key_mem[ctx]),
      .key_256(k256_mem[ctx]),
      .start(state == ST_START),
      .nonce(nonce),
      .decrypt(decrypt),
      .busy(core_busy),
      .s_axis_tvalid(s_axis_tvalid),
      .s_axis_tready(s_axis_tready),
      .s_axis_tdata(s_axis_tdata),
      .s_axis_tkeep(s_axis_tkeep),
      .s_axis_tuser(in_aad),
      .s_axis_tlast(s_axis_tlast),
      .m_axis_tvalid(m_axis_tvalid),
      .m_axis_tready(state == ST_DATA && m_ready),
      .m_axis_tdata(m_axis_tdata),
      .m_axis_tkeep(m_axis_tkeep),
      .m_axis_tlast(m_axis_tlast),
      .tag_valid(tag_valid),
      .tag(tag)
  );

  // the device counts words itself
  wire unused_ok = &{1'b0, m_axis_tlast};

endmodule

`resetall
