"""Send inputs for some minutes, each target in a process of its own; print how many were read and refused.

python -m tests.fuzz.run --minutes 10 [--target CSV]

A traceback, a signal, no answer within ten seconds, memory beyond the estimate or numbers that nobody saved end a
target with what did it, and this program with 1.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter

CHILD = """
import json, sys, time
from collections import Counter
from tests.fuzz.targets import exercise, seeds
name, until, counts = sys.argv[1], time.time() + float(sys.argv[2]), Counter()
for seed in seeds():
    counts += exercise(name, 200 if name != "run folders" else 40, seed)
    print(json.dumps(counts), flush=True)
    if time.time() > until:
        break
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--target", default=None)
    wanted = parser.parse_args()
    from tests.fuzz.targets import TARGETS

    names = list(TARGETS) if wanted.target is None else [wanted.target]
    broken = 0
    for name in names:
        began = time.time()
        command = [sys.executable, "-c", CHILD, name, str(60 * wanted.minutes / len(names))]
        done = subprocess.run(command, capture_output=True, text=True)
        lines = done.stdout.strip().splitlines()
        counts = Counter(json.loads(lines[-1])) if lines else Counter()
        words = f"{counts.total():8,} inputs, {counts['refused']:8,} refused, {counts['read']:8,} read"
        print(f"{name:20s} {words}, {time.time() - began:5.0f} s", flush=True)
        if done.returncode != 0:
            broken += 1
            print(f"{name}: ended with {done.returncode}\n{done.stderr[-4000:]}", flush=True)
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
