// SPDX-License-Identifier: Apache-2.0
//
// Purpose: AES-GCM core for 1, 2, 4 or 8 blocks per cycle. Records with different keys follow each
//   other without a gap.
//
// Interface:
//   key_*  sets or wipes (key_clear) the key of a context; key_ready rises again when that is
//          done. No record may be in flight. After a wipe, and after a reset, no register and no
//          memory of the core holds a bit of the key or of a text.
//   cmd_*  starts a record: context, direction, 96-bit nonce, AAD length and text length in
//          bytes. Either length may be 0.
//   s_*    carries the words of the record (a word is LANES blocks): the AAD, padded to whole
//          words, then the text, padded to whole words. The core ignores the padding and accepts
//          no word before the command.
//   m_*    carries the result: the words of text, the last one zero-padded, then one word with
//          m_tag: the 16-byte tag, zero-padded. After opening, the user compares the tags.
//   s and m may stall in any cycle. The pipeline itself never stalls: a word enters only if the
//   output FIFO has a place for its result (see "credit").
//
// Latency/throughput: a record of a AAD words and n text words takes a + n + 1 cycles, that is
//   16 LANES bytes per cycle inside a record; a change of key costs no cycle. A text word leaves
//   20 cycles after it entered (21 with several lanes), and the tag follows the last word in the
//   next cycle. Setting a key: ktls_keyexp, then ktls_gfpow if there are several lanes.
//
// Data format: byte 0 of a word is the leftmost byte, so constants compare directly with the
//   vectors that NIST SP 800-38D and CAVP print. key[255:248] is byte 0 of the key; a 128-bit key
//   is key[255:128].
// Source: NIST SP 800-38D sections 6 and 7 (96-bit nonces: J0 = nonce || 1).
//
// The pipeline. A record is a sequence of slots, one per cycle:
//
//   slot      AES                       GHASH                      output FIFO
//   AAD       -                         y = (y ^ AAD) * H          -
//   text      E(K, counter), all lanes  y = (y ^ ciphertext) * H   text ^ E(K, counter)
//   length    E(K, J0), lane 0          y = (y ^ lengths) * H      y ^ E(K, J0), the tag
//
//   cycle       0          1 to 16             17           18 (19)    19 (20)     20 (21)
//
//   s_data -> issue -+-> meta FIFO -------+-> x_*: mask -> GHASH: y -> out_fifo -> m_*
//               ^    |                    |   and XOR      and g_out       |
//               |    +-> AES, 16 stages --+                                |
//               |                                                          |
//               +------------------------ credit --------------------------+
//
//   Issue spends a credit for a text or length slot; a word that leaves out_fifo returns it. The
//   figures in parentheses are for several lanes: lanes 1 and up multiply one cycle before lane 0.
//   A GHASH key E(K, 0) uses one more AES slot, with priority over records (h_slot). So does a
//   wipe: a block under the wiped key displaces round keys and state from the stages of AES.
`resetall
`timescale 1ns / 1ps
`default_nettype none
`include "ktls_defs.vh"

module ktls_gcm #(
    // blocks per word, and per cycle
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
    // An illegal parameter stops every tool: see "Conventions" in rtl/README.md.
    if (LANES != 1 && LANES != 2 && LANES != 4 && LANES != 8) begin : g_illegal
      ktls_gcm_LANES_must_be_1_2_4_or_8 illegal_parameter ();
    end
  endgenerate

  localparam DATA_W = 128 * LANES;
  localparam WORD = 16 * LANES;  // bytes
  localparam TAIL_W = $clog2(WORD);  // bits of a byte position in a word

  // kinds of slots
  localparam KIND_AAD = 2'd0;
  localparam KIND_TEXT = 2'd1;
  localparam KIND_LEN = 2'd2;  // the length block enters GHASH and J0 enters AES

  // A word holds its credit for the 21 cycles from issue to output, so 32 places sustain one word
  // per cycle. `meta` holds a slot for the 16 cycles of AES.
  localparam OUT_LOG2 = 5;
  localparam META_LOG2 = 5;
  localparam META_W = TAIL_W + 2 + 1 + 1 + CTX_W;

  // ------------------------------------------------------------------ key engine

  wire             kw_en;
  wire [      3:0] kw_stage;
  wire [CTX_W-1:0] kw_ctx;
  wire [    127:0] kw_data;
  wire             h_req;
  wire             h_done;
  wire             flushing;
  wire             flush_done;
  wire [CTX_W-1:0] cur_ctx;
  wire             cur_k256;
  reg              h_sent;
  reg              k256_mem   [0:(1<<CTX_W)-1];

  ktls_keyexp #(
      .CTX_W(CTX_W)
  ) keyexp (
      .clk(clk),
      .rst(rst),
      .valid(key_valid),
      .ready(key_ready),
      .clear(key_clear),
      .ctx(key_ctx),
      .k256(key_256),
      .key(key),
      .kw_en(kw_en),
      .kw_stage(kw_stage),
      .kw_ctx(kw_ctx),
      .kw_data(kw_data),
      .h_req(h_req),
      .h_done(h_done),
      .flushing(flushing),
      .flush_done(flush_done),
      .cur_ctx(cur_ctx),
      .cur_k256(cur_k256)
  );

  wire take_key = key_valid && key_ready;
  wire wiping = kw_en && kw_stage == 4'd15;

  // The key size is needed per record, the round keys per AES stage: those are in ktls_aes.
  always @(posedge clk) if (take_key) k256_mem[key_ctx] <= key_256;

  // ----------------------------------------------------------------------- issue
  //
  // Count down the words of one record and let one slot per cycle into the pipeline. The next
  // command is accepted in the cycle of the length slot, so records follow without a gap.

  reg               busy;  // a record is being issued
  reg               first;  // no slot of the record has been issued: GHASH starts at 0
  reg  [ CTX_W-1:0] ctx;
  reg               k256;
  reg               decrypt;
  reg  [      95:0] nonce;
  reg  [      31:0] ctr;
  reg  [      12:0] aad_left;  // words not yet issued
  reg  [      28:0] text_left;
  // Each count compared, kept beside it to shorten the path to the slot.
  reg               aad_some;  // aad_left != 0
  reg               aad_last;  // aad_left == 1; undefined at 0
  reg               text_some;
  reg               text_last;
  reg  [TAIL_W-1:0] aad_tail;  // bytes in the last word; 0: it is full
  reg  [TAIL_W-1:0] text_tail;
  reg  [      15:0] aad_len;
  reg  [      31:0] text_len;
  reg  [OUT_LOG2:0] credit;  // places of the output FIFO that no word occupies or will occupy

  // The GHASH key goes first, for one cycle per key; records wait.
  wire              h_slot = (h_req || flushing) && !h_sent;
  wire              in_aad = busy && aad_some;
  wire              in_text = busy && !aad_some && text_some;
  wire              in_len = busy && !aad_some && !text_some;
  wire              room = credit != 0;

  // An AAD slot has no result, so it needs no credit.
  wire              go_aad = in_aad && s_valid && !h_slot;
  wire              go_text = in_text && s_valid && room && !h_slot;
  wire              go_len = in_len && room && !h_slot;
  wire              go_word = go_aad || go_text;
  wire              go = go_word || go_len;

  assign s_ready   = !h_slot && (in_aad || (in_text && room));
  assign cmd_ready = !busy || go_len;

  wire take_cmd = cmd_valid && cmd_ready;
  wire spend = go_text || go_len;
  wire pop = m_valid && m_ready;

  wire [DATA_W-1:0] ones = ~{DATA_W{1'b0}};
  wire [TAIL_W-1:0] whole = {TAIL_W{1'b0}};
  // bytes of this word that count; 0: all
  wire [TAIL_W-1:0] tail = in_aad ? (aad_last ? aad_tail : whole) : (text_last ? text_tail : whole);

  // The masked word and the properties of each slot in AES. Slots leave AES in the order in which
  // they entered, so a FIFO without flags suffices: `slot` below gives the cycle.
  //
  //      meta_wipe         meta_rp     meta_wp
  //   ---|-- overwrite 0s --|-- in AES --|-- free ---
  reg [META_LOG2:0] meta_wp;
  reg [META_LOG2:0] meta_rp;
  reg [META_LOG2:0] meta_wipe;
  wire meta_stale = meta_wipe != meta_rp;
  wire meta_full = meta_wp == {~meta_wipe[META_LOG2], meta_wipe[META_LOG2-1:0]};
  reg [META_W-1:0] meta[0:(1<<META_LOG2)-1];
  reg [DATA_W-1:0] meta_block[0:(1<<META_LOG2)-1];
  `KTLS_TMP(DATA_W, word)

  always @(posedge clk) begin
    // Icarus: `tail` is 0 except in the last word
    if (go_word) begin
      `KTLS_V(word) = s_data;
      if (tail != 0) `KTLS_V(word) = `KTLS_V(word) & ~(ones >> {tail, 3'd0});
      meta_block[meta_wp[META_LOG2-1:0]] <= `KTLS_V(word);
      meta[meta_wp[META_LOG2-1:0]] <= {tail, go_aad ? KIND_AAD : KIND_TEXT, decrypt, first, ctx};
    end else if (go_len) begin
      `KTLS_V(word) = {DATA_W{1'b0}};
      // SP 800-38D section 7.1 step 5: both lengths in bits, 64 bits each
      `KTLS_V(word) [DATA_W-1-:128] = {45'd0, aad_len, 3'd0, 29'd0, text_len, 3'd0};
      meta_block[meta_wp[META_LOG2-1:0]] <= `KTLS_V(word);
      meta[meta_wp[META_LOG2-1:0]] <= {whole, KIND_LEN, decrypt, first, ctx};
    end else if (meta_stale) begin
      meta_block[meta_wipe[META_LOG2-1:0]] <= {DATA_W{1'b0}};
    end
    if (go ? meta_full : meta_stale) meta_wipe <= meta_wipe + 1'b1;
    if (go) begin
      meta_wp <= meta_wp + 1'b1;
      first   <= 1'b0;
      if (go_text) begin
        text_left <= text_left - 29'd1;
        text_some <= !text_last;
        text_last <= text_left == 29'd2;
        ctr <= ctr + LANES[31:0];
      end else if (go_aad) begin
        aad_left <= aad_left - 13'd1;
        aad_some <= !aad_last;
        aad_last <= aad_left == 13'd2;
      end else begin
        busy <= 1'b0;
      end
    end
    if (take_cmd) begin
      busy <= 1'b1;
      first <= 1'b1;
      ctx <= cmd_ctx;
      k256 <= k256_mem[cmd_ctx];
      decrypt <= cmd_decrypt;
      nonce <= cmd_nonce;
      ctr <= 32'd2;  // inc32(J0); J0 itself, with counter 1, encrypts the tag
      aad_len <= cmd_aad_len;
      text_len <= cmd_len;
      // bytes to words, rounded up
      aad_left <= {{TAIL_W - 3{1'b0}}, cmd_aad_len[15:TAIL_W]} + {12'd0, |cmd_aad_len[TAIL_W-1:0]};
      text_left <= {{TAIL_W - 3{1'b0}}, cmd_len[31:TAIL_W]} + {28'd0, |cmd_len[TAIL_W-1:0]};
      aad_some <= cmd_aad_len != 16'd0;
      aad_last <= cmd_aad_len <= WORD[15:0];
      text_some <= cmd_len != 32'd0;
      text_last <= cmd_len <= WORD;
      aad_tail <= cmd_aad_len[TAIL_W-1:0];
      text_tail <= cmd_len[TAIL_W-1:0];
    end

    if (wiping) nonce <= 96'd0;

    if (spend != pop) credit <= spend ? credit - 1'b1 : credit + 1'b1;

    if (h_req) h_sent <= !h_done;
    if (flushing) h_sent <= !flush_done;

    if (rst) begin
      busy  <= 1'b0;
      nonce <= 96'd0;
      `KTLS_V(word) = {DATA_W{1'b0}};
      meta_wp <= 0;
      meta_wipe <= 1'b1 << META_LOG2;
      credit <= 1'b1 << OUT_LOG2;
      h_sent <= 1'b0;
    end
  end

  // ------------------------------------------------------------------------- AES
  //
  // A pipeline of 16 stages. Every stage reads its round key by context number, so neighbouring
  // words may have different keys.

  wire [DATA_W-1:0] ks;  // keystream
  reg  [      15:0] slot;  // bit n: a slot of a record entered n + 1 cycles ago
  reg  [      15:0] h_pipe;  // the same for a GHASH key

  // Lane 0 also encrypts J0 and, for the GHASH key, zero. A lane without a block of text idles,
  // which saves power and simulation time.
  wire [ LANES-1:0] aes_v;
  wire [DATA_W-1:0] aes_blk;
  genvar g;
  generate
    for (g = 0; g < LANES; g = g + 1) begin : g_lane
      localparam [TAIL_W:0] BEFORE = 16 * g;
      wire text_block = go_text && (g == 0 || tail == 0 || {1'b0, tail} > BEFORE);
      wire one_block = g == 0 && (h_slot || go_len);
      wire wipe_block = h_slot && flushing;
      wire [31:0] my_ctr = in_text ? ctr + g : 32'd1;

      // lane 0 is on the left of a word
      assign aes_v[LANES-1-g] = text_block || one_block || wipe_block;
      assign aes_blk[DATA_W-1-128*g-:128] = h_slot ? 128'd0 : {nonce, my_ctr};
    end
  endgenerate

  wire [LANES-1:0] unused_v;

  ktls_aes #(
      .CTX_W(CTX_W),
      .LANES(LANES)
  ) aes (
      .clk(clk),
      .rst(rst),
      .kw_en(kw_en),
      .kw_stage(kw_stage),
      .kw_ctx(kw_ctx),
      .kw_data(kw_data),
      .v_i(aes_v),
      .ctx_i(h_slot ? cur_ctx : ctx),
      .k256_i(h_slot ? cur_k256 : k256),
      .blk_i(aes_blk),
      .v_o(unused_v),
      .blk_o(ks)
  );

  always @(posedge clk) begin
    slot <= {slot[14:0], go};
    if (h_slot || h_pipe != 0) h_pipe <= {h_pipe[14:0], h_slot};
    if (rst) begin
      slot   <= 16'd0;
      h_pipe <= 16'd0;
    end
  end

  // ---------------------------------------------- GHASH keys: H, H^2 .. H^LANES

  // H^n is bits 128 (n - 1) and up, so H is on the right.
  reg [DATA_W-1:0] h_mem[0:(1<<CTX_W)-1];
  wire h_write;
  wire [DATA_W-1:0] h_powers;

  generate
    if (LANES == 1) begin : g_h
      assign h_write  = h_pipe[15] && h_req;
      assign h_powers = ks;
    end else begin : g_h
      ktls_gfpow #(
          .N(LANES)
      ) pow (
          .clk(clk),
          .rst(rst),
          .start(h_pipe[15] && h_req),
          .h(ks[DATA_W-1-:128]),
          .done(h_write),
          .powers(h_powers)
      );
    end
  endgenerate

  assign h_done = h_write;

  // Stage 15 is the wipe of a context: its powers go with its round keys.
  always @(posedge clk) begin
    if (wiping) h_mem[kw_ctx] <= {DATA_W{1'b0}};
    else if (h_write) h_mem[cur_ctx] <= h_powers;
  end

  // --------------------------------------------------- keystream and GHASH input
  //
  // Cycle 16 of a slot: the word meets its keystream, and every lane gets its factor for GHASH.
  //
  // A word of k blocks b1 .. bk takes the hash from y to (y ^ b1) H^k ^ b2 H^(k-1) ^ .. ^ bk H.
  // So the lane of b1 multiplies by H^k and the next one by H^(k-1). The lanes after the last
  // block hold zeros, so their factor does not matter.

  reg [DATA_W-1:0] powers;  // H to H^LANES of the current record
  reg [DATA_W-1:0] h;  // the factor of each lane
  `KTLS_TMP(DATA_W, x_word)
  `KTLS_TMP(DATA_W, x_text)
  reg     [TAIL_W-1:0] x_tail;
  reg     [       1:0] x_kind_next;
  reg                  x_decrypt;
  reg                  x_first_next;
  reg     [ CTX_W-1:0] x_ctx;
  reg                  x_v;
  reg     [       1:0] x_kind;
  reg                  x_first;
  reg     [DATA_W-1:0] x_ghash;
  reg     [DATA_W-1:0] x_out;
  reg     [TAIL_W-1:0] last_at;  // position of the last byte of the word
  integer              x_blocks;  // blocks in the word, minus one
  integer              i;

  always @(posedge clk) begin
    x_v <= slot[15] && !rst;
    if (slot[15]) begin
      {x_tail, x_kind_next, x_decrypt, x_first_next, x_ctx} = meta[meta_rp[META_LOG2-1:0]];
      `KTLS_V(x_word) = meta_block[meta_rp[META_LOG2-1:0]];
      meta_rp <= meta_rp + 1'b1;
      x_kind  <= x_kind_next;
      x_first <= x_first_next;
      if (LANES == 1) begin
        if (x_first_next) h <= h_mem[x_ctx];
      end else begin
        if (x_first_next) powers = h_mem[x_ctx];
        // A length slot is one block. A full word has tail 0, so its last byte is 16 LANES - 1.
        last_at  = x_kind_next == KIND_LEN ? {TAIL_W{1'b0}} : x_tail - 1'b1;
        x_blocks = {{32 - TAIL_W{1'b0}}, last_at} >> 4;
        for (i = 0; i < LANES; i = i + 1)
        if (i <= x_blocks) h[DATA_W-1-128*i-:128] <= powers[128*(x_blocks-i)+:128];
      end
      if (x_kind_next == KIND_TEXT) begin
        // Mask the keystream, not the sum: the padding of the word is zero already.
        `KTLS_V(x_text) = ks;
        if (x_tail != 0) `KTLS_V(x_text) = `KTLS_V(x_text) & ~(ones >> {x_tail, 3'd0});
        `KTLS_V(x_text) = `KTLS_XOR(`KTLS_V(x_word), `KTLS_V(x_text));
        x_out   <= `KTLS_V(x_text);
        // GHASH takes the ciphertext, which is the input when opening
        x_ghash <= x_decrypt ? `KTLS_V(x_word) : `KTLS_V(x_text);
      end else begin
        // AAD: x_out is not used. Length: x_out is E(K, J0), which becomes the tag with y.
        x_ghash <= `KTLS_V(x_word);
        `KTLS_V(x_text) = {DATA_W{1'b0}};
        `KTLS_V(x_text) [DATA_W-1-:128] = ks[DATA_W-1-:128];
        x_out <= `KTLS_V(x_text);
      end
    end
    if (wiping) begin
      h <= {DATA_W{1'b0}};
      powers = {DATA_W{1'b0}};
    end
    if (rst) begin
      meta_rp <= 0;
      x_out   <= {DATA_W{1'b0}};
      `KTLS_V(x_word) = {DATA_W{1'b0}};
      `KTLS_V(x_text) = {DATA_W{1'b0}};
    end
  end

  // ----------------------------------------------------------------------- GHASH
  //
  // y is the hash one cycle after the last word, with several lanes two cycles.

  wire y_v;
  wire [1:0] y_kind;
  wire [DATA_W-1:0] y_out;
  wire [127:0] y;
  reg g_v;
  reg g_tag;
  reg [DATA_W-1:0] g_out;

  ktls_ghash #(
      .LANES(LANES)
  ) ghash (
      .clk(clk),
      .v_i(x_v),
      .first_i(x_first),
      .last_i(x_kind == KIND_LEN),
      .h_i(h),
      .x_i(x_ghash),
      .y_o(y)
  );

  generate
    if (LANES == 1) begin : g_step
      assign y_v = x_v;
      assign y_kind = x_kind;
      assign y_out = x_out;
    end else begin : g_step
      reg v;
      reg [1:0] kind;
      reg [DATA_W-1:0] out;

      always @(posedge clk) begin
        v <= x_v && !rst;
        if (x_v) begin
          kind <= x_kind;
          out  <= x_out;
        end
        if (rst) out <= {DATA_W{1'b0}};
      end

      assign y_v = v;
      assign y_kind = kind;
      assign y_out = out;
    end
  endgenerate

  // in step with y
  always @(posedge clk) begin
    if (y_v && y_kind != KIND_AAD) begin
      g_v   <= 1'b1;
      g_tag <= y_kind == KIND_LEN;
      g_out <= y_out;
    end else if (g_v) begin
      g_v   <= 1'b0;
      g_tag <= 1'b0;
      g_out <= {DATA_W{1'b0}};  // out_fifo overwrites with it: see CLEAN
    end
    if (rst) begin
      g_v   <= 1'b0;
      g_tag <= 1'b0;
      g_out <= {DATA_W{1'b0}};
    end
  end

  // ---------------------------------------------------------------------- output
  //
  // The FIFO is never full when g_v is high, because the slot spent a credit; its s_ready is not
  // needed.

  reg  [  DATA_W:0] piece;
  wire              unused_ready;
  wire [OUT_LOG2:0] out_count;

  // Icarus: the XOR of the tag is evaluated for tags only
  always @* begin
    piece = {g_tag, g_out};
    if (g_tag) piece[DATA_W-1-:128] = `KTLS_XOR(y, g_out[DATA_W-1-:128]);
  end

  ktls_fifo #(
      .WIDTH (DATA_W + 1),
      .LOG2  (OUT_LOG2),
      .CREDIT(1),
      .WIPE  (1),
      .CLEAN (1)
  ) out_fifo (
      .clk(clk),
      .rst(rst),
      .s_valid(g_v),
      .s_ready(unused_ready),
      .s_data(piece),
      .m_valid(m_valid),
      .m_ready(m_ready),
      .m_data({m_tag, m_data}),
      .count(out_count)
  );

  // A wipe ends when its block has passed AES and all queues are overwritten.
  reg flushed;

  assign flush_done = flushed && !meta_stale && out_count == 0;

  always @(posedge clk) flushed <= flushing && (flushed || h_pipe[15]);

endmodule

`resetall
