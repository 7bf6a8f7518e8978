# SPDX-License-Identifier: Apache-2.0
"""`python -m ktls_cosim` is the command `ktls-cosim`."""

import sys

from ktls_cosim.cli import main

sys.exit(main())
