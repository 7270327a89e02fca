"""The language head: read text token by token, and write what may follow."""

from titans_ts.heads.registry import HeadPlugin

__all__ = ["plugin"]

plugin = HeadPlugin(
    name="language",
    summary="Learn to continue text, generate it, and measure how well it is predicted.",
    estimators={"TitansLanguageModel": "titans_ts.plugins.language.model:TitansLanguageModel"},
    command="titans_ts.plugins.language.cli:app",
)
