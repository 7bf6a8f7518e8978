# SPDX-License-Identifier: Apache-2.0
"""Scenarios recorded on real kernels, played on the model and compared."""
