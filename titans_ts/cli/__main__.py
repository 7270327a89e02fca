"""``python -m titans_ts.cli``."""

from titans_ts.cli import main

if __name__ == "__main__":
    main()
