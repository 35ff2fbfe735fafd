"""Looking at processes."""

from pathlib import Path


def children(pid: int) -> dict[int, str]:
    """The running children of a process: id and name. Empty if there is no such process."""
    found = {}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            if is_running(child):
                found[child] = Path(f"/proc/{child}/comm").read_text().strip()
    return found


def is_running(pid: int) -> bool:
    """Whether the process exists and is more than a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
