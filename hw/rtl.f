rtl/ktls_fifo.v
rtl/ktls_aes_round.v
rtl/ktls_aes.v
rtl/ktls_keyexp.v
rtl/ktls_ghash.v
rtl/ktls_gcm.v
