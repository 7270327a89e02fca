"""Messages of the library, reworded for someone who gave options and a file."""

from __future__ import annotations

import re

__all__ = ["for_the_shell"]

# A parameter as the library's messages spell it, such as time_column=, and what follows it.
_NAMES = (
    r"(target|time_column|id_column|(?:past|future|static)_covariates|calendar|holidays|future|"
    r"freq|horizon|context_length|max_epochs|quantiles|accelerator|local|data_home|sha256|storage)"
)
_PARAMETER = re.compile(rf"\b{_NAMES}=(?=([ .,;)]?))")
# A message that starts so is of a parameter, and every one that a command sets is an option of it.
_CHECKED = re.compile(r"^([a-z][a-z0-9_]*)(?= must be )")
# Without a value; the others are words of a sentence too.
_MENTIONED = re.compile(
    r"(?<![\w-])(time_column|id_column|freq|(?:past|future|static)_covariates)(?![\w=])"
)
# Advice to someone who writes Python, and what it is to someone who has a file.
_PYTHON = [
    (re.compile(pattern), words)
    for pattern, words in (
        (r" [^.]*\bmake_future_dataframe\([^)]*\)[^.]*\.", ""),
        (r"\bSort with X\.sort\w*\(.*?\)(?=\.( |$))", "Sort the rows of the file by time"),
        (
            r"\bInsert the missing rows with FillGaps\(\), or give rows without a gap\b",
            "Insert the missing rows in the file, with empty cells (in Python, FillGaps() does it)",
        ),
        (
            r"\bBring them to one (?:frequency )?with Resample\([^)]*\)",
            "Bring the rows of the file to one frequency (in Python, Resample() does it)",
        ),
        (
            r"\bgive the local times their zone instead, such as tz_localize\([^)]*\)",
            "write the local times with their offset from UTC instead, such as "
            "2024-10-27T02:00+01:00",
        ),
        (
            r"\bConvert the column with pandas\.to_datetime\(\.\.\., dayfirst=True\) or False",
            "Write them in the file with the year first, such as 2024-01-31",
        ),
        (
            r"\bConvert (?:it|the column) with pandas\.to_datetime(?:\([^)]*\))?",
            "Write it in the file as dates, such as 2024-01-31 12:00",
        ),
        (r", convert the column with pandas\.to_datetime(?=, or )", ""),
        (r"\bConvert it with astype\(float\)", "Write 1 and 0 in the file"),
        (
            r", for example with (?:astype|as_unit|tz_convert)\([^)]*\)(?:\.\w+(?:\(\))?)*",
            "",
        ),
        (r" with X\.reset_index\(drop=True\)", ""),
        (r"\bDrop it, as pandas\.read_csv\([^)]*\) does, or", "Drop it from the file, or"),
        (r",? or (?:give the frame of|read it with) pandas\.\w+\(.*?\.(?=( [A-Z]|$))", "."),
        (r"\bRead it with pandas\.read_parquet\(path\) and give the frame", "Name it .parquet"),
        (r"(?<= at least \d), or None(?=, got )", ""),
    )
]
# The table, where it is not the X of a line of Python, nor a part of a path.
_TABLE = re.compile(r"(?<![\w/-])X\b(?![.\[=/-])")
# What a message quotes is the user's own: a letter of a sequence, a column, a path. The apostrophe
# of a word such as X's opens no quote.
_QUOTED = re.compile(r"""((?<!\w)b?(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"))""")


def for_the_shell(message: str) -> str:
    """Reword a message to someone who gave options and a file, not parameters and X."""

    def option(match: re.Match[str]) -> str:
        value_follows = not match[2]
        return "--" + match[1].replace("_", "-") + (" " if value_follows else "")

    def reword(words: str) -> str:
        words = _MENTIONED.sub(lambda match: "--" + match[1].replace("_", "-"), words)
        return _TABLE.sub("the table", _PARAMETER.sub(option, words))

    for pattern, words in _PYTHON:
        message = pattern.sub(words, message)
    message = _CHECKED.sub(lambda match: "--" + match[1].replace("_", "-"), message)
    parts = _QUOTED.split(message)
    return "".join(part if i % 2 else reword(part) for i, part in enumerate(parts))
