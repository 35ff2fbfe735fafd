"""Runs a module as somebody whom permissions stop: root without the rights to pass over them, anybody else as is.

`python -m tests.support.ordinary MODULE ARGUMENT...`
"""

import ctypes
import os
import sys

_DROP_FROM_BOUNDING_SET = 24  # PR_CAPBSET_DROP of prctl(2)
_CAPABILITIES = (1, 2)  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of capabilities(7)
_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3 of capset(2)


def heed_permissions() -> None:
    """The calling thread, and no other, passes over permissions no more."""
    system = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; low and high words
    if system.capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    for capability in _CAPABILITIES:
        sets[0] &= ~(1 << capability)
    if system.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def main() -> None:
    if os.geteuid() == 0:
        system = ctypes.CDLL(None, use_errno=True)
        for capability in _CAPABILITIES:
            if system.prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0) != 0:
                sys.exit(f"capability {capability} can not be dropped: {os.strerror(ctypes.get_errno())}")
    # a program that is started has only what is left of the set
    os.execv(sys.executable, [sys.executable, "-m", *sys.argv[1:]])


if __name__ == "__main__":
    main()
