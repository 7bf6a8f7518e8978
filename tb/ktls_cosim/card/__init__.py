# SPDX-License-Identifier: Apache-2.0
"""The simulated device as a PCI card that any vfio-user client can open: `ktls-cosim card`."""
