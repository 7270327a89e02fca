"""Tables larger than memory: files of Parquet, read row by row into files of plain numbers."""

from titans_ts.data.parquet.folder import ParquetFolder, read_parquet_folder

__all__ = ["ParquetFolder", "read_parquet_folder"]
