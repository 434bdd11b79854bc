"""The command line: ``querydet COMMAND``, or ``python -m querydet COMMAND``; a module for each command."""
