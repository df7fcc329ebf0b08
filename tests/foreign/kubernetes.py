"""Validates objects against the schemas of Kubernetes, strictly, by a validator that is not ours.

Reads one JSON value a line, `{"kubernetes": "1.29.0", "object": {…}}`. Prints `ok` for each object that is valid, or why it is
not; also where there is no schema of its kind.
"""

import functools
import json
import sys

from kubernetes_validate import utils

# Each object asks for the same few files, of which the definitions are large.
utils.schema_contents = functools.cache(utils.schema_contents)

for line in sys.stdin:
    asked = json.loads(line)
    try:
        version = utils.validate(asked["object"], asked["kubernetes"], strict=True)
        # A version that it does not have is taken for the next lower one.
        same = asked["kubernetes"].startswith(version + ".")
        print("ok" if same else f"there are no schemas of {asked['kubernetes']}")
    except utils.ValidationError as error:
        print(f"{list(error.path)}: {error.message}".replace("\n", " "))
    except utils.SchemaNotFoundError as error:
        print(error.message)
