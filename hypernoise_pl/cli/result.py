"""``--json``: a command's result on standard output, and everything else that is said on standard error."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator

from hypernoise_pl.config.options import Options


@contextlib.contextmanager
def only_json(options: Options) -> Iterator[None]:
    """Print ``options.result`` at the end, if ``--json`` asks for it and there is one; on the first process alone."""
    output = sys.stdout
    with contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext():
        yield
    if options.json and options.result is not None and int(os.environ.get("LOCAL_RANK", 0)) == 0:
        print(json.dumps(options.result, indent=1, ensure_ascii=False), file=output)
