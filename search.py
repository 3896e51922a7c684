"""`python search.py …` from a checkout: hands straight over to `supernet search`."""

import sys

from supernet.commands.main import main

main(["search", *sys.argv[1:]])
