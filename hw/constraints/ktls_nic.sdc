# SPDX-License-Identifier: Apache-2.0
#
# Example timing constraints for ktls_nic as a block inside a design. Adapt the period and the
# port delays to your device.
#
# The device has one clock. Every port is synchronous to clk: rst (active high), irq, the
# AXI4-Lite slave and the AXI4 master. The device contains no clock crossing and no synchroniser,
# so no path needs set_false_path or set_clock_groups. If a bus or the interrupt controller runs
# from another clock, place the crossing outside (an AXI clock converter; two flip-flops for irq;
# a reset synchroniser for rst).

# 250 MHz
create_clock -name clk -period 4.0 [get_ports clk]

# 30 % of the period for the logic outside, on either side
set_input_delay 1.2 -clock clk [remove_from_collection [all_inputs] [get_ports clk]]
set_output_delay 1.2 -clock clk [all_outputs]
