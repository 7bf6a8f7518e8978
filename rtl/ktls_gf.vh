// SPDX-License-Identifier: Apache-2.0
//
// Purpose: functions of GF(2^128) for modules that describe hardware. Include the file inside a
//   module.
// Data format: a polynomial has the coefficient of x^0 on the right, so an element of GCM is turned
//   (gf_turn) first: NIST SP 800-38D prints that coefficient on the left.
// Source: NIST SP 800-38D section 6.3; the modulus is x^128 + x^7 + x^2 + x + 1.

function [127:0] gf_turn(input [127:0] element);
  integer power;
  begin
    for (power = 0; power < 128; power = power + 1) gf_turn[power] = element[127-power];
  end
endfunction

// the remainder of a product
function [127:0] gf_reduce(input [254:0] dividend);
  reg [133:0] upper;
  reg [ 12:0] over;
  begin
    upper = {7'd0, dividend[254:128]};
    upper = upper ^ (upper << 1) ^ (upper << 2) ^ (upper << 7);
    over = {7'd0, upper[133:128]};
    over = over ^ (over << 1) ^ (over << 2) ^ (over << 7);
    gf_reduce = dividend[127:0] ^ upper[127:0] ^ {115'd0, over};
  end
endfunction
