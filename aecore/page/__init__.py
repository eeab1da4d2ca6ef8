"""What a notebook puts on its page; `curves`, `planes`, `live` and `parameters` are its modules."""

from aecore.page.claims import above, answer, claim, replicate
from aecore.page.show import pictures, show, spread, table

__all__ = ["above", "answer", "claim", "pictures", "replicate", "show", "spread", "table"]
