"""`python train.py …` from a checkout: hands straight over to `supernet train`."""

import sys

from supernet.commands.main import main

main(["train", *sys.argv[1:]])
