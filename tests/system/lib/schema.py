# SPDX-License-Identifier: Apache-2.0
"""The published JSON schemas of the runtime-spec, where they are at hand, and edits of documents."""
import copy
import json
import os
from pathlib import Path

import pytest

from conftest import TREE


def shared_data(*parts):
    """A folder of data from public projects, which is no part of the tree; skips where it is not."""
    root = os.environ.get("SLUICE_SHARED_DATA") or Path(TREE).parent / "shared" / "data"
    path = Path(root, *parts)
    if not path.exists():
        pytest.skip(f"there is no {path}: SLUICE_SHARED_DATA names the folder")
    return path


def validator(name):
    """A checker for documents by NAME-schema.json."""
    jsonschema = pytest.importorskip("jsonschema")
    folder = shared_data("runtime-spec-1.3")
    schema = json.loads((folder / f"{name}-schema.json").read_text())
    resolver = jsonschema.RefResolver(f"{folder.as_uri()}/", schema)
    return jsonschema.Draft4Validator(schema, resolver=resolver)


def edited(document, edits):
    """A copy with each [pointer, value] set and each [pointer] taken away."""
    document = copy.deepcopy(document)
    for pointer, *value in edits:
        at = document
        *way, last = [s.replace("~1", "/").replace("~0", "~") for s in pointer.split("/")[1:]]
        for step in way:
            at = at[int(step)] if isinstance(at, list) else at.setdefault(step, {})
        if isinstance(at, list) and last == "-":
            at.append(value[0])
        elif value:
            at[int(last) if isinstance(at, list) else last] = value[0]
        else:
            del at[int(last) if isinstance(at, list) else last]
    return document
