"""`python -m tmelink` is `tmelink`."""

import sys

from tmelink.cli import main

sys.exit(main())
