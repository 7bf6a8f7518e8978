aes128.v
gf128.v
block_gcm.v
ktls_gcm.v
