// SPDX-License-Identifier: Apache-2.0
//
// Purpose: AES key schedule: turns a key into the round keys of ktls_aes, and
//   wipes a context.
// Interface: valid/ready start one job. While it runs kw_* writes round keys.
//   After the last one h_req asks for one slot of the AES pipeline (E(K, 0), the
//   GHASH key); h_done ends the job. Clearing needs no slot.
// Latency: 44 (AES-128) or 60 (AES-256) cycles, then the AES latency; 1 to clear.
// Data format: key[255:248] is byte 0 of the key; AES-128 uses key[255:128].
// Source: FIPS 197 section 5.2.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_keyexp #(
    // width of a context number
    parameter CTX_W = 6
) (
    input  wire             clk,
    input  wire             rst,
    // job
    input  wire             valid,
    output wire             ready,
    input  wire             clear,
    input  wire [CTX_W-1:0] ctx,
    input  wire             k256,
    input  wire [    255:0] key,
    // round key write
    output reg              kw_en,
    output reg  [      3:0] kw_stage,
    output reg  [CTX_W-1:0] kw_ctx,
    output reg  [    127:0] kw_data,
    // GHASH key
    output wire             h_req,
    input  wire             h_done,
    // context of the job in progress
    output reg  [CTX_W-1:0] job_ctx,
    output reg              job_k256
);

  `include "ktls_sbox.vh"

  localparam ST_INIT = 2'd0;  // wipe every context after reset
  localparam ST_IDLE = 2'd1;
  localparam ST_EXPAND = 2'd2;
  localparam ST_HASH_KEY = 2'd3;

  reg [7:0] s[0:255];
  integer k;
  initial for (k = 0; k < 256; k = k + 1) s[k] = SBOX[8*(255-k)+:8];

  reg [1:0] state;
  reg [255:0] win;  // the last 8 (or 4) words, oldest on the left
  reg [95:0] acc;  // words of the round key that is being put together
  reg [5:0] i;  // word number
  reg [7:0] rcon;

  wire [31:0] oldest = win[255:224];
  wire [31:0] newest = job_k256 ? win[31:0] : win[159:128];
  wire [2:0] phase = job_k256 ? i[2:0] : {1'b0, i[1:0]};
  wire [31:0] to_sub = phase == 3'd0 ? {newest[23:0], newest[31:24]} : newest;
  wire [31:0] sub = {s[to_sub[31:24]], s[to_sub[23:16]], s[to_sub[15:8]], s[to_sub[7:0]]};
  wire [ 31:0] mix = phase == 3'd0 ? sub ^ {rcon, 24'd0} :
                     (job_k256 && phase == 3'd4) ? sub : newest;
  wire [31:0] next_word = oldest ^ mix;
  wire [3:0] round = i[5:2];

  assign ready = state == ST_IDLE;
  assign h_req = state == ST_HASH_KEY;

  always @(posedge clk) begin
    kw_en <= 1'b0;
    case (state)
      ST_INIT: begin
        kw_en <= 1'b1;
        kw_stage <= 4'd15;
        kw_ctx <= job_ctx;
        kw_data <= 128'd0;
        job_ctx <= job_ctx + 1'b1;
        if (&job_ctx) state <= ST_IDLE;
      end
      ST_IDLE: begin
        if (valid) begin
          job_ctx <= ctx;
          job_k256 <= k256;
          win <= key;
          i <= 6'd0;
          rcon <= 8'h01;
          if (clear) begin
            kw_en <= 1'b1;
            kw_stage <= 4'd15;
            kw_ctx <= ctx;
            kw_data <= 128'd0;
            win <= 256'd0;
          end else begin
            state <= ST_EXPAND;
          end
        end
      end
      ST_EXPAND: begin
        acc <= {acc[63:0], oldest};
        win <= job_k256 ? {win[223:0], next_word} : {win[223:128], next_word, 128'd0};
        if (phase == 3'd0) rcon <= {rcon[6:0], 1'b0} ^ (rcon[7] ? 8'h1b : 8'h00);
        if (i[1:0] == 2'd3) begin
          kw_en <= 1'b1;
          kw_stage <= (job_k256 || round == 4'd0) ? round : round + 4'd4;
          kw_ctx <= job_ctx;
          kw_data <= {acc, oldest};
        end
        i <= i + 6'd1;
        if (i == (job_k256 ? 6'd59 : 6'd43)) state <= ST_HASH_KEY;
      end
      default: begin  // ST_HASH_KEY
        // nothing of the key stays behind in this module
        win <= 256'd0;
        acc <= 96'd0;
        kw_data <= 128'd0;
        if (h_done) state <= ST_IDLE;
      end
    endcase
    if (rst) begin
      state <= ST_INIT;
      job_ctx <= {CTX_W{1'b0}};
      job_k256 <= 1'b0;
      kw_en <= 1'b0;
      win <= 256'd0;
      acc <= 96'd0;
    end
  end

endmodule

`resetall
