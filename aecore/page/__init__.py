"""What a notebook puts on its page; `curves`, `planes`, `live` and `parameters` are its modules."""

from aecore.page.claims import answer, claim, replicate
from aecore.page.show import pictures, show, spread, table

__all__ = ["answer", "claim", "pictures", "replicate", "show", "spread", "table"]
