"""CSV files as spreadsheets and instruments write them, read into frames."""

from titans_ts.data.csv.read import read_csv

__all__ = ["read_csv"]
