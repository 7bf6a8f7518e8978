// SPDX-License-Identifier: Apache-2.0
//
// Purpose: AES encryption of one block at a time, one round per cycle, for a small area.
// Interface: `start` samples k256_i and blk_i; the user asserts it only while the unit is idle.
//   From that cycle on round_o is the number of the round key (0 to 14; a 128-bit key skips 1 to
//   4, as in ktls_aes) that rk_i must carry in the next cycle, as a block RAM delivers it.
//   `done` is high for one cycle; blk_o is valid from then until the next start.
// Latency/throughput: 12 cycles per block with a 128-bit key, 16 with a 256-bit key.
// Data format: [127:120] is byte 0 of the block as FIPS 197 appendix C prints it.
// Source: FIPS 197 section 5.1.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module ktls_aes_iter (
    input  wire         clk,
    input  wire         rst,
    input  wire         start,
    input  wire         k256_i,
    input  wire [127:0] blk_i,
    output wire [  3:0] round_o,
    input  wire [127:0] rk_i,
    output reg          done,
    output wire [127:0] blk_o
);

  localparam LAST = 4'd14;  // the round without MixColumns

  reg busy;
  reg k256;
  reg [3:0] round;
  reg [127:0] blk;
  wire [127:0] sub;
  reg [127:0] shifted;  // after ShiftRows
  reg [31:0] w;  // a column
  reg [31:0] twice;  // the column times 2 in GF(2^8), byte by byte
  reg [127:0] mixed;  // after MixColumns
  integer i;

  genvar g;
  generate
    for (g = 0; g < 16; g = g + 1) begin : g_byte
      ktls_sbox sbox (
          .a(blk[8*g+:8]),
          .z(sub[8*g+:8])
      );
    end
  endgenerate

  assign round_o = start ? 4'd0 : round == 4'd0 && !k256 ? 4'd5 : round + 4'd1;
  assign blk_o   = blk;

  always @(posedge clk) begin
    done <= 1'b0;
    if (start) begin
      busy  <= 1'b1;
      k256  <= k256_i;
      round <= round_o;
      blk   <= blk_i;
    end else if (busy) begin
      round <= round_o;
      if (round == 4'd0) begin
        blk <= blk ^ rk_i;
      end else begin
        // ShiftRows: byte 4c + r is row r of column c; row r moves r columns to the left, so byte
        // i comes from byte 5i mod 16.
        for (i = 0; i < 16; i = i + 1) shifted[8*(15-i)+:8] = sub[8*(15-(5*i&15))+:8];
        for (i = 0; i < 4; i = i + 1) begin
          // MixColumns: 2 a0 + 3 a1 + a2 + a3 per byte, where 3 a1 = 2 a1 + a1. A byte whose top
          // bit is set is reduced by 8'h1b.
          w = shifted[32*i+:32];
          twice = {w[30:24], 1'b0, w[22:16], 1'b0, w[14:8], 1'b0, w[6:0], 1'b0} ^
              ({w[31], 7'd0, w[23], 7'd0, w[15], 7'd0, w[7], 7'd0} >> 7) * 32'h1b;
          mixed[32*i+:32] = twice ^ {w[23:0], w[31:24]} ^ {w[15:0], w[31:16]} ^
              {w[7:0], w[31:8]} ^ {twice[23:0], twice[31:24]};
        end
        blk <= (round == LAST ? shifted : mixed) ^ rk_i;
        if (round == LAST) begin
          busy <= 1'b0;
          done <= 1'b1;
        end
      end
    end
    if (rst) begin
      busy <= 1'b0;
      done <= 1'b0;
      blk  <= 128'd0;
    end
  end

endmodule

`resetall
