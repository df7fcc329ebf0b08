"""Validates documents with a validator of JSON Schema that is not ours.

Reads one JSON value a line: the schema, then documents. Prints `ok` for each document that is valid, or why it is not.
"""

import json
import sys

from jsonschema import Draft202012Validator

schema = json.loads(sys.stdin.readline())
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
for line in sys.stdin:
    error = next(validator.iter_errors(json.loads(line)), None)
    print("ok" if error is None else f"{list(error.absolute_path)}: {error.message}".replace("\n", " "))
