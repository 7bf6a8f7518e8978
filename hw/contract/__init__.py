# SPDX-License-Identifier: Apache-2.0
"""The generator of everything that derives from the contract `hw/ktls_nic.rdl`."""
