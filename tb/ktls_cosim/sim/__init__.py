# SPDX-License-Identifier: Apache-2.0
"""Everything that knows the simulator; the only place that imports cocotb."""
