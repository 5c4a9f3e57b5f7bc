"""How a peer talks with the test that started it: one JSON object a line, both ways."""

import array
import functools
import hashlib
import json
import sys
import threading

_writing = threading.Lock()


def say(**fields):
    with _writing:
        sys.stdout.write(json.dumps(fields) + "\n")
        sys.stdout.flush()


def commands():
    """The test's commands; ends when the test does."""
    for line in sys.stdin:
        yield json.loads(line)


@functools.cache
def numbered(size):
    """Bytes of which no two places are alike for long."""
    words = array.array("I", range((size + 3) // 4))
    if sys.byteorder == "little":
        words.byteswap()
    return words.tobytes()[:size]


def described(data):
    """A message for the test: short ones as text, long ones by their length and checksum."""
    if len(data) <= 4096:
        try:
            return {"text": data.decode()}
        except UnicodeDecodeError:
            pass
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
