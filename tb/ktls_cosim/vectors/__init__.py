# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim vectors`: published AES-GCM cases through driver and device."""
