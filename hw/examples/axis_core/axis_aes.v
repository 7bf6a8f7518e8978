// SPDX-License-Identifier: Apache-2.0
//
// Purpose: iterative AES encryption with 128- and 256-bit keys, for axis_gcm.
// Interface: a pulse of `expand` takes `key`, a pulse of `start` takes `block`. `busy` is high
//   from the next cycle until the work is done. Neither pulse may come while `busy` is high.
//   `result` is valid from the fall of `busy` until the next `start`.
// Latency: key expansion takes 45 or 61 cycles, a block 11 or 15 cycles.
// Data format: byte 0 is on the left; a 128-bit key is key[255:128].
// Source: FIPS 197 sections 5.1 and 5.2.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module axis_aes (
    input  wire         clk,
    input  wire         rst_n,
    input  wire         expand,
    input  wire [255:0] key,
    input  wire         key_256,
    input  wire         start,
    input  wire [127:0] block,
    output wire         busy,
    output wire [127:0] result
);

  // ----------------------------------------------------------------------- S-box

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

  function [31:0] sub_word(input [31:0] a);
    sub_word = {sbox[a[31:24]], sbox[a[23:16]], sbox[a[15:8]], sbox[a[7:0]]};
  endfunction

  // ----------------------------------------------------------------------- round

  function [7:0] xtime(input [7:0] a);
    xtime = {a[6:0], 1'b0} ^ (a[7] ? 8'h1b : 8'h00);
  endfunction

  // SubBytes and ShiftRows: byte c is in row c % 4 and moves from column (c / 4) + row
  function [127:0] sub_shift(input [127:0] a);
    integer c;
    begin
      for (c = 0; c < 16; c = c + 1) sub_shift[127-8*c-:8] = sbox[a[127-8*((c+4*(c%4))%16)-:8]];
    end
  endfunction

  function [31:0] mix_column(input [31:0] a);
    reg [7:0] all;
    begin
      all = a[31:24] ^ a[23:16] ^ a[15:8] ^ a[7:0];
      mix_column = a ^ {4{all}} ^ {xtime(a[31:24] ^ a[23:16]), xtime(a[23:16] ^ a[15:8]),
                                   xtime(a[15:8] ^ a[7:0]), xtime(a[7:0] ^ a[31:24])};
    end
  endfunction

  // ------------------------------------------------------------------ round keys

  reg [31:0] words[0:59];
  reg expanding;
  reg [5:0] index;  // the next word
  reg [2:0] phase;  // index modulo the words of the key
  reg [255:0] from;  // the words of the key that are not used yet
  reg k256;
  reg [31:0] last;
  reg [7:0] rcon;

  wire [5:0] key_words = k256 ? 6'd8 : 6'd4;
  wire [31:0] rotated = {last[23:0], last[31:24]};
  wire [31:0] core = phase == 3'd0 ? sub_word(
      rotated
  ) ^ {rcon, 24'd0} : k256 && phase == 3'd4 ? sub_word(
      last
  ) : last;
  wire [31:0] word = index < key_words ? from[255-:32] : words[index-key_words] ^ core;

  always @(posedge clk) begin
    if (expanding) begin
      words[index] <= word;
      last <= word;
      from <= {from[223:0], 32'd0};
      index <= index + 6'd1;
      phase <= phase == key_words[2:0] - 3'd1 ? 3'd0 : phase + 3'd1;
      if (phase == 3'd0 && index >= key_words) rcon <= xtime(rcon);
      if (index == (k256 ? 6'd59 : 6'd43)) expanding <= 1'b0;
    end
    if (expand) begin
      expanding <= 1'b1;
      index <= 6'd0;
      phase <= 3'd0;
      from <= key;
      k256 <= key_256;
      rcon <= 8'h01;
    end
    if (!rst_n) expanding <= 1'b0;
  end

  // ---------------------------------------------------------------------- rounds

  reg running;
  reg [3:0] round;
  reg [127:0] state;

  wire [3:0] last_round = k256 ? 4'd14 : 4'd10;
  wire [127:0] round_key = {
    words[{round, 2'd0}], words[{round, 2'd1}], words[{round, 2'd2}], words[{round, 2'd3}]
  };
  wire [127:0] shifted = sub_shift(state);
  wire [127:0] mixed = {
    mix_column(shifted[127:96]),
    mix_column(shifted[95:64]),
    mix_column(shifted[63:32]),
    mix_column(shifted[31:0])
  };

  assign busy   = expanding || running;
  assign result = state;

  always @(posedge clk) begin
    if (running) begin
      round <= round + 4'd1;
      if (round == 4'd0) state <= state ^ round_key;
      else state <= (round == last_round ? shifted : mixed) ^ round_key;
      if (round == last_round) running <= 1'b0;
    end
    if (start) begin
      running <= 1'b1;
      round   <= 4'd0;
      state   <= block;
    end
    if (!rst_n) running <= 1'b0;
  end

endmodule

`resetall
