# SPDX-License-Identifier: Apache-2.0
"""The device's contract (`layout`, generated) and its functional model (`model`)."""
