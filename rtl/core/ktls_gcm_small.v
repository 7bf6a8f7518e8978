// SPDX-License-Identifier: Apache-2.0
//
// Purpose: AES-GCM core with the ports of ktls_gcm that processes one block at a time, for
//   devices whose area matters more than their speed. It is also the example of a core that
//   replaces ktls_gcm.
// Interface: as ktls_gcm.
// Latency/throughput: a block of text takes 31 cycles with a 128-bit key and 35 with a 256-bit
//   key; a block of AAD takes 18; each record takes 34 or 38 more. Setting a key takes as long as
//   in ktls_gcm, wiping a key 16 cycles. After reset the core wipes all contexts, 16 cycles each.
// Data format: as ktls_gcm: byte 0 of a block is [127:120], as NIST SP 800-38D and CAVP print it.
// Source: NIST SP 800-38D sections 6.3 and 7.
//
// The states. One AES round unit and one GHASH multiplier that takes 8 bits per cycle share the
// block registers, so the phases of a block follow each other:
//
//   IDLE -> WIPE -> IDLE                                         key_clear, or after reset
//   IDLE -> KEY -> IDLE                                          a key, and E(K, 0) for GHASH
//   IDLE -> BLOCK                                                a record
//           BLOCK -> HASH -> BLOCK                               a block of AAD
//           BLOCK -> AES -> OUT -> HASH -> BLOCK                 a block of text
//           BLOCK -> AES -> HASH -> TAG -> IDLE                  the length block
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_gcm_small #(
    // blocks per word; the core supports only 1
    parameter LANES = 1,
    // width of a context number; there are 1 << CTX_W contexts
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
    // blocks in
    input  wire                 s_valid,
    output wire                 s_ready,
    input  wire [128*LANES-1:0] s_data,
    // blocks out
    output wire                 m_valid,
    input  wire                 m_ready,
    output wire [128*LANES-1:0] m_data,
    output wire                 m_tag
);

  generate
    // An illegal parameter stops every tool: see "Conventions" in rtl/README.md.
    if (LANES != 1) begin : g_illegal
      ktls_gcm_small_supports_only_LANES_1 illegal_parameter ();
    end
  endgenerate

  localparam ST_WIPE = 3'd0;
  localparam ST_IDLE = 3'd1;
  localparam ST_KEY = 3'd2;
  localparam ST_BLOCK = 3'd3;  // accept the next block
  localparam ST_AES = 3'd4;
  localparam ST_OUT = 3'd5;
  localparam ST_HASH = 3'd6;
  localparam ST_TAG = 3'd7;

  // A context has 16 words of key memory: round keys 0 to 14 and the GHASH key.
  localparam HASH_KEY = 4'd15;

  reg [2:0] state;
  reg wipe_all;  // after reset: continue with the next context
  reg [3:0] step;  // word of a wipe, or byte of a multiplication
  reg [CTX_W-1:0] ctx;
  reg k256;
  reg decrypt;
  reg ending;  // the current block is the length block
  reg fresh;  // first cycle of a record: key_mem is reading its GHASH key
  reg [95:0] nonce;
  reg [31:0] ctr;
  reg [12:0] aad_left;  // blocks not yet accepted
  reg [28:0] text_left;
  reg [3:0] aad_tail;  // bytes in the last block; 0: all 16
  reg [3:0] text_tail;
  reg [15:0] aad_len;
  reg [31:0] text_len;
  reg [127:0] block;  // input, masked
  reg [127:0] mask;  // of the bytes that count
  reg [127:0] out;  // block ^ keystream
  reg [127:0] y;  // hash; during ST_HASH the partial product
  reg [127:0] a;  // factor: the bits not yet multiplied, first one on the left
  reg [127:0] v;  // H * x^(8 step)
  reg [127:0] sum;  // temporaries of `multiply`
  reg [127:0] power;
  integer i;

  // ------------------------------------------------------------------------ keys

  wire kw_en;
  wire [3:0] kw_stage;
  wire [CTX_W-1:0] kw_ctx;
  wire [127:0] kw_data;
  wire h_req;
  wire h_done;
  wire keyexp_ready;
  wire [CTX_W-1:0] unused_cur_ctx;
  wire unused_flushing;
  wire cur_k256;
  reg h_sent;

  wire idle = state == ST_IDLE && keyexp_ready;

  assign key_ready = idle;

  ktls_keyexp #(
      .CTX_W(CTX_W)
  ) keyexp (
      .clk(clk),
      .rst(rst),
      .valid(key_valid && idle && !key_clear),
      .ready(keyexp_ready),
      .clear(1'b0),
      .ctx(key_ctx),
      .k256(key_256),
      .key(key),
      .kw_en(kw_en),
      .kw_stage(kw_stage),
      .kw_ctx(kw_ctx),
      .kw_data(kw_data),
      .h_req(h_req),
      .h_done(h_done),
      .flushing(unused_flushing),
      .flush_done(1'b1),  // ST_WIPE clears the registers
      .cur_ctx(unused_cur_ctx),
      .cur_k256(cur_k256)
  );

  wire aes_start;
  wire aes_done;
  wire [3:0] aes_round;
  wire [127:0] ks;

  // One synchronous memory with one read port, so that it fits block RAM. The wipe that
  // ktls_keyexp starts after reset (stage 15) is ignored here: ST_WIPE clears all 16 words.
  reg [127:0] key_mem[0:(16<<CTX_W)-1];
  reg k256_mem[0:(1<<CTX_W)-1];
  wire aes_reads = aes_start || state == ST_AES || state == ST_KEY;
  reg [127:0] key_word;

  always @(posedge clk) begin
    key_word <= key_mem[{ctx, aes_reads?aes_round : HASH_KEY}];
    if (state == ST_WIPE) key_mem[{ctx, step}] <= 128'd0;
    else if (kw_en && kw_stage != HASH_KEY) key_mem[{kw_ctx, kw_stage}] <= kw_data;
    else if (h_done) key_mem[{ctx, HASH_KEY}] <= ks;
    if (key_valid && key_ready) k256_mem[key_ctx] <= key_256;
  end

  assign h_done = state == ST_KEY && aes_done;

  // ------------------------------------------------------------------------- AES
  //
  // AES runs for the GHASH key, for blocks of text and for the length block (J0, counter 1).

  wire in_aad = aad_left != 0;
  wire in_text = !in_aad && text_left != 0;
  wire go = state == ST_BLOCK && !fresh && (s_valid || !(in_aad || in_text));

  assign aes_start = (state == ST_KEY && h_req && !h_sent) || (go && !in_aad);

  ktls_aes_iter aes (
      .clk(clk),
      .rst(rst || state == ST_WIPE),
      .start(aes_start),
      .k256_i(state == ST_KEY ? cur_k256 : k256),
      .blk_i(state == ST_KEY ? 128'd0 : {nonce, in_text ? ctr : 32'd1}),
      .round_o(aes_round),
      .rk_i(key_word),
      .done(aes_done),
      .blk_o(ks)
  );

  // --------------------------------------------------------------------- records

  wire [127:0] ones = ~128'd0;
  wire [3:0] tail = in_aad ? (aad_left == 13'd1 ? aad_tail : 4'd0)
                           : (text_left == 29'd1 ? text_tail : 4'd0);
  wire [127:0] keep = tail == 0 ? ones : ~(ones >> {tail, 3'd0});

  assign cmd_ready = idle && !key_valid;
  assign s_ready = state == ST_BLOCK && !fresh && (in_aad || in_text);
  assign m_valid = state == ST_OUT || state == ST_TAG;
  assign m_tag = state == ST_TAG;
  assign m_data = state == ST_TAG ? y ^ ks : out;

  always @(posedge clk) begin
    case (state)
      ST_WIPE: begin
        nonce <= 96'd0;
        block <= 128'd0;
        out   <= 128'd0;
        a     <= 128'd0;
        v     <= 128'd0;
        sum   = 128'd0;
        power = 128'd0;
        step <= step + 4'd1;
        if (step == 4'd15) begin
          ctx <= ctx + 1'b1;
          if (!wipe_all || &ctx) begin
            wipe_all <= 1'b0;
            state <= ST_IDLE;
          end
        end
      end

      ST_IDLE: begin
        step <= 4'd0;
        h_sent <= 1'b0;
        ending <= 1'b0;
        fresh <= 1'b1;
        y <= 128'd0;
        if (key_valid && key_ready) begin
          ctx   <= key_ctx;
          state <= key_clear ? ST_WIPE : ST_KEY;
        end else if (cmd_valid && cmd_ready) begin
          ctx <= cmd_ctx;
          k256 <= k256_mem[cmd_ctx];
          decrypt <= cmd_decrypt;
          nonce <= cmd_nonce;
          ctr <= 32'd2;
          aad_len <= cmd_aad_len;
          text_len <= cmd_len;
          aad_left <= {1'b0, cmd_aad_len[15:4]} + {12'd0, |cmd_aad_len[3:0]};
          text_left <= {1'b0, cmd_len[31:4]} + {28'd0, |cmd_len[3:0]};
          aad_tail <= cmd_aad_len[3:0];
          text_tail <= cmd_len[3:0];
          state <= ST_BLOCK;
        end
      end

      ST_KEY: begin
        if (aes_start) h_sent <= 1'b1;
        if (h_done) state <= ST_IDLE;
      end

      ST_BLOCK: begin
        // Outside AES key_word is the GHASH key, so the multiplication starts with v = H.
        fresh <= 1'b0;
        step  <= 4'd0;
        v     <= key_word;
        block <= s_data & keep;
        mask  <= keep;
        if (go) begin
          if (in_aad) begin
            aad_left <= aad_left - 13'd1;
            a <= y ^ (s_data & keep);
            y <= 128'd0;
            state <= ST_HASH;
          end else begin
            if (in_text) begin
              text_left <= text_left - 29'd1;
              ctr <= ctr + 32'd1;
            end else begin
              ending <= 1'b1;
              block  <= {45'd0, aad_len, 3'd0, 29'd0, text_len, 3'd0};
            end
            state <= ST_AES;
          end
        end
      end

      ST_AES: begin
        // the last assignment, in the cycle of aes_done, is the valid one
        out <= block ^ (ks & mask);
        if (aes_done) begin
          if (ending) begin
            a <= y ^ block;
            y <= 128'd0;
            state <= ST_HASH;
          end else begin
            state <= ST_OUT;
          end
        end
      end

      ST_OUT: begin
        // GHASH takes the ciphertext, which is the input when opening
        a <= y ^ (decrypt ? block : out);
        if (m_ready) begin
          y <= 128'd0;
          state <= ST_HASH;
        end
      end

      ST_HASH: begin
        // sixteen steps of eight bits of `a`, starting at the coefficient of x^0
        step <= step + 4'd1;
        multiply();
        if (step == 4'd15) state <= ending ? ST_TAG : ST_BLOCK;
      end

      default: begin  // ST_TAG
        if (m_ready) state <= ST_IDLE;
      end
    endcase
    if (rst) begin
      state <= ST_WIPE;
      wipe_all <= 1'b1;
      step <= 4'd0;
      ctx <= 0;
    end
  end

  // Eight steps of SP 800-38D algorithm 1: add the power of H if the bit of the factor is set,
  // then multiply the power by x and reduce.
  task multiply;
    begin
      sum   = y;
      power = v;
      for (i = 127; i >= 120; i = i - 1) begin
        if (a[i]) sum = sum ^ power;
        power = {1'b0, power[127:1]} ^ (power[0] ? {8'he1, 120'd0} : 128'd0);
      end
      y <= sum;
      v <= power;
      a <= {a[119:0], 8'd0};
    end
  endtask

endmodule

`resetall
