"""The text head: a small network over the vectors of texts, whose out-of-fold logits enter the trees."""

from hybrid.head.text_head import FittedHead, HeadFit, TextHead, fit_head

__all__ = ["FittedHead", "HeadFit", "TextHead", "fit_head"]
