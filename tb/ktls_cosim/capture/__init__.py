# SPDX-License-Identifier: Apache-2.0
"""Captures with their secrets, for Wireshark and tshark."""
