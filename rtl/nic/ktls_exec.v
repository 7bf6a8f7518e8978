// SPDX-License-Identifier: Apache-2.0
//
// Purpose: execute descriptors: check them, keep the contexts, start records.
// Interface: d_* from ktls_sq; key_* to the core; seal_* starts a record in all
//   data units at once; cpl_* announces its completion, in the order of the
//   descriptors. CTX_SET and CTX_DEL wait until no record is under way.
//   A SEAL that names an installed context takes one record number whatever
//   becomes of it, so a driver knows the number of every record in advance and
//   no number is ever used for two different records; a number that would wrap
//   is refused. The explicit nonce of TLS 1.2 counts with the number; the IV of
//   TLS 1.3 stays.
//   What is said of SEAL holds for OPEN; a context does one of them. RESYNC sets the
//   number; on a transmit context it only moves forward, so no nonce comes again.
//   A context of plain AES-GCM (seal_raw) has no number: descriptors bring the nonce.
// Latency/throughput: 3 cycles per SEAL or OPEN.
// Data format: salt, iv, rec_seq and key turn from byte order in memory (byte 0 in
//   [7:0]) to printed order (byte 0 on the left).
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_exec #(
    // contexts
    parameter CONTEXTS = 64,
    // width of a context number
    parameter CTX_W = 6,
    // log2 of the records that may be under way
    parameter SLOT_W = 3,
    // width of a ring's number
    parameter RING_W = 1
) (
    input  wire              clk,
    input  wire              rst,
    input  wire              enable,
    output wire              idle,
    // descriptors
    input  wire              d_valid,
    output wire              d_ready,
    input  wire [     511:0] d_data,
    input  wire [RING_W-1:0] d_ring,
    input  wire [      31:0] d_index,
    input  wire              d_err,
    // keys
    output wire              key_valid,
    input  wire              key_ready,
    output wire              key_clear,
    output wire [ CTX_W-1:0] key_ctx,
    output wire              key_256,
    output wire [     255:0] key,
    // records
    output wire              seal_valid,
    input  wire              seal_ready,
    output wire [SLOT_W-1:0] seal_slot,
    output wire [ CTX_W-1:0] seal_ctx,
    output wire [       7:0] seal_rtype,
    output wire              seal_open,
    output wire              seal_tls13,
    output wire              seal_raw,
    output wire [      14:0] seal_len,
    output wire [      14:0] seal_inner,
    output wire [      14:0] seal_aad_len,
    output wire [       4:0] seal_tag_len,
    output wire [      16:0] seal_src_len,
    output wire [      14:0] seal_src_aad,
    output wire [      31:0] seal_salt,
    output wire [      63:0] seal_iv,
    output wire [      63:0] seal_seq,
    output wire [      63:0] seal_src_sg,
    output wire [      15:0] seal_src_cnt,
    output wire [      63:0] seal_dst_sg,
    output wire [      15:0] seal_dst_cnt,
    output wire [      16:0] seal_out_len,
    // completions
    output wire              cpl_valid,
    input  wire              cpl_ready,
    output wire [RING_W-1:0] cpl_ring,
    output wire [       7:0] cpl_opcode,
    output wire [      15:0] cpl_cookie,
    output wire [       7:0] cpl_status,
    output wire [      15:0] cpl_ctx,
    output wire [       7:0] cpl_rtype,
    output wire              cpl_rekey,
    output wire              cpl_numbered,
    output wire [      63:0] cpl_seq,
    output wire [      31:0] cpl_index,
    output wire              cpl_data,
    output wire [SLOT_W-1:0] cpl_slot,
    output wire [      14:0] cpl_len,
    output wire [      14:0] cpl_out_len,
    output wire [      23:0] cpl_start,
    input  wire [      23:0] now,
    // usage limits of a key, 0: none
    input  wire [      31:0] key_warn,
    input  wire [      31:0] key_limit,
    // a record has been completed
    input  wire              retire
);

  `include "ktls_nic.vh"

  localparam MAX_PLAINTEXT = 32'd16384;
  localparam TAG = 16'd16;
  localparam OVERHEAD_1_2 = 16'd29;  // header, explicit nonce, tag
  localparam OVERHEAD_1_3 = 16'd22;  // header, inner type, tag
  localparam RAW = 16'd0;
  localparam TLS_1_2 = 16'h0303;
  localparam TLS_1_3 = 16'h0304;
  localparam CIPHER_AES_GCM_128 = 16'd51;
  localparam CIPHER_AES_GCM_256 = 16'd52;

  localparam ST_IDLE = 3'd0;
  localparam ST_CHECK = 3'd1;
  localparam ST_START = 3'd2;  // a record starts
  localparam ST_DRAIN = 3'd3;  // wait until no record is under way
  localparam ST_KEY = 3'd4;  // wait for the key engine
  localparam ST_REPLY = 3'd5;  // complete, without a record
  localparam ST_WIPE = 3'd6;  // forget what the descriptor held

  function [31:0] swap4(input [31:0] x);
    swap4 = {x[7:0], x[15:8], x[23:16], x[31:24]};
  endfunction

  function [63:0] swap8(input [63:0] x);
    integer i;
    begin
      for (i = 0; i < 8; i = i + 1) swap8[8*i+:8] = x[8*(7-i)+:8];
    end
  endfunction

  reg [2:0] state;
  reg [511:0] d;
  reg err;
  reg [RING_W-1:0] ring;
  reg [31:0] index;
  reg [23:0] start;
  reg [7:0] status;
  reg numbered;
  reg rekey;
  reg [SLOT_W-1:0] slot;
  reg [SLOT_W:0] under_way;

  // contexts; the keys are in the core
  reg [CONTEXTS-1:0] installed;
  reg [CONTEXTS-1:0] tls13_ctx;
  reg [CONTEXTS-1:0] open_ctx;
  reg [CONTEXTS-1:0] raw_ctx;
  reg [31:0] salt_mem[0:CONTEXTS-1];
  reg [63:0] iv_mem[0:CONTEXTS-1];
  reg [63:0] seq_mem[0:CONTEXTS-1];
  reg [31:0] uses_mem[0:CONTEXTS-1];

  reg live;
  reg tls13;
  reg receive;
  reg raw;
  reg [31:0] salt;
  reg [63:0] iv;
  reg [63:0] seq;
  reg [31:0] uses;

  wire [7:0] opcode = d[SQE_RECORD_OPCODE_LSB+:SQE_RECORD_OPCODE_W];
  wire [15:0] ctx = d[SQE_RECORD_CTX_LSB+:SQE_RECORD_CTX_W];
  wire [CTX_W-1:0] c = ctx[CTX_W-1:0];
  wire [31:0] len = d[SQE_RECORD_LEN_LSB+:SQE_RECORD_LEN_W];
  wire [31:0] dst_len = d[SQE_RECORD_DST_LEN_LSB+:SQE_RECORD_DST_LEN_W];
  wire [15:0] version = d[SQE_CTX_VERSION_LSB+:SQE_CTX_VERSION_W];
  wire [15:0] cipher = d[SQE_CTX_CIPHER_LSB+:SQE_CTX_CIPHER_W];
  wire [7:0] dir = d[SQE_CTX_DIR_LSB+:SQE_CTX_DIR_W];
  wire [31:0] aad_len = d[SQE_RECORD_AAD_LEN_LSB+:SQE_RECORD_AAD_LEN_W];
  wire [7:0] tag_len = d[SQE_RECORD_TAG_LEN_LSB+:SQE_RECORD_TAG_LEN_W];
  wire ctx_in_range = {16'd0, ctx} < CONTEXTS;

  wire [15:0] ctx_next = d_data[SQE_RECORD_CTX_LSB+:SQE_RECORD_CTX_W];

  wire opening = opcode == OP_OPEN;
  wire [31:0] most = MAX_PLAINTEXT + {31'd0, opening && tls13};
  wire [15:0] pad = tls13 && !opening ? d[SQE_RECORD_PAD_LSB+:SQE_RECORD_PAD_W] : 16'd0;
  wire [15:0] tag = raw ? {8'd0, tag_len} : TAG;
  wire [15:0] tls_overhead = tls13 ? OVERHEAD_1_3 + pad : OVERHEAD_1_2;
  wire [31:0] overhead = opening ? 32'd0 : {16'd0, raw ? tag : tls_overhead};
  wire tag_ok = tag_len == 8'd4 || tag_len == 8'd8 || (tag_len >= 8'd12 && tag_len <= 8'd16);
  // with the padding of a record that is not too long without it
  wire length_ok = len <= most && {1'b0, len[15:0]} + {1'b0, pad} <= most[16:0] &&
                   (!raw || (tag_ok && aad_len <= MAX_PLAINTEXT));
  wire suite_ok = (version == TLS_1_2 || version == TLS_1_3 || version == RAW) && dir <= 8'd1 &&
                  (cipher == CIPHER_AES_GCM_128 || cipher == CIPHER_AES_GCM_256);
  wire [63:0] new_seq = swap8(d[SQE_CTX_REC_SEQ_LSB+:SQE_CTX_REC_SEQ_W]);
  wire backward = !receive && new_seq < seq;
  wire [31:0] uses_next = uses + 32'd1;
  wire spent = key_limit != 32'd0 && uses >= key_limit;
  wire exhausted = &seq;

  assign d_ready = state == ST_IDLE && enable;
  assign idle = state == ST_IDLE && under_way == 0;

  genvar g;
  generate
    if ((1 << CTX_W) != CONTEXTS) ktls_exec_CONTEXTS_must_be_2_to_the_CTX_W illegal_parameter ();
    for (g = 0; g < 4; g = g + 1) begin : g_key
      assign key[64*g+:64] = swap8(d[SQE_CTX_KEY_LSB+64*(3-g)+:64]);
    end
  endgenerate

  assign key_valid = state == ST_DRAIN && under_way == 0;
  assign key_clear = opcode == OP_CTX_DEL;
  assign key_ctx = c;
  assign key_256 = cipher == CIPHER_AES_GCM_256;

  // a record and its completion are announced in the same cycle
  assign seal_valid = state == ST_START && cpl_ready && !under_way[SLOT_W];
  assign seal_slot = slot;
  assign seal_ctx = c;
  assign seal_rtype = d[SQE_RECORD_RTYPE_LSB+:SQE_RECORD_RTYPE_W];
  assign seal_open = opening;
  assign seal_tls13 = tls13;
  assign seal_raw = raw;
  assign seal_len = len[14:0];
  assign seal_inner = len[14:0] + pad[14:0] + {14'd0, tls13 && !opening};
  assign seal_aad_len = aad_len[14:0];
  assign seal_tag_len = tag[4:0];
  wire [16:0] aad_blocks = raw ? ({2'd0, aad_len[14:0]} + 17'd15) & ~17'd15 : 17'd0;
  assign seal_src_len = aad_blocks + len[16:0] + (opening ? {1'b0, tag} : 17'd0);
  assign seal_src_aad = aad_blocks[14:0];
  assign seal_salt = raw ? swap4(d[SQE_RECORD_NONCE_LSB+:SQE_RECORD_NONCE_W]) : salt;
  wire [63:0] explicit_nonce = swap8(d[SQE_RECORD_EXPLICIT_NONCE_LSB+:SQE_RECORD_EXPLICIT_NONCE_W]);
  assign seal_iv = raw || (opening && !tls13) ? explicit_nonce : iv;
  assign seal_seq = seq;
  assign seal_src_sg = d[SQE_RECORD_SRC_SG_LSB+:SQE_RECORD_SRC_SG_W];
  assign seal_src_cnt = d[SQE_RECORD_SRC_CNT_LSB+:SQE_RECORD_SRC_CNT_W];
  assign seal_dst_sg = d[SQE_RECORD_DST_SG_LSB+:SQE_RECORD_DST_SG_W];
  assign seal_dst_cnt = d[SQE_RECORD_DST_CNT_LSB+:SQE_RECORD_DST_CNT_W];
  assign seal_out_len = len[16:0] + overhead[16:0];

  assign cpl_valid = (seal_valid && seal_ready) || state == ST_REPLY;
  assign cpl_ring = ring;
  assign cpl_opcode = opcode;
  assign cpl_cookie = d[SQE_RECORD_COOKIE_LSB+:SQE_RECORD_COOKIE_W];
  assign cpl_status = status;
  assign cpl_ctx = ctx;
  assign cpl_rtype = opcode == OP_SEAL ? seal_rtype : 8'd0;
  assign cpl_rekey = rekey;
  assign cpl_numbered = numbered;
  assign cpl_seq = numbered ? seq : 64'd0;
  assign cpl_index = index;
  assign cpl_data = state == ST_START;
  assign cpl_slot = slot;
  assign cpl_len = len[14:0];
  assign cpl_out_len = seal_out_len[14:0];
  assign cpl_start = start;

  wire started = seal_valid && seal_ready;

  always @(posedge clk) begin
    if (started != retire) under_way <= started ? under_way + 1'b1 : under_way - 1'b1;

    case (state)
      ST_IDLE: begin
        if (d_valid && enable) begin
          d <= d_data;
          ring <= d_ring;
          index <= d_index;
          err <= d_err;
          start <= now;
          numbered <= 1'b0;
          rekey <= 1'b0;
          status <= CPL_OK;
          live <= installed[ctx_next[CTX_W-1:0]];
          tls13 <= tls13_ctx[ctx_next[CTX_W-1:0]];
          receive <= open_ctx[ctx_next[CTX_W-1:0]];
          raw <= raw_ctx[ctx_next[CTX_W-1:0]];
          uses <= uses_mem[ctx_next[CTX_W-1:0]];
          salt <= salt_mem[ctx_next[CTX_W-1:0]];
          iv <= iv_mem[ctx_next[CTX_W-1:0]];
          seq <= seq_mem[ctx_next[CTX_W-1:0]];
          state <= ST_CHECK;
        end
      end

      ST_CHECK: begin
        state <= ST_REPLY;
        if (err) begin
          status <= CPL_SQ_BUS_ERROR;
          d <= 512'd0;
        end else if (opcode == OP_SEAL || opening) begin
          if (!ctx_in_range || !live || receive != opening) begin
            status <= CPL_BAD_CTX;
          end else if (exhausted && !raw) begin
            status <= CPL_SEQ_EXHAUSTED;
          end else begin
            numbered <= !raw;
            if (!raw) begin
              if (!tls13) iv_mem[c] <= iv + 64'd1;
              seq_mem[c] <= seq + 64'd1;
            end
            rekey <= key_warn != 32'd0 && uses >= key_warn;
            if (spent) status <= CPL_KEY_EXHAUSTED;
            else if (!length_ok) status <= CPL_BAD_LENGTH;
            else if (dst_len < len + overhead) status <= CPL_DST_SHORT;
            else begin
              uses_mem[c] <= uses_next;
              rekey <= key_warn != 32'd0 && uses_next >= key_warn;
              state <= ST_START;
            end
          end
        end else if (opcode == OP_CTX_SET) begin
          if (!ctx_in_range) status <= CPL_BAD_CTX;
          else if (!suite_ok) status <= CPL_BAD_SUITE;
          else state <= ST_DRAIN;
        end else if (opcode == OP_CTX_DEL) begin
          if (!ctx_in_range || !live) status <= CPL_BAD_CTX;
          else state <= ST_DRAIN;
        end else if (opcode == OP_RESYNC) begin
          if (!ctx_in_range || !live) begin
            status <= CPL_BAD_CTX;
          end else if (raw || backward) begin
            status <= CPL_BAD_SEQ;
          end else begin
            if (!tls13) iv_mem[c] <= iv + (new_seq - seq);
            seq_mem[c] <= new_seq;
          end
        end else begin
          status <= CPL_BAD_OPCODE;
        end
      end

      ST_START: begin
        if (started) begin
          slot  <= slot + 1'b1;
          state <= ST_IDLE;
        end
      end

      ST_DRAIN: begin
        if (key_valid && key_ready) begin
          installed[c] <= !key_clear;
          open_ctx[c] <= !key_clear && dir[0];
          tls13_ctx[c] <= !key_clear && version == TLS_1_3;
          salt_mem[c] <= key_clear ? 32'd0 : swap4(d[SQE_CTX_SALT_LSB+:SQE_CTX_SALT_W]);
          iv_mem[c] <= key_clear ? 64'd0 : swap8(d[SQE_CTX_IV_LSB+:SQE_CTX_IV_W]);
          seq_mem[c] <= key_clear ? 64'd0 : new_seq;
          raw_ctx[c] <= !key_clear && version == RAW;
          uses_mem[c] <= 32'd0;
          // the key is in the core now; the rest is needed for the completion
          d[SQE_CTX_KEY_LSB+:SQE_CTX_KEY_W] <= {SQE_CTX_KEY_W{1'b0}};
          state <= ST_KEY;
        end
      end

      ST_KEY: begin
        if (key_ready) state <= ST_REPLY;
      end

      ST_REPLY: begin
        if (cpl_ready) state <= ST_WIPE;
      end

      default: begin
        d <= 512'd0;
        state <= ST_IDLE;
      end
    endcase

    if (rst) begin
      state <= ST_IDLE;
      slot <= 0;
      under_way <= 0;
      installed <= {CONTEXTS{1'b0}};
      d <= 512'd0;
    end
  end

  `KTLS_UNUSED({len, ctx, ctx_next, d})

endmodule

`resetall
