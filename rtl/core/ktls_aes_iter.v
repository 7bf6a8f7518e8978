// SPDX-License-Identifier: Apache-2.0
//
// Purpose: AES encryption of one block at a time, one round per cycle: small.
// Interface: start takes k256_i and blk_i while nothing runs; from that cycle on round_o
//   names the round key (0 to 14; 128-bit keys skip 1 to 4, as in ktls_aes) that rk_i must
//   hold in the next cycle, as a block RAM gives it; done is high for one cycle with blk_o, which stays until the next start.
// Latency/throughput: 12 cycles for 128-bit keys, 16 for 256-bit keys.
// Data format: [127:120] is byte 0 as printed in FIPS 197.
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

  localparam LAST = 4'd14;

  reg busy;
  reg k256;
  reg [3:0] round;
  reg [127:0] blk;
  wire [127:0] sub;
  reg [127:0] shifted;
  reg [31:0] w;
  reg [31:0] twice;
  reg [127:0] mixed;
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
        // row r moves r columns to the left; byte 4c + r is row r of column c
        for (i = 0; i < 16; i = i + 1) shifted[8*(15-i)+:8] = sub[8*(15-(5*i&15))+:8];
        for (i = 0; i < 4; i = i + 1) begin
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
