// SPDX-License-Identifier: Apache-2.0
//
// Purpose: an empty GCM core with every port and parameter of ktls_gcm, to be filled in. The
//   comments are the rules that the device and the block tests rely on. As it stands the
//   module does nothing: key_ready stays low, so the device never becomes ready.
// Interface: three valid/ready ports in and one out. A transfer happens at a rising edge of clk
//   at which valid and ready are both high.
//   * The device never waits for ready before it raises valid, and it keeps valid and the
//     payload unchanged until the transfer. The core must do the same on m_*.
//   * The core may wait for valid before it raises ready, it may lower ready at any time
//     without a transfer, and it may derive ready from valid combinationally. m_valid must
//     not wait for m_ready.
//   * Any ready may stay low and any valid may pause for any number of cycles.
// Latency/throughput: free. No limit applies to a single record in hardware; the test bench
//   gives up after 500,000 cycles without an interrupt, and the driver after 10,000 reads of
//   STATUS without `ready` after a reset.
// Data format: byte 0 is on the left, in the printed order of the NIST vectors: byte 0 of a
//   word is [128*LANES-1-:8], byte 0 of the key is key[255:248].
// Source: NIST SP 800-38D sections 7.1 and 7.2 with 96-bit nonces: J0 = nonce || 1, and the
//   counter of the first block of text is 2.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_gcm #(
    // Blocks of 16 bytes in a word: 1, 2, 4 or 8. A core that supports fewer stops the
    // elaboration for the others and says so in capabilities.toml (lanes).
    parameter LANES = 1,
    // Width of a context number: there are 2^CTX_W contexts, and each has a key of its own.
    parameter CTX_W = 6
) (
    // One clock for everything; every signal changes after a rising edge.
    input wire clk,
    // Reset: synchronous, active high, at least two cycles. It may come in the middle of a
    // record, which is then gone: no word of it may come out afterwards. Registers without a
    // reset start as X in Icarus.
    input wire rst,

    // Keys. A transfer installs `key` for context key_ctx or, with key_clear, wipes that
    // context. No record is under way in the whole device at that time.
    input  wire             key_valid,
    // After a reset: low from the first cycle of the reset until no key from before it is
    // left in any context or register. After a transfer: low from the next cycle until the
    // key can be used or is gone. The device sends no command in between.
    output wire             key_ready,
    // 1: wipe the context. From then on nothing that the core puts out may depend on a bit of
    // the old key. The core may keep zeros as the key, as round keys, or as H; a record of a
    // wiped context must still end with all its words, and their content must not depend on
    // the key that was wiped. The device sends no such record; the block tests do. `key` is
    // undefined.
    input  wire             key_clear,
    input  wire [CTX_W-1:0] key_ctx,
    // 0: AES-128, and the key is key[255:128]; 1: AES-256.
    input  wire             key_256,
    input  wire [    255:0] key,

    // Records. A transfer announces one record; its words follow on s_*. Several commands may
    // be accepted before their words, records end in the order of their commands.
    input  wire             cmd_valid,
    output wire             cmd_ready,
    // A context with an installed key.
    input  wire [CTX_W-1:0] cmd_ctx,
    // 0: seal (plaintext in, ciphertext out), 1: open (ciphertext in, plaintext out).
    input  wire             cmd_decrypt,
    input  wire [     95:0] cmd_nonce,
    // Bytes of AAD, 0 to 16,384.
    input  wire [     15:0] cmd_aad_len,
    // Bytes of text, 0 to 16,385 (a TLS 1.3 record of 16,384 bytes and its type). AAD and text
    // may both be empty: the record is then its tag only.
    input  wire [     31:0] cmd_len,

    // Words in: the AAD, padded to a word, then the text, padded to a word. The padding has
    // any value and must be ignored. Empty AAD and empty text have no word at all. A word may
    // wait here before its command: take no word before its command.
    input  wire                 s_valid,
    output wire                 s_ready,
    input  wire [128*LANES-1:0] s_data,

    // Words out: the words of text, then one word with m_tag. AAD has no word here. The bytes
    // after the end of the text in its last word are zero.
    output wire                 m_valid,
    input  wire                 m_ready,
    output wire [128*LANES-1:0] m_data,
    // 1: the word is the tag: all 16 bytes in the first block, zeros in the others. Opening
    // computes the tag as sealing does; the device compares it and holds the text back until
    // then, so a core may put out text at once.
    output wire                 m_tag
);

  assign key_ready = 1'b0;
  assign cmd_ready = 1'b0;
  assign s_ready = 1'b0;
  assign m_valid = 1'b0;
  assign m_data = {128 * LANES{1'b0}};
  assign m_tag = 1'b0;

  // every input, until it is used
  wire unused_ok = &{
    1'b0, clk, rst, key_valid, key_clear, key_ctx, key_256, key, cmd_valid, cmd_ctx, cmd_decrypt,
    cmd_nonce, cmd_aad_len, cmd_len, s_valid, s_data, m_ready
  };

endmodule

`resetall
