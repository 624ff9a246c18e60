"""`python -m deploy.local up|status|stop|clean-data`: the whole stack on this machine."""

import sys

from deploy.local.control import main

sys.exit(main())
