"""The command line: ``querydet COMMAND``, or ``python -m querydet COMMAND``; a module for each command."""

import warnings

# fvcore still calls it when it is imported, in every process of a command.
warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)
