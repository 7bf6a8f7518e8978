// SPDX-License-Identifier: Apache-2.0
//
// Purpose: a foreign AES-GCM core in the block shape: load a key, load a block, start, wait
//   until it is no longer busy, read a block. It stands for the core that you bring; nothing
//   in it knows the ktls NIC. It has 128-bit keys only and can only seal, as many public cores.
// Interface: a pulse of `start` while `busy` is low takes `op`, `block_in` and `block_len`.
//   `block_out` is valid from the fall of `busy` until the next `start`.
//     op 0  load the key in block_in
//     op 1  begin a message with the nonce in block_in[127:32]
//     op 2  hash a block of AAD of block_len bytes
//     op 3  encrypt a block of text of block_len bytes; block_out is its ciphertext
//     op 4  end the message; block_out is the tag
//   Only the last block of AAD and of text may have fewer than 16 bytes. Bytes of block_in
//   beyond block_len are ignored, those of block_out are not defined.
// Latency/throughput: op 0 takes 12 cycles, op 1 11, op 2 and op 4 34, op 3 45.
// Data format: byte 0 is on the left.
// Source: NIST SP 800-38D sections 6.3 and 7.1.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module block_gcm (
    input  wire         clk,
    input  wire         rst_n,
    input  wire [  2:0] op,
    input  wire         start,
    input  wire [127:0] block_in,
    input  wire [  4:0] block_len,
    output wire         busy,
    output reg  [127:0] block_out
);

  localparam OP_KEY = 3'd0;
  localparam OP_NONCE = 3'd1;
  localparam OP_AAD = 3'd2;
  localparam OP_TEXT = 3'd3;
  localparam OP_END = 3'd4;

  localparam ST_IDLE = 2'd0;
  localparam ST_AES = 2'd1;
  localparam ST_MUL = 2'd2;  // start the multiplication
  localparam ST_WAIT = 2'd3;

  reg [1:0] state;
  reg [2:0] op_q;
  reg [127:0] block;
  reg [127:0] mask;  // ones at the bytes of the block that are valid
  reg [127:0] h;
  reg [127:0] tag_mask;
  reg [127:0] y;
  reg [95:0] nonce;
  reg [31:0] counter;
  reg [63:0] aad_bits;
  reg [63:0] text_bits;

  wire go = start && state == ST_IDLE;
  wire [127:0] mask_in = ~(~128'd0 >> {block_len, 3'd0});

  // ------------------------------------------------------------------------- AES

  reg key_loaded;  // the key is in the AES unit, and zeros are being encrypted
  reg aes_start;
  reg [127:0] aes_in;
  wire aes_busy;
  wire [127:0] aes_out;

  always @* begin
    aes_start = go && (op == OP_NONCE || op == OP_TEXT);
    aes_in = op == OP_NONCE ? {block_in[127:32], 32'd1} : {nonce, counter};
    if (state == ST_AES && op_q == OP_KEY && !key_loaded) begin
      aes_start = 1'b1;
      aes_in = 128'd0;
    end
  end

  aes128 aes (
      .clk(clk),
      .rst_n(rst_n),
      .load_key(go && op == OP_KEY),
      .key(block_in),
      .start(aes_start),
      .block(aes_in),
      .busy(aes_busy),
      .result(aes_out)
  );

  // ----------------------------------------------------------------------- GHASH

  wire mul_busy;
  wire [127:0] product;

  gf128 mul (
      .clk(clk),
      .rst_n(rst_n),
      .start(state == ST_MUL),
      .a(y ^ block),
      .b(h),
      .busy(mul_busy),
      .p(product)
  );

  // ------------------------------------------------------------------- operations

  assign busy = state != ST_IDLE;

  always @(posedge clk) begin
    case (state)
      ST_IDLE: begin
        if (go) begin
          op_q <= op;
          key_loaded <= 1'b0;
          block <= block_in & mask_in;
          mask <= mask_in;
          state <= ST_AES;
          case (op)
            OP_NONCE: begin
              nonce <= block_in[127:32];
              counter <= 32'd2;
              aad_bits <= 64'd0;
              text_bits <= 64'd0;
              y <= 128'd0;
            end
            OP_AAD: begin
              aad_bits <= aad_bits + {56'd0, block_len, 3'd0};
              state <= ST_MUL;
            end
            OP_TEXT: begin
              text_bits <= text_bits + {56'd0, block_len, 3'd0};
              counter   <= counter + 32'd1;
            end
            OP_END: begin
              block <= {aad_bits, text_bits};
              state <= ST_MUL;
            end
            default: ;
          endcase
        end
      end

      ST_AES: begin
        key_loaded <= 1'b1;
        if (!aes_busy && !aes_start) begin
          state <= ST_IDLE;
          if (op_q == OP_KEY) begin
            h <= aes_out;
          end else if (op_q == OP_NONCE) begin
            tag_mask <= aes_out;
          end else begin
            block <= (block ^ aes_out) & mask;
            block_out <= block ^ aes_out;
            state <= ST_MUL;
          end
        end
      end

      ST_MUL: state <= ST_WAIT;

      default: begin  // ST_WAIT
        if (!mul_busy) begin
          y <= product;
          if (op_q == OP_END) block_out <= product ^ tag_mask;
          state <= ST_IDLE;
        end
      end
    endcase
    if (!rst_n) state <= ST_IDLE;
  end

endmodule

`resetall
