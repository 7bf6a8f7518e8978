axis_aes.v
axis_gcm.v
ktls_gcm.v
