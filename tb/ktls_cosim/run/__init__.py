# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim run`: unmodified programs on the model's kTLS."""
