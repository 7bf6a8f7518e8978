# SPDX-License-Identifier: Apache-2.0
"""Everything that depends on the simulator, and the only package that imports cocotb.

A plain Python program uses `build`, `simulators`, `runner` and `remote`, which compile a build
and start a simulator. The simulator's own Python imports `server`, `port`, `bus` and the
measurements.
"""
