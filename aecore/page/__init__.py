"""What a notebook puts on its page, and the modules beside it for figures and live parts."""

from aecore.page.claims import above, answer, claim, replicate
from aecore.page.questions import check, reveal
from aecore.page.show import pictures, show, spread, table

__all__ = ["above", "answer", "check", "claim", "pictures", "replicate", "reveal", "show", "spread",
           "table"]  # fmt: skip
