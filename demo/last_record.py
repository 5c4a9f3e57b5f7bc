"""Prints the last access record of a gateway's log.

usage: last_record.py LOG

A line of the log is one JSON object; an access record is the text in `fields.message` of a line whose target is
`access_log`, and JSON itself.
"""

import json
import sys


def main():
    with open(sys.argv[1], encoding="utf-8") as log:
        lines = [json.loads(line) for line in log if line.startswith("{")]
    records = [line["fields"]["message"] for line in lines if line.get("target") == "access_log"]
    if not records:
        sys.exit("there is no access record in the log (is FERRUM_LOG_LEVEL lower than info?)")
    print(json.dumps(json.loads(records[-1]), indent=2))


if __name__ == "__main__":
    main()
