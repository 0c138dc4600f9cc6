"""checks: named checks that are counted, and the closing line that the runner reads."""
import sys

_counts = {"passed": 0, "failed": 0}


def check(name, condition, why=""):
    if condition:
        _counts["passed"] += 1
        print(f"ok {name}")
    else:
        _counts["failed"] += 1
        print(f"FAILED {name}: {why}")


def finish():
    print(f"{_counts['passed']} passed, {_counts['failed']} failed")
    sys.exit(1 if _counts["failed"] else 0)
