# SPDX-License-Identifier: Apache-2.0
"""pcapng captures that contain the secrets of their TLS conversations."""
