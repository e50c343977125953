"""The text head: a small network over the vectors of texts, whose out-of-fold logits enter the trees."""

from hybrid.head.fitted import FittedHead
from hybrid.head.fitting import HeadFit, fit_head, require_tunable
from hybrid.head.text_head import TextHead

__all__ = ["FittedHead", "HeadFit", "TextHead", "fit_head", "require_tunable"]
