// SPDX-License-Identifier: Apache-2.0
//
// Purpose: a foreign AES-GCM core in the AXI-Stream shape. It stands for the core that you
//   bring; nothing in it knows the ktls NIC.
// Interface: one key at a time. A pulse of `key_load` takes `key` and `key_256`. A pulse of
//   `start` takes `nonce` and `decrypt` and begins a packet: beats of AAD (tuser = 1), then
//   beats of text (tuser = 0); tlast marks the last beat of the packet, and only the last
//   beat of each part may be partial. A packet without any byte is one beat with tkeep = 0
//   and tlast. The result stream carries the text only. `tag` is valid while `tag_valid` is
//   high, that is until the next `start`. Pulse `key_load` and `start` only while `busy` is
//   low. Opening computes the tag; the user compares it.
// Latency/throughput: a text beat takes 30 cycles with a 128-bit key and 34 with a 256-bit key,
//   an AAD beat 17, a packet 29 or 33 more, loading a key 58 or 78.
// Data format: byte 0 of a beat is tdata[7:0], as everywhere in AXI-Stream. Key, nonce and tag
//   have byte 0 on the left.
// Source: NIST SP 800-38D sections 6.3, 7.1 and 7.2.
`resetall
`timescale 1ns / 1ps
`default_nettype none

module axis_gcm (
    input  wire         aclk,
    input  wire         aresetn,
    // sideband registers
    input  wire         key_load,
    input  wire [255:0] key,
    input  wire         key_256,
    input  wire         start,
    input  wire [ 95:0] nonce,
    input  wire         decrypt,
    output wire         busy,
    // AAD and text in
    input  wire         s_axis_tvalid,
    output wire         s_axis_tready,
    input  wire [127:0] s_axis_tdata,
    input  wire [ 15:0] s_axis_tkeep,
    input  wire         s_axis_tuser,
    input  wire         s_axis_tlast,
    // text out
    output wire         m_axis_tvalid,
    input  wire         m_axis_tready,
    output wire [127:0] m_axis_tdata,
    output wire [ 15:0] m_axis_tkeep,
    output wire         m_axis_tlast,
    // tag out
    output reg          tag_valid,
    output reg  [127:0] tag
);

  localparam ST_IDLE = 3'd0;
  localparam ST_KEY = 3'd1;  // expand the key
  localparam ST_H = 3'd2;  // encrypt zeros: the hash key
  localparam ST_J0 = 3'd3;  // encrypt nonce || 1: the mask of the tag
  localparam ST_TAKE = 3'd4;
  localparam ST_AES = 3'd5;
  localparam ST_OUT = 3'd6;
  localparam ST_HASH = 3'd7;

  reg [2:0] state;
  reg sealing;
  reg last;
  reg hashing_lengths;
  reg [95:0] nonce_q;
  reg [31:0] counter;
  reg [63:0] aad_bits;
  reg [63:0] text_bits;
  reg [127:0] h;
  reg [127:0] tag_mask;
  reg [15:0] keep;
  reg [127:0] beat;
  reg [127:0] mask;  // ones at the bytes of the beat that are valid
  reg [127:0] out;

  // byte 0 to the left, and a bit of tkeep to eight bits of mask
  reg [127:0] turned;
  reg [127:0] turned_mask;
  reg [7:0] bits;  // of the beat
  integer i;

  always @* begin
    bits = 8'd0;
    for (i = 0; i < 16; i = i + 1) begin
      turned[127-8*i-:8] = s_axis_tdata[8*i+:8];
      turned_mask[127-8*i-:8] = {8{s_axis_tkeep[i]}};
      bits = bits + {4'd0, s_axis_tkeep[i], 3'd0};
    end
  end

  // ------------------------------------------------------------------------- AES

  wire aes_busy;
  wire [127:0] ks;
  wire take = state == ST_TAKE && s_axis_tvalid;
  wire take_text = take && !s_axis_tuser && s_axis_tkeep != 0;
  wire start_h = state == ST_KEY && !aes_busy;
  wire start_j0 = state == ST_IDLE && start;

  axis_aes aes (
      .clk(aclk),
      .rst_n(aresetn),
      .expand(state == ST_IDLE && key_load),
      .key(key),
      .key_256(key_256),
      .start(start_h || start_j0 || take_text),
      .block(start_h ? 128'd0 : start_j0 ? {nonce, 32'd1} : {nonce_q, counter}),
      .busy(aes_busy),
      .result(ks)
  );

  // ----------------------------------------------------------------------- GHASH

  // eight bits per cycle: y <- (y + a) * h, from the coefficient of x^0 of y + a on
  reg [127:0] y;
  reg [127:0] a;
  reg [127:0] v;
  reg [3:0] step;
  reg [127:0] sum;
  reg [127:0] power;
  integer b;

  always @* begin
    sum   = y;
    power = v;
    for (b = 127; b >= 120; b = b - 1) begin
      if (a[b]) sum = sum ^ power;
      power = {1'b0, power[127:1]} ^ (power[0] ? {8'he1, 120'd0} : 128'd0);
    end
  end

  // --------------------------------------------------------------------- packets

  assign busy = state != ST_IDLE;
  assign s_axis_tready = state == ST_TAKE;
  assign m_axis_tvalid = state == ST_OUT;
  assign m_axis_tkeep = keep;
  assign m_axis_tlast = last;

  genvar g;
  generate
    for (g = 0; g < 16; g = g + 1) begin : g_byte
      assign m_axis_tdata[8*g+:8] = out[127-8*g-:8];
    end
  endgenerate

  always @(posedge aclk) begin
    case (state)
      ST_IDLE: begin
        hashing_lengths <= 1'b0;
        y <= 128'd0;
        if (key_load) begin
          state <= ST_KEY;
        end else if (start) begin
          tag_valid <= 1'b0;
          nonce_q <= nonce;
          sealing <= !decrypt;
          counter <= 32'd2;
          aad_bits <= 64'd0;
          text_bits <= 64'd0;
          state <= ST_J0;
        end
      end

      ST_KEY: if (!aes_busy) state <= ST_H;

      ST_H: begin
        if (!aes_busy) begin
          h <= ks;
          state <= ST_IDLE;
        end
      end

      ST_J0: begin
        if (!aes_busy) begin
          tag_mask <= ks;
          state <= ST_TAKE;
        end
      end

      ST_TAKE: begin
        step <= 4'd0;
        v <= h;
        last <= s_axis_tlast;
        keep <= s_axis_tkeep;
        beat <= turned & turned_mask;
        mask <= turned_mask;
        if (take_text) begin
          counter <= counter + 32'd1;
          text_bits <= text_bits + {56'd0, bits};
          state <= ST_AES;
        end else if (take) begin
          aad_bits <= aad_bits + {56'd0, bits};
          a <= y ^ (turned & turned_mask);
          y <= 128'd0;
          state <= ST_HASH;
          if (s_axis_tkeep == 0) begin
            // no byte in the last beat: only the lengths are left
            a <= y ^ {aad_bits, text_bits};
            hashing_lengths <= 1'b1;
          end
        end
      end

      ST_AES: begin
        if (!aes_busy) begin
          out   <= (beat ^ ks) & mask;
          state <= ST_OUT;
        end
      end

      ST_OUT: begin
        if (m_axis_tready) begin
          a <= y ^ (sealing ? out : beat);
          y <= 128'd0;
          state <= ST_HASH;
        end
      end

      default: begin  // ST_HASH
        step <= step + 4'd1;
        y <= sum;
        v <= power;
        a <= {a[119:0], 8'd0};
        if (step == 4'd15) begin
          v <= h;
          if (hashing_lengths) begin
            tag <= sum ^ tag_mask;
            tag_valid <= 1'b1;
            state <= ST_IDLE;
          end else if (last) begin
            a <= sum ^ {aad_bits, text_bits};
            y <= 128'd0;
            hashing_lengths <= 1'b1;
          end else begin
            state <= ST_TAKE;
          end
        end
      end
    endcase
    if (!aresetn) begin
      state <= ST_IDLE;
      tag_valid <= 1'b0;
    end
  end

endmodule

`resetall
