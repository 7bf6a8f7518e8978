# SPDX-License-Identifier: Apache-2.0
import sys

from ktls_cosim.cli import main

sys.exit(main())
