"""Makes ``python -m netkit_edu`` the command line of :mod:`netkit_edu.cli`."""

import sys

from netkit_edu.cli import main

sys.exit(main())
