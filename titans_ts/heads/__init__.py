"""Heads: what turns data into tokens, and a backbone's vectors into answers.

Packages bring heads of their own; :mod:`titans_ts.heads.registry` finds them.
"""

from titans_ts.heads.registry import FoundHead, HeadPlugin, find_heads, get_estimator, get_head

__all__ = ["FoundHead", "HeadPlugin", "find_heads", "get_estimator", "get_head"]
