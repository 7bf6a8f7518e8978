# SPDX-License-Identifier: Apache-2.0
"""Published test vectors through driver and device."""
