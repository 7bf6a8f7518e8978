// SPDX-License-Identifier: Apache-2.0
//
// Purpose: AES-128 encryption of one block at a time, for block_gcm.
// Interface: a pulse of `load_key` takes `key`; a pulse of `start` takes `block`. `busy` is
//   high while a block is encrypted; `result` is valid from its fall until the next `start`.
// Latency: 10 cycles per block; round keys are made on the fly.
// Data format: byte 0 is on the left.
// Source: FIPS 197 sections 5.1 and 5.2.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module aes128 (
    input  wire         clk,
    input  wire         rst_n,
    input  wire         load_key,
    input  wire [127:0] key,
    input  wire         start,
    input  wire [127:0] block,
    output reg          busy,
    output wire [127:0] result
);

  localparam [2047:0] TABLE = {
    256'h637c777bf26b6fc53001672bfed7ab76ca82c97dfa5947f0add4a2af9ca472c0,
    256'hb7fd9326363ff7cc34a5e5f171d8311504c723c31896059a071280e2eb27b275,
    256'h09832c1a1b6e5aa0523bd6b329e32f8453d100ed20fcb15b6acbbe394a4c58cf,
    256'hd0efaafb434d338545f9027f503c9fa851a3408f929d38f5bcb6da2110fff3d2,
    256'hcd0c13ec5f974417c4a77e3d645d197360814fdc222a908846eeb814de5e0bdb,
    256'he0323a0a4906245cc2d3ac629195e479e7c8376d8dd54ea96c56f4ea657aae08,
    256'hba78252e1ca6b4c6e8dd741f4bbd8b8a703eb5664803f60e613557b986c11d9e,
    256'he1f8981169d98e949b1e87e9ce5528df8ca1890dbfe6426841992d0fb054bb16
  };

  reg [7:0] sbox[0:255];
  integer n;

  initial for (n = 0; n < 256; n = n + 1) sbox[n] = TABLE[8*(255-n)+:8];

  function [7:0] xtime(input [7:0] a);
    xtime = {a[6:0], 1'b0} ^ (a[7] ? 8'h1b : 8'h00);
  endfunction

  function [127:0] next_key(input [127:0] k, input [7:0] rcon);
    reg [31:0] a, b, c, d;
    begin
      a = k[127:96] ^ {sbox[k[23:16]] ^ rcon, sbox[k[15:8]], sbox[k[7:0]], sbox[k[31:24]]};
      b = k[95:64] ^ a;
      c = k[63:32] ^ b;
      d = k[31:0] ^ c;
      next_key = {a, b, c, d};
    end
  endfunction

  // SubBytes and ShiftRows: byte c is in row c % 4 and moves from column (c / 4) + row
  function [127:0] sub_shift(input [127:0] a);
    integer c;
    begin
      for (c = 0; c < 16; c = c + 1) sub_shift[127-8*c-:8] = sbox[a[127-8*((c+4*(c%4))%16)-:8]];
    end
  endfunction

  function [127:0] mix(input [127:0] a);
    integer c;
    reg [31:0] x;
    reg [7:0] all;
    begin
      for (c = 0; c < 4; c = c + 1) begin
        x = a[127-32*c-:32];
        all = x[31:24] ^ x[23:16] ^ x[15:8] ^ x[7:0];
        mix[127-32*c-:32] = x ^ {4{all}} ^ {xtime(x[31:24] ^ x[23:16]), xtime(x[23:16] ^ x[15:8]),
                                            xtime(x[15:8] ^ x[7:0]), xtime(x[7:0] ^ x[31:24])};
      end
    end
  endfunction

  reg  [127:0] key_q;
  reg  [127:0] round_key;  // of the round before
  reg  [127:0] state;
  reg  [  7:0] rcon;
  reg  [  3:0] round;

  wire [127:0] this_key = next_key(round_key, rcon);
  wire [127:0] shifted = sub_shift(state);

  assign result = state;

  always @(posedge clk) begin
    if (load_key) key_q <= key;
    if (busy) begin
      round_key <= this_key;
      rcon <= xtime(rcon);
      round <= round + 4'd1;
      state <= (round == 4'd10 ? shifted : mix(shifted)) ^ this_key;
      if (round == 4'd10) busy <= 1'b0;
    end else if (start) begin
      busy <= 1'b1;
      round <= 4'd1;
      rcon <= 8'h01;
      round_key <= key_q;
      state <= block ^ key_q;
    end
    if (!rst_n) busy <= 1'b0;
  end

endmodule

`resetall
