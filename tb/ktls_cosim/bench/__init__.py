# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: cycles of the RTL, CPU time of the simulation, cost of the kTLS model."""
