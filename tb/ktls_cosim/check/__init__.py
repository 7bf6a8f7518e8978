# SPDX-License-Identifier: Apache-2.0
"""Checkers: the golden model, the wire, the device, and two devices in lockstep.

Two checkers observe two places. `check.device.CheckedPort` wraps the registers and the
memory of a device: it reads the descriptors that a doorbell publishes, keeps their
plaintext, and compares each completed record with `check.golden`, byte by byte.
`check.wire.Scoreboard` observes sockets (`ktls.stack.Observer`): it opens the bytes on the
wire as a receiver would, and compares them with the bytes that the application sent.
Neither checker uses code of the driver. `check.audit` looks at the driver itself: `CheckedPort`
feeds it, and it reports the rules that the driver breaks.
"""
