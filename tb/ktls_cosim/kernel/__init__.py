# SPDX-License-Identifier: Apache-2.0
"""The live differential: random call scripts on the model and on a real Linux kernel."""
