"""Runs a program that ends when the process that started it ends: `python leash.py PARENT SIGNAL USER COMMAND...`.

Linux can send a signal to a process whose parent has died, however it died (prctl, PR_SET_PDEATHSIG). It has to be
asked for in the child, so this file is run there and then becomes the program. A function run between fork and exec
would do the same, but runs the fork handlers of gRPC in the parent, which may hang it.

The signal comes when the *thread* that started the program ends, so start it from the main thread.

USER is `-`, or `UID:GID` to run as (PostgreSQL refuses to run as root). The program then keeps one right of root's,
CAP_DAC_OVERRIDE: the data or the virtual environment may be in a folder that only root can enter, such as /root, and
no folder has to be opened to everybody for it.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 4
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def _call(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _prctl(option: int, *values: int) -> None:
    arguments = (*values, 0, 0, 0, 0)[:4]
    _call(_libc.prctl(option, *(ctypes.c_ulong(value) for value in arguments)), f"prctl {option}")


def become(uid: int, gid: int) -> None:
    """Takes on the user and group, keeping only CAP_DAC_OVERRIDE, which survives exec as an ambient capability."""
    # the change of user then drops no capability, and access(2), with which initdb looks at its programs, heeds them
    _prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    keep = 1 << CAP_DAC_OVERRIDE
    sets = (ctypes.c_uint32 * 6)(keep, keep, keep, 0, 0, 0)  # effective, permitted, inheritable; low and high words
    _call(_libc.capset(header, sets), "capset")
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE)


def main() -> None:
    parent, death_signal, user, *command = sys.argv[1:]
    if user != "-":
        uid, gid = user.split(":")
        become(int(uid), int(gid))
    _prctl(PR_SET_PDEATHSIG, int(death_signal))  # after the change of user, which would reset it
    if os.getppid() != int(parent):  # it died before the line above
        signal.raise_signal(signal.SIGKILL)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
