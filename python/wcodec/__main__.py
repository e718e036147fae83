"""``python -m wcodec``: the command."""

import signal
import sys

from . import _wcodec


def main() -> int:
    # The command minds Ctrl-C itself.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _wcodec.main(["wcodec", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
