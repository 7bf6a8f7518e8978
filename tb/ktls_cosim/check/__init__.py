# SPDX-License-Identifier: Apache-2.0
"""What is right: the golden model, the checkers of wire and device, and lockstep."""
