// SPDX-License-Identifier: Apache-2.0
//
// Purpose: execute descriptors: check them, manage the contexts, start jobs. A job is a SEAL or
//   OPEN descriptor that has passed all checks, together with the state of its context.
// Interface: d_* takes descriptors (ktls_sq). key_* passes keys to the core. job_* starts a job
//   in all data units at once (layout: ktls_job.vh). cpl_* announces completions in the order
//   of the descriptors (layout: ktls_cpl.vh). Any consumer may stall. job_* is offered until it
//   is accepted. cpl_valid waits for cpl_ready when a job starts, because both leave together.
//   CTX_SET and CTX_DEL wait until no job is under way.
//   A SEAL that names an installed context consumes one record number, whether or not it
//   succeeds. So the driver knows every number in advance, and no number serves two records. A
//   number that would wrap is refused. OPEN follows the same rules. A context is either for
//   SEAL or for OPEN. The explicit nonce of TLS 1.2 advances with the number. The IV of TLS 1.3
//   is constant. RESYNC sets the number. On a transmit context the number only moves forward,
//   so no nonce is used twice.
//   Every descriptor but CTX_SET must repeat the generation that CTX_SET gave its context.
//   A context of plain AES-GCM (raw) has no number: each descriptor carries its nonce.
// Latency/throughput: 3 cycles per SEAL or OPEN.
// Data format: salt, iv, rec_seq and key change from memory order (byte 0 in [7:0]) to printed
//   order (byte 0 on the left).
// Source: RFC 5288 section 3 (TLS 1.2), RFC 8446 section 5.3 (TLS 1.3).
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_exec #(
    // contexts
    parameter CONTEXTS = 64,
    // width of a context number
    parameter CTX_W = 6,
    // log2 of the jobs that may be under way
    parameter SLOT_W = 3,
    // width of a ring number
    parameter RING_W = 1,
    // value of the register SUITES
    parameter [9:0] SUITES = 10'h3ff,
    // width of a job: JOB_BITS of ktls_job.vh
    parameter JOB_W = 441,
    // width of an announced completion: CPL_BITS of ktls_cpl.vh
    parameter CPL_W = 221
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
    output reg               key_256,
    output wire [     255:0] key,
    // jobs
    output wire              job_valid,
    input  wire              job_ready,
    output wire [ JOB_W-1:0] job_data,
    // completions
    output wire              cpl_valid,
    input  wire              cpl_ready,
    output wire [ CPL_W-1:0] cpl_data,
    // free-running cycle count
    input  wire [      23:0] now,
    // usage limits of a key, 0: none
    input  wire [      31:0] key_warn,
    input  wire [      31:0] key_limit,
    // a job has finished
    input  wire              retire,
    // a context is being deleted: clear what depends on it; `clean` when the data path has done so
    output wire              wipe,
    input  wire              clean
);

  `include "ktls_nic.vh"
  `include "ktls_job.vh"
  `include "ktls_cpl.vh"

  localparam MAX_PLAINTEXT = 32'd16384;
  localparam MAX_LIST = 16'd1024;
  localparam TAG = 16'd16;
  localparam OVERHEAD_1_2 = 16'd29;  // header, explicit nonce, tag
  localparam OVERHEAD_1_3 = 16'd22;  // header, inner type, tag
  localparam RAW = 16'd0;
  localparam TLS_1_2 = 16'h0303;
  localparam TLS_1_3 = 16'h0304;
  localparam CIPHER_AES_GCM_128 = 16'd51;
  localparam CIPHER_AES_GCM_256 = 16'd52;

  // reset             INIT -> IDLE
  // SEAL, OPEN        IDLE -> CHECK -> START -> IDLE
  // CTX_SET, CTX_DEL  IDLE -> CHECK -> DRAIN -> KEY -> REPLY -> WIPE -> IDLE
  // RESYNC, errors    IDLE -> CHECK -> REPLY -> WIPE -> IDLE
  localparam ST_IDLE = 3'd0;
  localparam ST_CHECK = 3'd1;
  localparam ST_START = 3'd2;  // hand out the job together with its completion
  localparam ST_DRAIN = 3'd3;  // wait until no job is under way, then pass the key
  localparam ST_KEY = 3'd4;  // wait for the key engine
  localparam ST_REPLY = 3'd5;  // complete without a job
  localparam ST_WIPE = 3'd6;  // clear the descriptor, which may have held a key
  localparam ST_INIT = 3'd7;  // clear salts and IVs, one context per cycle

  generate
    if ((1 << CTX_W) != CONTEXTS) begin : g_illegal_contexts
      ktls_exec_CONTEXTS_must_be_2_to_the_CTX_W illegal_parameter ();
    end
    if (JOB_W != JOB_BITS) begin : g_illegal_job
      ktls_exec_JOB_W_must_be_JOB_BITS illegal_parameter ();
    end
    if (CPL_W != CPL_BITS) begin : g_illegal_cpl
      ktls_exec_CPL_W_must_be_CPL_BITS illegal_parameter ();
    end
  endgenerate

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

  // ---------------------------------------------------- the descriptor and its context

  reg [511:0] descriptor;
  reg bus_err;  // the descriptor was read with an error
  reg [RING_W-1:0] ring;
  reg [31:0] index;
  reg [23:0] start;
  reg [7:0] status;
  reg numbered;
  reg rekey;

  // All contexts. Their keys are in the core. The memories have no reset: nothing reads an
  // entry before `installed` is set, and CTX_DEL overwrites it.
  reg [CONTEXTS-1:0] installed;
  reg [CONTEXTS-1:0] tls13_ctx;
  reg [CONTEXTS-1:0] open_ctx;
  reg [CONTEXTS-1:0] raw_ctx;
  reg [31:0] salt_mem[0:CONTEXTS-1];
  reg [63:0] iv_mem[0:CONTEXTS-1];
  reg [63:0] seq_mem[0:CONTEXTS-1];
  reg [31:0] uses_mem[0:CONTEXTS-1];
  reg [15:0] generation_mem[0:CONTEXTS-1];

  // the context of this descriptor, as it was when the descriptor arrived
  reg ctx_installed;
  reg tls13;
  reg receive;
  reg raw;
  reg [31:0] salt;
  reg [63:0] iv;
  reg [63:0] seq;
  reg exhausted;  // the number is the last one
  reg [31:0] uses;

  wire [7:0] opcode = descriptor[SQE_RECORD_OPCODE_LSB+:SQE_RECORD_OPCODE_W];
  wire [15:0] ctx_field = descriptor[SQE_RECORD_CTX_LSB+:SQE_RECORD_CTX_W];
  wire [CTX_W-1:0] ctx = ctx_field[CTX_W-1:0];
  wire [31:0] len = descriptor[SQE_RECORD_LEN_LSB+:SQE_RECORD_LEN_W];
  wire [15:0] version = descriptor[SQE_CTX_VERSION_LSB+:SQE_CTX_VERSION_W];
  wire [7:0] dir = descriptor[SQE_CTX_DIR_LSB+:SQE_CTX_DIR_W];
  wire [31:0] aad_len = descriptor[SQE_RECORD_AAD_LEN_LSB+:SQE_RECORD_AAD_LEN_W];
  wire [7:0] tag_len = descriptor[SQE_RECORD_TAG_LEN_LSB+:SQE_RECORD_TAG_LEN_W];
  wire [7:0] rtype = descriptor[SQE_RECORD_RTYPE_LSB+:SQE_RECORD_RTYPE_W];

  // -------------------------------------------------------------------------- checks
  //
  // What depends on the descriptor alone is decided in the cycle in which it arrives, and contexts
  // are looked up in that cycle. So the checks see registers, and their paths are short.

  localparam CAN_OPEN = |SUITES[SUITES_RX_TLS12_GCM128_LSB+:4];

  wire [15:0] d_ctx = d_data[SQE_RECORD_CTX_LSB+:SQE_RECORD_CTX_W];
  wire [CTX_W-1:0] lookup = d_ctx[CTX_W-1:0];

  reg is_seal;
  reg opening;  // OPEN is BAD_OPCODE in a device without any RX suite
  reg is_set;
  reg is_del;
  reg is_resync;
  reg ctx_in_range;
  reg suite_ok;
  reg lists_ok;
  reg tag_ok;
  reg aad_ok;
  reg len_ok;  // the text fits into a record
  reg inner_ok;  // the text and one byte of type fit
  reg padded_ok;  // the text and the padding fit
  reg [32:0] spare;  // room in the destination beyond the text; bit 32: it is negative

  // A descriptor repeats the generation of its context. It may have been queued for an earlier
  // connection with the same context number. The two structures hold the upper half at different
  // places.
  wire [7:0] gen = descriptor[SQE_RECORD_GEN_LSB+:SQE_RECORD_GEN_W];
  wire [7:0] epoch = descriptor[SQE_CTX_EPOCH_LSB+:SQE_CTX_EPOCH_W];
  reg record_current;  // the context has the generation that a record descriptor names
  reg current;  // the same for all other descriptors
  wire known_to_record = ctx_in_range && ctx_installed && record_current;
  wire known = ctx_in_range && ctx_installed && current;
  wire [63:0] src_list = descriptor[SQE_RECORD_SRC_SG_LSB+:SQE_RECORD_SRC_SG_W];
  wire [63:0] dst_list = descriptor[SQE_RECORD_DST_SG_LSB+:SQE_RECORD_DST_SG_W];
  wire [15:0] src_cnt = descriptor[SQE_RECORD_SRC_CNT_LSB+:SQE_RECORD_SRC_CNT_W];
  wire [15:0] dst_cnt = descriptor[SQE_RECORD_DST_CNT_LSB+:SQE_RECORD_DST_CNT_W];
  wire src_direct = descriptor[SQE_RECORD_SRC_DIRECT_LSB];
  wire dst_direct = descriptor[SQE_RECORD_DST_DIRECT_LSB];

  wire [15:0] pad = tls13 && !opening ? descriptor[SQE_RECORD_PAD_LSB+:SQE_RECORD_PAD_W] : 16'd0;
  wire [15:0] tag = raw ? {8'd0, tag_len} : TAG;
  wire [15:0] tls_overhead = tls13 ? OVERHEAD_1_3 + pad : OVERHEAD_1_2;
  wire [31:0] overhead = opening ? 32'd0 : {16'd0, raw ? tag : tls_overhead};
  // The text of an opened TLS 1.3 record includes the inner type.
  wire text_ok = !tls13 ? len_ok : opening ? inner_ok : padded_ok;
  wire length_ok = text_ok && (!raw || (tag_ok && aad_ok));
  wire dst_short = spare[32] || spare[31:0] < overhead;

  // temporaries of the cycle in which a descriptor arrives
  reg [7:0] d_opcode;
  reg [31:0] d_len;
  reg [15:0] d_pad;
  reg [7:0] d_tag_len;
  reg [15:0] d_version;
  reg [15:0] d_cipher;
  reg [7:0] d_dir;
  reg d_256;
  reg [3:0] d_suite;
  reg [15:0] d_current;
  reg [63:0] d_seq;
  wire [63:0] new_seq = swap8(descriptor[SQE_CTX_REC_SEQ_LSB+:SQE_CTX_REC_SEQ_W]);
  wire backward = !receive && new_seq < seq;
  wire [31:0] uses_next = uses + 32'd1;
  wire spent = key_limit != 32'd0 && uses >= key_limit;

  // ------------------------------------------------------------------------ jobs out

  reg [SLOT_W-1:0] slot;
  reg [SLOT_W:0] under_way;

  // The source of a plain AES-GCM job is AAD, text and, for OPEN, the tag. The AAD is padded
  // to blocks of 16 bytes.
  wire [16:0] aad_blocks = raw ? ({2'd0, aad_len[14:0]} + 17'd15) & ~17'd15 : 17'd0;
  wire [16:0] dst_len = len[16:0] + overhead[16:0];
  wire [63:0] explicit_nonce = swap8(
      descriptor[SQE_RECORD_EXPLICIT_NONCE_LSB+:SQE_RECORD_EXPLICIT_NONCE_W]
  );

  // A job and its completion leave in the same cycle.
  assign job_valid = state == ST_START && cpl_ready && !under_way[SLOT_W];
  assign job_data[JOB_SLOT_LSB+:SLOT_W] = slot;
  assign job_data[JOB_CTX_LSB+:CTX_W] = ctx;
  assign job_data[JOB_RTYPE_LSB+:JOB_RTYPE_W] = rtype;
  assign job_data[JOB_OPEN_LSB] = opening;
  assign job_data[JOB_TLS13_LSB] = tls13;
  assign job_data[JOB_RAW_LSB] = raw;
  assign job_data[JOB_LEN_LSB+:JOB_LEN_W] = len[14:0];
  assign job_data[JOB_INNER_LSB+:JOB_INNER_W] = len[14:0] + pad[14:0] + {14'd0, tls13 && !opening};
  assign job_data[JOB_AAD_LEN_LSB+:JOB_AAD_LEN_W] = aad_len[14:0];
  assign job_data[JOB_TAG_LEN_LSB+:JOB_TAG_LEN_W] = tag[4:0];
  assign job_data[JOB_SALT_LSB+:JOB_SALT_W] = raw ? swap4(
      descriptor[SQE_RECORD_NONCE_LSB+:SQE_RECORD_NONCE_W]
  ) : salt;
  assign job_data[JOB_IV_LSB+:JOB_IV_W] = raw || (opening && !tls13) ? explicit_nonce : iv;
  assign job_data[JOB_SEQ_LSB+:JOB_SEQ_W] = seq;
  assign job_data[JOB_CUT_LSB+:JOB_CUT_W] = aad_blocks[14:0];
  assign job_data[JOB_SRC_LEN_LSB+:JOB_SRC_LEN_W] =
      aad_blocks + len[16:0] + (opening ? {1'b0, tag} : 17'd0);
  assign job_data[JOB_DST_LEN_LSB+:JOB_DST_LEN_W] = dst_len;
  assign job_data[JOB_SRC_LIST_LSB+:JOB_LIST_W] = {src_direct, src_list, src_cnt};
  assign job_data[JOB_DST_LIST_LSB+:JOB_LIST_W] = {dst_direct, dst_list, dst_cnt};

  wire started = job_valid && job_ready;

  assign cpl_valid = started || state == ST_REPLY;
  assign cpl_data[CPL_RING_LSB+:RING_W] = ring;
  assign cpl_data[CPL_OPCODE_LSB+:CPL_OPCODE_W] = opcode;
  assign cpl_data[CPL_COOKIE_LSB+:CPL_COOKIE_W] =
      descriptor[SQE_RECORD_COOKIE_LSB+:SQE_RECORD_COOKIE_W];
  assign cpl_data[CPL_STATUS_LSB+:CPL_STATUS_W] = status;
  assign cpl_data[CPL_CTX_LSB+:CPL_CTX_W] = ctx_field;
  assign cpl_data[CPL_GEN_LSB+:CPL_GEN_W] = gen;
  assign cpl_data[CPL_RTYPE_LSB+:CPL_RTYPE_W] = is_seal ? rtype : 8'd0;
  assign cpl_data[CPL_REKEY_LSB] = rekey;
  assign cpl_data[CPL_NUMBERED_LSB] = numbered;
  assign cpl_data[CPL_SEQ_LSB+:CPL_SEQ_W] = numbered ? seq : 64'd0;
  assign cpl_data[CPL_INDEX_LSB+:CPL_INDEX_W] = index;
  assign cpl_data[CPL_HAS_JOB_LSB] = state == ST_START;
  assign cpl_data[CPL_SLOT_LSB+:SLOT_W] = slot;
  assign cpl_data[CPL_LEN_LSB+:CPL_LEN_W] = len[14:0];
  assign cpl_data[CPL_OUT_LEN_LSB+:CPL_OUT_LEN_W] = dst_len[14:0];
  assign cpl_data[CPL_START_LSB+:CPL_START_W] = start;

  // ---------------------------------------------------------------------------- keys

  // A key must not change while a record of its context is in the core.
  assign key_valid = state == ST_DRAIN && under_way == 0;
  assign key_clear = is_del;
  assign wipe = state == ST_KEY && key_clear;
  assign key_ctx = ctx;

  genvar g;
  generate
    for (g = 0; g < 4; g = g + 1) begin : g_key
      assign key[64*g+:64] = swap8(descriptor[SQE_CTX_KEY_LSB+64*(3-g)+:64]);
    end
  endgenerate

  // ------------------------------------------------------------------- state machine

  assign d_ready = state == ST_IDLE && enable;
  assign idle = state == ST_IDLE && under_way == 0;

  always @(posedge clk) begin
    if (started != retire) begin
      `KTLS_ASSERT(started || under_way != 0, "a job finishes although none is under way")
      under_way <= started ? under_way + 1'b1 : under_way - 1'b1;
    end

    case (state)
      ST_IDLE: begin
        if (d_valid && enable) begin
          descriptor <= d_data;
          ring <= d_ring;
          index <= d_index;
          bus_err <= d_err;
          d_opcode = d_data[SQE_RECORD_OPCODE_LSB+:SQE_RECORD_OPCODE_W];
          is_seal <= d_opcode == OP_SEAL;
          opening <= CAN_OPEN && d_opcode == OP_OPEN;
          is_set <= d_opcode == OP_CTX_SET;
          is_del <= d_opcode == OP_CTX_DEL;
          is_resync <= d_opcode == OP_RESYNC;
          ctx_in_range <= {16'd0, d_ctx} < CONTEXTS;
          lists_ok <= (d_data[SQE_RECORD_SRC_DIRECT_LSB] ||
                       (d_data[SQE_RECORD_SRC_SG_LSB+:4] == 4'd0 &&
                        d_data[SQE_RECORD_SRC_CNT_LSB+:SQE_RECORD_SRC_CNT_W] <= MAX_LIST)) &&
              (d_data[SQE_RECORD_DST_DIRECT_LSB] ||
               (d_data[SQE_RECORD_DST_SG_LSB+:4] == 4'd0 &&
                d_data[SQE_RECORD_DST_CNT_LSB+:SQE_RECORD_DST_CNT_W] <= MAX_LIST));
          // the tag lengths of SP 800-38D section 5.2.1.2
          d_tag_len = d_data[SQE_RECORD_TAG_LEN_LSB+:SQE_RECORD_TAG_LEN_W];
          tag_ok <= d_tag_len == 8'd4 || d_tag_len == 8'd8 ||
              (d_tag_len >= 8'd12 && d_tag_len <= 8'd16);
          aad_ok <= d_data[SQE_RECORD_AAD_LEN_LSB+:SQE_RECORD_AAD_LEN_W] <= MAX_PLAINTEXT;
          d_len = d_data[SQE_RECORD_LEN_LSB+:SQE_RECORD_LEN_W];
          d_pad = d_data[SQE_RECORD_PAD_LSB+:SQE_RECORD_PAD_W];
          len_ok <= d_len <= MAX_PLAINTEXT;
          inner_ok <= d_len <= MAX_PLAINTEXT + 32'd1;
          // the first comparison bounds the length, so 17 bits are enough for the sum
          padded_ok <= d_len <= MAX_PLAINTEXT &&
              {1'b0, d_len[15:0]} + {1'b0, d_pad} <= MAX_PLAINTEXT[16:0];
          spare <= {1'b0, d_data[SQE_RECORD_DST_LEN_LSB+:SQE_RECORD_DST_LEN_W]} - {1'b0, d_len};
          d_version = d_data[SQE_CTX_VERSION_LSB+:SQE_CTX_VERSION_W];
          d_cipher = d_data[SQE_CTX_CIPHER_LSB+:SQE_CTX_CIPHER_W];
          d_dir = d_data[SQE_CTX_DIR_LSB+:SQE_CTX_DIR_W];
          d_256 = d_cipher == CIPHER_AES_GCM_256;
          key_256 <= d_256;
          // The bit of SUITES that a context needs. Plain AES-GCM needs the TLS 1.2 suite of its
          // direction and key size, too.
          d_suite = {1'b0, d_dir[0], d_version == TLS_1_3, d_256};
          suite_ok <= (d_version == TLS_1_2 || d_version == TLS_1_3 || d_version == RAW) &&
              d_dir <= 8'd1 && (d_cipher == CIPHER_AES_GCM_128 || d_256) && SUITES[d_suite] &&
              (d_version != RAW || SUITES[{3'b100, d_256}]);
          d_current = generation_mem[lookup];
          record_current <= d_current == {
              d_data[SQE_RECORD_EPOCH_LSB+:SQE_RECORD_EPOCH_W],
              d_data[SQE_RECORD_GEN_LSB+:SQE_RECORD_GEN_W]
          };
          current <= d_current == {
              d_data[SQE_CTX_EPOCH_LSB+:SQE_CTX_EPOCH_W],
              d_data[SQE_RECORD_GEN_LSB+:SQE_RECORD_GEN_W]
          };
          start <= now;
          numbered <= 1'b0;
          rekey <= 1'b0;
          status <= CPL_OK;
          ctx_installed <= installed[lookup];
          tls13 <= tls13_ctx[lookup];
          receive <= open_ctx[lookup];
          raw <= raw_ctx[lookup];
          uses <= uses_mem[lookup];
          salt <= salt_mem[lookup];
          iv <= iv_mem[lookup];
          d_seq = seq_mem[lookup];
          seq <= d_seq;
          exhausted <= &d_seq;
          state <= ST_CHECK;
        end
      end

      ST_CHECK: begin
        state <= ST_REPLY;
        if (bus_err) begin
          status <= CPL_SQ_BUS_ERROR;
          // No field is valid, not even the cookie.
          descriptor <= 512'd0;
        end else if (is_seal || opening) begin
          if (!known_to_record || receive != opening) begin
            status <= CPL_BAD_CTX;
          end else if (exhausted && !raw) begin
            status <= CPL_SEQ_EXHAUSTED;
          end else begin
            // The number is consumed before the remaining checks, so that a record which fails
            // them does not shift the numbers of its successors.
            numbered <= !raw;
            if (!raw) begin
              if (!tls13) iv_mem[ctx] <= iv + 64'd1;
              seq_mem[ctx] <= seq + 64'd1;
            end
            rekey <= key_warn != 32'd0 && uses >= key_warn;
            if (spent) status <= CPL_KEY_EXHAUSTED;
            else if (!length_ok) status <= CPL_BAD_LENGTH;
            else if (!lists_ok) status <= CPL_BAD_LIST;
            else if (dst_short) status <= CPL_DST_SHORT;
            else begin
              uses_mem[ctx] <= uses_next;
              rekey <= key_warn != 32'd0 && uses_next >= key_warn;
              state <= ST_START;
            end
          end
        end else if (is_set) begin
          if (!ctx_in_range) status <= CPL_BAD_CTX;
          else if (!suite_ok) status <= CPL_BAD_SUITE;
          else state <= ST_DRAIN;
        end else if (is_del) begin
          if (!known) status <= CPL_BAD_CTX;
          else state <= ST_DRAIN;
        end else if (is_resync) begin
          if (!known) begin
            status <= CPL_BAD_CTX;
          end else if (raw || backward) begin
            status <= CPL_BAD_SEQ;
          end else begin
            // The explicit nonce keeps its distance to the number.
            if (!tls13) iv_mem[ctx] <= iv + (new_seq - seq);
            seq_mem[ctx] <= new_seq;
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
          installed[ctx] <= !key_clear;
          open_ctx[ctx] <= !key_clear && dir[0];
          tls13_ctx[ctx] <= !key_clear && version == TLS_1_3;
          salt_mem[ctx] <= key_clear ? 32'd0 : swap4(descriptor[SQE_CTX_SALT_LSB+:SQE_CTX_SALT_W]);
          iv_mem[ctx] <= key_clear ? 64'd0 : swap8(descriptor[SQE_CTX_IV_LSB+:SQE_CTX_IV_W]);
          seq_mem[ctx] <= key_clear ? 64'd0 : new_seq;
          raw_ctx[ctx] <= !key_clear && version == RAW;
          uses_mem[ctx] <= 32'd0;
          generation_mem[ctx] <= {epoch, gen};
          // The core has the key now. The completion needs the other fields.
          descriptor[SQE_CTX_KEY_LSB+:SQE_CTX_KEY_W] <= {SQE_CTX_KEY_W{1'b0}};
          state <= ST_KEY;
        end
      end

      ST_KEY: begin
        if (key_ready && (!key_clear || clean)) state <= ST_REPLY;
      end

      ST_REPLY: begin
        if (cpl_ready) state <= ST_WIPE;
      end

      ST_WIPE: begin
        descriptor <= 512'd0;
        salt <= 32'd0;
        iv <= 64'd0;
        state <= ST_IDLE;
      end

      default: begin  // ST_INIT
        // The descriptor is empty, so its field `ctx` can count.
        salt_mem[ctx] <= 32'd0;
        iv_mem[ctx] <= 64'd0;
        descriptor[SQE_RECORD_CTX_LSB+:CTX_W] <= ctx + 1'b1;
        if (&ctx) state <= ST_IDLE;
      end
    endcase

    if (rst) begin
      state <= ST_INIT;
      slot <= 0;
      under_way <= 0;
      installed <= {CONTEXTS{1'b0}};
      descriptor <= 512'd0;
      salt <= 32'd0;
      iv <= 64'd0;
    end
  end

  `KTLS_STABLE(g_job_stable, job_valid, job_ready, JOB_W, job_data)

  `KTLS_UNUSED({len, ctx_field, d_ctx, descriptor, dir, aad_len})

endmodule

`resetall
