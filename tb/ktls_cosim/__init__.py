# SPDX-License-Identifier: Apache-2.0
"""Hardware/software co-simulation of a kernel-TLS offload NIC."""
