"""Tell what somebody is doing from windows of what sensors measure."""

from titans_ts.heads import HeadPlugin

__all__ = ["plugin"]

plugin = HeadPlugin(
    name="activity",
    summary="Tell what somebody is doing from windows of sensors.",
    estimators={
        "TitansActivityClassifier": "titans_activity.classifier:TitansActivityClassifier",
    },
    command="titans_activity.command:app",
)
