"""`python -m supernet COMMAND …`, where the console script is not on the path."""

from supernet.commands.main import main

main()
