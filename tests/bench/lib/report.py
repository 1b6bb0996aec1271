# SPDX-License-Identifier: Apache-2.0
"""Rows of a benchmark: what was measured, what was aimed at, and whether it was reached."""
import json
from pathlib import Path

NAME_COLUMN = 50


class Report:
    def __init__(self):
        self.rows, self.notes = [], []

    def note(self, text):
        self.notes.append(text)
        print(f"# {text}", flush=True)

    def row(self, name, value, unit="", at_most=None, at_least=None, more=""):
        aim, reached = "", None
        if at_most is not None:
            aim, reached = f"≤ {at_most:g}{unit}", value <= at_most
        if at_least is not None:
            aim, reached = f"≥ {at_least:g}{unit}", value >= at_least
        said = {None: "", True: "ok", False: "MISSED"}[reached]
        self.rows.append({"name": name, "value": value, "unit": unit.strip(), "aim": aim,
                          "reached": reached, "more": more})
        print(f"{name:{NAME_COLUMN}} {value:9.2f}{unit:6} {aim:12} {said:6} {more}".rstrip(),
              flush=True)

    def write(self, path):
        Path(path).write_text(json.dumps({"notes": self.notes, "rows": self.rows}, indent=1) + "\n")

    @property
    def missed(self):
        return [r["name"] for r in self.rows if r["reached"] is False]
