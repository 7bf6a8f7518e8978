# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim serve` and `fetch`: HTTPS over real sockets, with the records of the device."""
