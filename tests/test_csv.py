"""CSV files as the world writes them: read where they mean one thing, refused where not."""

import gzip
import io
import zipfile

import numpy as np
import pandas as pd
import pytest
from command_line import run

from titans_ts.data.csv import read_csv
from titans_ts.data.schema import read_table
from titans_ts.errors import DataError, DataFileError, TitansError

PLAIN = "date,OT,HUFL\n2024-01-13,1.5,2\n2024-01-14,2.5,3\n2024-01-15,-3.5,5\n"
COMMAS = "date;OT;HUFL\n13.01.2024;1,5;2\n14.01.2024;2,5;3\n15.01.2024;-3,5;5\n"
DAYS = pd.DatetimeIndex(["2024-01-13", "2024-01-14", "2024-01-15"], name="date")
FRAME = pd.DataFrame({"OT": [1.5, 2.5, -3.5], "HUFL": [2, 3, 5]}, index=DAYS)


def archive(*members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as writer:
        for name, text in members:
            writer.writestr(name, text)
    return packed.getvalue()


def read(folder, content, **options):
    path = folder / "load.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_csv(path, **options)


# -- one meaning: read -----------------------------------------------------------------------------

SAME = {
    "plain": PLAIN,
    "byte order mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16 of the other end": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "UTF-32": PLAIN.encode("utf-32"),
    "Windows' line ends": PLAIN.replace("\n", "\r\n"),
    "old Macintosh's line ends": PLAIN.replace("\n", "\r"),
    "no last line end": PLAIN.rstrip("\n"),
    "semicolons and decimal commas": COMMAS,
    "the same from a German Windows": b"\xef\xbb\xbf" + COMMAS.replace("\n", "\r\n").encode(),
    "tabs and decimal commas": COMMAS.replace(";", "\t"),
    "semicolons and decimal points": PLAIN.replace(",", ";"),
    "tabs": PLAIN.replace(",", "\t"),
    "bars": PLAIN.replace(",", "|"),
    "Excel's separator line": "sep=;\n" + COMMAS,
    "quoted decimal commas": 'date,OT,HUFL\n2024-01-13,"1,5",2\n2024-01-14,"2,5",3\n'
    '2024-01-15,"-3,5",5\n',
    "everything quoted": '"' + '"\n"'.join(PLAIN.replace(",", '","').splitlines()) + '"\n',
    "preamble": "Station 7\nBerlin, in kW\n\n" + PLAIN,
    "preamble of one number": "7\n" + PLAIN,
    "remarks as wide as the table": "# Station,7,Berlin\n\n# in,kW,\n" + PLAIN,
    "preamble above decimal commas": "Zählpunkt: 7\nEinheit: kW, geeicht\n" + COMMAS,
    "separators at line ends": PLAIN.replace("\n", ",\n"),
    "separators at line ends but the first": PLAIN.replace("\n", ",\n").replace("L,\n", "L\n"),
    "blank lines": "\n" + PLAIN.replace("\n", "\n\n"),
    "lines of spaces": PLAIN + "   \n",
    "spaces around everything": PLAIN.replace(",", " , "),
    "gzip": gzip.compress(PLAIN.encode()),
    "zip": archive(("a.csv", PLAIN)),
    "zip from a Macintosh": archive(("data.csv", PLAIN), ("__MACOSX/._data.csv", "x")),
    "day first": PLAIN.replace("2024-01-13", "13/01/2024")
    .replace("2024-01-14", "14/01/2024")
    .replace("2024-01-15", "15/01/2024"),
    "month first": PLAIN.replace("2024-01-13", "01/13/2024")
    .replace("2024-01-14", "01/14/2024")
    .replace("2024-01-15", "01/15/2024"),
}


@pytest.mark.parametrize("name", SAME)
def test_files_that_mean_one_table_are_read_as_it(tmp_path, name):
    content = SAME[name]
    pd.testing.assert_frame_equal(
        read(tmp_path, content), FRAME, check_index_type=False, check_freq=False
    )


@pytest.mark.parametrize(
    "word", ["NA", "N/A", "None", "null", "nan", "NaN", "-", "--", "?", ".", ""]
)
def test_words_for_missing_values_are_missing_in_columns_of_numbers(tmp_path, word):
    frame = read(tmp_path, PLAIN.replace("2.5", word))
    np.testing.assert_array_equal(frame["OT"], [1.5, np.nan, -3.5])
    frame = read(tmp_path, COMMAS.replace("2,5", word))
    np.testing.assert_array_equal(frame["OT"], [1.5, np.nan, -3.5])


def test_columns_that_are_known_to_be_text_are_text_whatever_they_hold(tmp_path):
    content = "date,event,code,OT\n2024-01-13,none,01,1.5\n2024-01-14,none,02,2.5\n"
    frame = read(tmp_path, content, text_columns=["event", "code", "absent"])
    assert frame["event"].tolist() == ["none", "none"]
    assert frame["code"].tolist() == ["01", "02"]
    assert frame["OT"].tolist() == [1.5, 2.5]
    assert read(tmp_path, content)["event"].isna().all()


def test_words_for_missing_values_are_words_in_columns_of_text(tmp_path):
    text = (
        "date,load,holiday\n2024-01-13,1,None\n2024-01-14,2,NA\n2024-01-15,3,\n2024-01-16,4,Eid\n"
    )
    frame = read(tmp_path, text)
    assert frame["holiday"].tolist()[:2] == ["None", "NA"]
    assert frame["holiday"].isna().tolist() == [False, False, True, False]


@pytest.mark.parametrize("word", ["", "NA", "?"])
def test_true_and_false_stay_what_they_are_beside_missing_values(tmp_path, word):
    text = f"date,load,promo\n2024-01-13,1,True\n2024-01-14,2,{word}\n2024-01-15,3,False\n"
    promo = read(tmp_path, text)["promo"]
    assert promo[promo.notna()].tolist() == [True, False]
    assert promo.isna().tolist() == [False, True, False]
    # So a model learns of one kind of column, whether a cell is missing or not.
    whole = read(tmp_path, text.replace(f",2,{word}", ",2,True"))
    for frame in (read(tmp_path, text), whole):
        _, layout = read_table(frame, past_covariates="promo")
        assert layout.covariates.past[0].kind == "boolean"
    known = read(tmp_path, text, text_columns=["promo"])["promo"]
    assert [known.iloc[0], known.iloc[2]] == ["True", "False"]


def test_numbers_beyond_64_bits_become_floats(tmp_path):
    frame = read(tmp_path, PLAIN.replace("2.5", "3" * 30))
    assert frame["OT"].tolist() == [1.5, float("3" * 30), -3.5]
    frame = read(tmp_path, f"date,a\n2024-01-13,{'3' * 30}\n2024-01-14,7\n")
    assert frame["a"].tolist() == [float("3" * 30), 7.0]
    frame = read(tmp_path, COMMAS.replace("2,5", "3" * 30))
    assert frame["OT"].tolist() == [1.5, float("3" * 30), -3.5]


def test_a_number_may_show_by_its_leading_zero_that_its_comma_is_decimal(tmp_path):
    text = "day;a;b\n1;1,234;2\n2;0,234;3\n"
    assert read(tmp_path, text)["a"].tolist() == [1.234, 0.234]
    # One column tells for the whole file.
    text = "day;a;b\n1;1,234;2,5\n2;1,235;3\n"
    assert read(tmp_path, text)["a"].tolist() == [1.234, 1.235]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("01/02/2024 02/02/2024 03/02/2024 04/02/2024", "2024-02-01"),
        ("01/02/2024 02/02/2024 03/02/2024 04/02/2024 05/02/2024 13/02/2024", "2024-02-01"),
        ("01/30/2024 02/06/2024 02/13/2024", "2024-01-30"),
    ],
)
def test_dates_are_read_by_what_makes_them_dates_or_evenly_spaced(tmp_path, text, first):
    rows = "\n".join(f"{day},{i}" for i, day in enumerate(text.split()))
    frame = read(tmp_path, f"date,load\n{rows}\n")
    assert frame.index[0] == pd.Timestamp(first)


def test_stamps_of_several_offsets_are_read_in_utc(tmp_path):
    text = "date,a\n2024-03-31T01:00+01:00,1\n2024-03-31T03:00+02:00,2\n2024-03-31T04:00+02:00,3\n"
    index = read(tmp_path, text).index
    assert index.equals(pd.date_range("2024-03-31", periods=3, freq="h", tz="UTC", name="date"))


def test_lines_inside_quotation_marks_are_one_row(tmp_path):
    text = 'date,note,load\n2024-01-13,"so, ""so""\nor; so",1\n2024-01-14,fine,2\n'
    frame = read(tmp_path, text)
    assert frame["load"].tolist() == [1, 2]
    assert frame["note"].tolist() == ['so, "so"\nor; so', "fine"]


# -- no meaning, or several: refused ---------------------------------------------------------------

REFUSED = {
    "UTF-16 without mark": (PLAIN.encode("utf-16-le"), "is a binary file.* UTF-16 without a byte"),
    "Windows-1252": (
        "date,OT (°C)\n2024-01-13,1\n".encode("cp1252"),
        r"not text in UTF-8 \(byte 9, in line 1, is b'\\xb0'\)\. .* encoding='cp1252'\)\.$",
    ),
    "broken UTF-16": (PLAIN.encode("utf-16")[:-1], "not text in UTF-16"),
    "two files in a zip": (
        archive(("a.csv", PLAIN), ("b.csv", PLAIN)),
        r"zip archive of 2 files \(a\.csv, b\.csv\), expected one CSV file",
    ),
    "no file in a zip": (archive(), "zip archive of 0 files, expected one"),
    "cut zip": (archive(("a.csv", PLAIN))[:-20], "is damaged: its zip archive breaks off"),
    "cut gzip": (gzip.compress(PLAIN.encode())[:-9], "is damaged: its gzip compression breaks"),
    "Excel workbook": (
        archive(("[Content_Types].xml", ""), ("xl/workbook.xml", "")),
        r"is an Excel workbook, expected a CSV file\. Save the sheet as CSV",
    ),
    "old Excel workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an Excel workbook"),
    "Parquet": (b"PAR1\x15\x04", r"is a Parquet file, expected a CSV file\. Read it with"),
    "bzip2": (b"BZh91AY", "compressed with bzip2, .* Unpack it"),
    "empty": (b"", "is empty, expected a CSV file"),
    "empty in a zip": (archive(("a.csv", " \n")), "is empty, expected a CSV file"),
    "mark alone": (b"\xef\xbb\xbf", "is empty, expected a CSV file"),
    "no rows": ("date,OT\n", "has column names but no rows"),
    "no column names": (
        PLAIN.split("\n", 1)[1],
        r"has no column names for its table: line 1, the first .*, holds values \('2024-01-13,1",
    ),
    "only numbers": ("1.5,2\n2.5,3\n", "has no column names for its table: line 1, the first "),
    "names of fewer columns": (
        "date,OT\n1,2024-01-13,3\n2,2024-01-14,4\n3,2024-01-15,4\n",
        r"no column names for its table: line 2, the first with 3 fields as in most lines, holds "
        r"values \('1,2024-01-13,3'\), and the last line above has 2 fields\. Give a name to each",
    ),
    "names twice": (PLAIN.replace("HUFL", "OT"), "has several columns named 'OT', expected dist"),
    "names in two lines": ("a,b,b\nx,y,z\n2024-01-13,1,2\n", "several columns named 'b'"),
    "a name is missing": (
        PLAIN.replace("HUFL", ""),
        "Column 3 of .* has no name in line 1, but values, the first 2 in row 0",
    ),
    "short line": (
        PLAIN.replace(",2.5", ""),
        "line 3 has 2 fields, expected 3 as in most lines; it begins '2024-01-14,3'. Correct it",
    ),
    "long lines": (
        PLAIN.replace("2.5", "2,5").replace("-3.5", "-3,5") + "2024-01-16,1,2\n",
        r"line 3 has 4 fields \(1 other line too\), expected 3 .* needs quotation marks",
    ),
    "cut last line": (PLAIN + "2024-01-16,3", "line 5 has 2 fields, expected 3"),
    "word below": (PLAIN + "Total\n", "line 5 has 1 field, .* Remove what stands below the table"),
    "totals below": (PLAIN + "Total,0.5,10\n", "column 'date' of .* the first 'Total' in row 3"),
    "open quotation": (PLAIN.replace("2.5", '"2.5'), "odd number of quotation marks, .* line 3,"),
    "marks of inches": (
        'date,a,size\n2024-01-13,1,5" pipe\n2024-01-14,2,6" pipe\n',
        "has a quotation mark inside a field, .* the line begins '2024-01-13,1,5\" pipe'. Remove",
    ),
    "page of errors": ("<html>\n<p>Not found</p>\n</html>, sorry\n", "line 3 has 2 fields, exp"),
    "blank line of one column": (
        "load\n1\n\n3\n",
        "Line 3 of .* is blank, and in a file of one column that may be a missing value",
    ),
    "decimal commas of one column": ("load\n1\n2,5\n3\n", "line 3 has 2 fields, expected 1"),
    "comma of thousands or decimals": (
        COMMAS.replace(",5;", ",500;"),
        r"such as '1,500' in column 'OT' .* decimal comma \(1\.500\) and .* thousands \(1500\)",
    ),
    "quoted thousands": (
        PLAIN.replace("1.5", '"1,500,000"'),
        "in column 'OT' of .* have a separator between thousands, the first '1,500,000' in row 0",
    ),
    "thousands and decimals": (PLAIN.replace("1.5", '"1,500.5"'), "separator between thousands"),
    "German thousands": (COMMAS.replace("1,5", "1.001,5"), "thousands, the first '1.001,5' in"),
    "spaces between thousands": (COMMAS.replace("1,5", "1\u00a0001,5"), "between thousands, the"),
    "commas and points": (
        COMMAS.replace("3;", "3.5;").replace("2;", "4.5;").replace(";3\n", ";3.5\n"),
        r"decimal comma and others with a point: column 'HUFL' has '3\.5' in row 1",
    ),
    "commas and points in one column": (
        COMMAS.replace("2,5", "2.5"),
        r"in column 'OT' of .* have a comma, but others a point \('2\.5'\), the first '1,5' in row",
    ),
    "dates of several forms": (
        PLAIN.replace("2024-01-14", "14.01.2024"),
        r"column 'date' of .* 1 value cannot be read as one, the first '14\.01\.2024' in row 1",
    ),
    "day or month first, both even": (
        "date,a\n01/01/2024,1\n02/01/2024,2\n03/01/2024,3\n04/01/2024,3\n",
        "Dates such as '01/01/2024' in column 'date' of .* make sense with the day first and with",
    ),
    "day or month first, neither even": (
        "date,a\n01/02/2024,1\n02/02/2024,2\n11/02/2024,3\n12/02/2024,3\n",
        "Dates such as '01/02/2024' in column 'date' of .* make sense with the day first and with",
    ),
    "day or month first, two rows": (
        "date,a\n01/02/2024,1\n02/02/2024,2\n",
        "Dates such as '01/02/2024' in column 'date'",
    ),
    "two columns of time": ("date,time,a\n2024-01-13,2024-01-14,1\n", "2 columns of X could be"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_mean_nothing_or_several_things_are_refused(tmp_path, name):
    content, message = REFUSED[name]
    with pytest.raises(TitansError, match=message) as caught:
        read(tmp_path, content)
    said = str(caught.value)
    assert isinstance(caught.value, (DataError, DataFileError))
    assert "\n" not in said
    assert said.endswith(".")
    assert "titans_ts" in caught.traceback[-1].path.parts


@pytest.mark.parametrize(
    "name", ["Windows-1252", "open quotation", "German thousands", "short line"]
)
def test_the_command_line_says_the_same_sentence(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content, message = REFUSED[name]
    (tmp_path / "load.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    result = run("forecast", "load.csv", "--horizon=2")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    with pytest.raises(TitansError, match=message):
        read_csv("load.csv")


# -- row numbers -----------------------------------------------------------------------------------


def numbered(text, name=""):
    """The rows below a column of their numbers, as DataFrame.to_csv writes it."""
    head, *rows = text.splitlines()
    rows = [f"{i},{row}" for i, row in enumerate(rows)]
    return "\n".join([f"{name},{head}", *rows, ""])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(numbered(PLAIN), id="once"),
        pytest.param(numbered(PLAIN, "Unnamed: 0"), id="named by pandas"),
        pytest.param(numbered(numbered(PLAIN, "Unnamed: 0")), id="written twice"),
        pytest.param(
            numbered(numbered(numbered(PLAIN, "Unnamed: 0"), "Unnamed: 0.1")), id="three times"
        ),
    ],
)
def test_row_numbers_beside_a_time_are_left_out(text, tmp_path):
    pd.testing.assert_frame_equal(read(tmp_path, text), FRAME, check_index_type=False)
    named = read(tmp_path, text, time_column="date")
    pd.testing.assert_frame_equal(named, FRAME, check_index_type=False)


def test_row_numbers_without_a_time_number_the_rows(tmp_path):
    found = read(tmp_path, ",OT\n0,1.5\n1,2.5\n2,4.5\n")
    assert found.index.tolist() == [0, 1, 2]
    assert found.index.name is None
    assert list(found.columns) == ["OT"]


def test_other_numbers_without_a_name_stay(tmp_path):
    head, *rows = PLAIN.splitlines()
    text = "\n".join([f",{head}", *(f"{i},{row}" for i, row in zip((0, 2, 1), rows, strict=True))])
    assert read(tmp_path, text)["Unnamed: 0"].tolist() == [0, 2, 1]


def test_a_time_without_a_name_may_be_asked_for_by_one(tmp_path):
    text = PLAIN.replace("date,", ",", 1)
    expected = read(tmp_path, text)
    assert expected.index.name is None
    asked = read(tmp_path, text, time_column="when", nameless="when")
    pd.testing.assert_frame_equal(asked, expected)
    with pytest.raises(DataError, match="time_column='then' names no column"):
        read(tmp_path, text, time_column="then", nameless="when")
    named = read(tmp_path, PLAIN, time_column="date", nameless="date")
    pd.testing.assert_frame_equal(named, FRAME, check_index_type=False)
