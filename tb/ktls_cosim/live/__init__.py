# SPDX-License-Identifier: Apache-2.0
"""Real programs and real connections on the simulated NIC."""
