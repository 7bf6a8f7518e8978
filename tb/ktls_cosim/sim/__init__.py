# SPDX-License-Identifier: Apache-2.0
"""Everything that depends on the simulator; the only package that imports cocotb.

A plain Python program uses `build`, `simulators`, `runner` and `remote`, which compile a build
and start a simulator. The Python inside the simulator imports `server`, `port`, `bus`, `gcm_core`
and the measurements.
"""
