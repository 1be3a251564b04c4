"""``python -m bobbin``: the program ``bobbin``."""

import sys

from ._program import main

sys.exit(main())
