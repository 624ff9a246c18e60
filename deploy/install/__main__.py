"""`python3 -m deploy.install`: install everything that Fluoro runs on. Standard library only."""

import sys

from deploy.install.installer import main

sys.exit(main())
