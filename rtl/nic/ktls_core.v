// SPDX-License-Identifier: Apache-2.0
//
// Purpose: choose the AES-GCM core. All cores have the same ports and the same behaviour; they
//   differ in area and in cycles. Add a core of your own here.
// Interface: that of ktls_gcm, whose header describes it.
// Latency/throughput: that of the chosen core.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_core #(
    // blocks per cycle
    parameter LANES = 1,
    // width of a context number
    parameter CTX_W = 6,
    // 0: ktls_gcm, LANES blocks per cycle; 1: ktls_gcm_small, one block in 31 or 35 cycles
    parameter SMALL_CORE = 0
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
    if (SMALL_CORE == 0) begin : g_fast
      ktls_gcm #(
          .LANES(LANES),
          .CTX_W(CTX_W)
      ) gcm (
          .clk(clk),
          .rst(rst),
          .key_valid(key_valid),
          .key_ready(key_ready),
          .key_clear(key_clear),
          .key_ctx(key_ctx),
          .key_256(key_256),
          .key(key),
          .cmd_valid(cmd_valid),
          .cmd_ready(cmd_ready),
          .cmd_ctx(cmd_ctx),
          .cmd_decrypt(cmd_decrypt),
          .cmd_nonce(cmd_nonce),
          .cmd_aad_len(cmd_aad_len),
          .cmd_len(cmd_len),
          .s_valid(s_valid),
          .s_ready(s_ready),
          .s_data(s_data),
          .m_valid(m_valid),
          .m_ready(m_ready),
          .m_data(m_data),
          .m_tag(m_tag)
      );
    end else begin : g_small
      ktls_gcm_small #(
          .LANES(LANES),
          .CTX_W(CTX_W)
      ) gcm (
          .clk(clk),
          .rst(rst),
          .key_valid(key_valid),
          .key_ready(key_ready),
          .key_clear(key_clear),
          .key_ctx(key_ctx),
          .key_256(key_256),
          .key(key),
          .cmd_valid(cmd_valid),
          .cmd_ready(cmd_ready),
          .cmd_ctx(cmd_ctx),
          .cmd_decrypt(cmd_decrypt),
          .cmd_nonce(cmd_nonce),
          .cmd_aad_len(cmd_aad_len),
          .cmd_len(cmd_len),
          .s_valid(s_valid),
          .s_ready(s_ready),
          .s_data(s_data),
          .m_valid(m_valid),
          .m_ready(m_ready),
          .m_data(m_data),
          .m_tag(m_tag)
      );
    end
  endgenerate

endmodule

`resetall
