# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim run`: unmodified programs on the kTLS of the model."""
