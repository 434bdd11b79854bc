"""Progress bars that no other process can block.

tqdm shares its lock with processes that are forked. One that is killed while it holds the lock, as data workers may be,
would leave every later bar of its parent waiting for ever.
"""

import threading

from tqdm import tqdm


class ProgressBar(tqdm):
    """tqdm's bar, with a lock of this process alone."""


ProgressBar.set_lock(threading.RLock())
