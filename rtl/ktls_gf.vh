// SPDX-License-Identifier: Apache-2.0
//
// Purpose: functions of GF(2^128) for modules that describe hardware. Include the file inside a
//   module.
// Data format: a polynomial has the coefficient of x^0 on the right, so an element of GCM is turned
//   (gf_turn) first: NIST SP 800-38D prints that coefficient on the left.
// Source: NIST SP 800-38D section 6.3; the modulus is x^128 + x^7 + x^2 + x + 1.

function [127:0] gf_turn(input [127:0] a);
  integer i;
  for (i = 0; i < 128; i = i + 1) gf_turn[i] = a[127-i];
endfunction

// the remainder of a product
function [127:0] gf_reduce(input [254:0] p);
  reg [133:0] high;
  reg [ 12:0] over;
  begin
    high = {7'd0, p[254:128]};
    high = high ^ (high << 1) ^ (high << 2) ^ (high << 7);
    over = {7'd0, high[133:128]};
    over = over ^ (over << 1) ^ (over << 2) ^ (over << 7);
    gf_reduce = p[127:0] ^ high[127:0] ^ {115'd0, over};
  end
endfunction
