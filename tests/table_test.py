"""Tables of features: what columns become, and what is wrong with them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from adap_tf.data import table
from adap_tf.data.problems import DataError, Problems

NAN = np.nan
CSV = """id,age,Label,smokes,split
a,20,1,true,train
b,60,0,false,train
c,30,,false,test
d,40,0,true,validation
"""


@pytest.fixture(params=["csv", "parquet"])
def save(request, tmp_path):
    """Writes columns as a file of either kind."""

    def write(**columns):
        found = pa.table(columns)
        path = tmp_path / f"t.{request.param}"
        pa.parquet.write_table(found, path) if request.param == "parquet" else pa.csv.write_csv(found, path)
        return path

    return write


def text(folder, content, name="t.csv"):
    (folder / name).write_text(content)
    return folder / name


def fails(match, path, labels=(), **options):
    with pytest.raises(DataError, match=match) as error:
        table.load(path, labels, **options)
    assert "\n" not in str(error.value)


def test_columns_become_features_labels_and_parts(tmp_path):
    parts = table.load(str(text(tmp_path, CSV)), [])
    train, validation, test = (parts[part] for part in ("train", "validation", "test"))
    assert train.image.dtype == np.float32
    np.testing.assert_array_equal(train.image, [[0, 1], [1, 0]])
    np.testing.assert_array_equal(validation.image, [[0.5, 1]])
    np.testing.assert_array_equal(test.image, [[0.25, 0]])
    np.testing.assert_array_equal(np.concatenate([part.label for part in parts.values()]), [[1], [0], [0], [NAN]])
    assert (train.tasks, train.kind, train.features.names) == (("Label",), None, ("age", "smokes"))
    np.testing.assert_array_equal(train.features.low, [20, 0])
    np.testing.assert_array_equal(train.features.high, [60, 1])
    np.testing.assert_array_equal(train.features.changeable, [1, 1])


def test_both_kinds_of_files(save):
    source = table.load(save(x=[0, 5, 10], y=[False, True, None]), [])["train"]
    np.testing.assert_array_equal(source.image, [[0], [0.5], [1]])
    np.testing.assert_array_equal(source.label, [[0], [1], [NAN]])


@pytest.mark.parametrize("label", [["owl", "cat", "owl"], [7, 3, 7]])
def test_classes(save, label):
    source = table.load(save(x=[0, 1, 2], kind=label), ["kind"])["train"]
    assert source.tasks == tuple(map(str, sorted(set(label))))
    assert source.kind.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(source.label, [[0, 1], [1, 0], [0, 1]])


def test_classes_of_categories(tmp_path):
    columns = {"x": [0, 1, 2], "y": pa.array(["owl", "cat", "owl"]).dictionary_encode()}
    pa.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert table.load(tmp_path / "t.parquet", [])["train"].tasks == ("cat", "owl")


def test_several_tasks(save):
    source = table.load(save(b=[0, 1, None], x=[1, 2, 3], a=[1.0, 0.0, 1.0]), ["a", "b"])["train"]
    assert (source.tasks, source.features.names) == (("a", "b"), ("x",))
    np.testing.assert_array_equal(source.label, [[1, 0], [0, 1], [1, NAN]])


def test_what_an_adversary_can_change(save):
    path = save(a=[1, 2], b=[1, 2], c=[1, 2], y=[0, 1])
    assert table.load(path, [], ["c", "a"])["train"].features.changeable.tolist() == [1, 0, 1]
    assert table.load(path, [], [])["train"].features.changeable.tolist() == [0, 0, 0]
    fails(r"--changeable names 'y'; there are a, b, c$", path, changeable=["y"])


def test_bounds(tmp_path, save):
    path = save(a=[1, 2, 3], b=[1, 2, 3], y=[0, 1, 1])
    bounds = text(tmp_path, '{"a": [-1, 7.0]}', "b.json")
    source = table.load(path, [], bounds=bounds)["train"]
    np.testing.assert_array_equal(source.image, [[0.25, 0], [0.375, 0.5], [0.5, 1]])
    assert (source.features.low.tolist(), source.features.high.tolist()) == ([-1, 1], [7, 3])
    text(tmp_path, '{"b": [0, 2]}', "b.json")
    fails(r"row 3, column 'b' is 3, out of its bounds \[0, 2\]; mend it, or leave", path, bounds=bounds)
    problems = Problems(skip=True)
    source = table.load(path, [], bounds=bounds, problems=problems)["train"]
    np.testing.assert_array_equal(source.image, [[0, 0.5], [1, 1]])  # a lies in [1, 2] without the third row
    assert len(problems.found) == 1


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ('{"y": [0, 1]}', r"b\.json names 'y'; there are a$"),
        ('{"a": [2, 1]}', r"b\.json: 'a' must have two numbers \[low, high\], not \[2, 1\]"),
        ('{"a": [0]}', r"must have two numbers"),
        ('{"a": [0, true]}', r"must have two numbers"),
        ('{"a": [0, NaN]}', r"must have two numbers"),
        ('{"a": "0,1"}', r"must have two numbers"),
        ("[0, 1]", r'must hold \{"column": \[low, high\]\}'),
        ("{", r"cannot be read: .*--bounds names a JSON file"),
        ("", r"cannot be read"),
    ],
)
def test_bounds_that_will_not_do(tmp_path, content, match):
    path = text(tmp_path, "a,y\n1,0\n1,1\n")
    fails(match, path, bounds=text(tmp_path, content, "b.json"))
    fails(r"gone\.json is missing", path, bounds=tmp_path / "gone.json")


def test_a_feature_that_is_the_same_everywhere_becomes_nothing(save):
    np.testing.assert_array_equal(table.load(save(a=[5, 5], y=[0, 1]), [])["train"].image, [[0], [0]])


def test_the_largest_and_the_smallest_numbers(save):
    most = np.finfo(float).max
    source = table.load(save(a=[-most, 0.0, most], b=[0.0, 1e-300, 2e-300], y=[0, 1, 1]), [])["train"]
    np.testing.assert_array_equal(source.image, [[0, 0], [0.5, 0.5], [1, 1]])


@pytest.mark.parametrize("bad", [None, NAN, np.inf, -np.inf])
def test_a_feature_that_is_no_number(save, bad):
    path = save(a=[1.0, 2.0, 9.0, 3.0], b=[0.0, 1.0, bad, 2.0], y=[0, 1, 1, 1])
    fails(r"t\.(csv|parquet): row 3, column 'b' is missing, NaN or infinite; mend it, or leave", path)
    problems = Problems(skip=True)
    source = table.load(path, [], problems=problems)["train"]
    np.testing.assert_array_equal(source.image, [[0, 0], [0.5, 0.5], [1, 1]])
    assert source.label.ravel().tolist() == [0, 1, 1]
    assert problems.found == [f"{path}: row 3, column 'b' is missing, NaN or infinite"]


def test_ids_are_no_features_and_are_unique(save):
    path = save(ID=["p", "q", "p", None, None, "p"], a=[1, 2, 9, 3, 3, 9], y=[0, 1, 0, 1, 1, 1])
    fails(r"row 3, column 'ID' has the p of an earlier row", path)
    problems = Problems(skip=True)
    source = table.load(path, [], problems=problems)["train"]
    assert source.image.ravel().tolist() == [0, 0.5, 1, 1]
    assert [each.rpartition(": ")[2].split(",")[0] for each in problems.found] == ["row 3", "row 6"]


def test_a_part_that_there_is_not(save):
    path = save(a=[1, 2, 3, 4], y=[0, 1, 1, 1], split=["train", "train", "dev", None])
    fails(r"row 3, column 'split' has 'dev'; write train, validation, test", path)
    problems = Problems(skip=True)
    parts = table.load(path, [], problems=problems)
    assert (list(parts), len(parts["train"]), len(problems.found)) == (["train"], 2, 2)
    fails(r"no row that can be used has split train", save(a=[1, 2], y=[0, 1], split=["test", "test"]))


def test_a_row_without_a_class(save):
    path = save(a=[1, 2, 3], y=["owl", None, "cat"])
    fails(r"row 2, column 'y' has no class", path)
    problems = Problems(skip=True)
    assert table.load(path, [], problems=problems)["train"].tasks == ("cat", "owl")
    assert len(problems.found) == 1


def test_a_row_with_several_faults_counts_once(save):
    path = save(id=[1, 2, 3, 3], a=[1.0, 2.0, 3.0, NAN], b=[0.0, 1.0, 2.0, NAN], y=["u", "v", "u", None])
    problems = Problems(skip=True)
    assert len(table.load(path, [], problems=problems)["train"]) == 3
    assert len(problems.found) == 1


@pytest.mark.parametrize(
    ("columns", "labels", "match"),
    [
        ({"a": [1, 2], "b": [0, 1]}, (), r"no column is called label; name those .* with --labels, of a, b$"),
        ({"a": [1, 2], "y": [0, 1], "Class": [0, 1]}, (), r"several columns could be the label; .* of a, y, Class$"),
        ({"a": [1, 2], "y": [0, 1]}, ("z",), r"--labels names 'z'; there are a, y$"),
        ({"id": [1, 2], "split": ["train", "test"], "y": [0, 1]}, (), r"no column of features beside id, split, y"),
        ({"a": ["u", "v"], "y": [0, 1]}, (), r"column 'a' is text; encode it as numbers, drop it, or name it in"),
        ({"a": pa.array([1, 2], pa.date32()), "y": [0, 1]}, (), r"column 'a' is date32\[day\]; encode"),
        ({"a": [None, None], "y": [0, 1]}, (), r"column 'a' is empty; drop it"),
        ({"a": [1, 2], "y": [0, 0]}, (), r"task 'y' has no positive \(1\)"),
        ({"a": [1, 2], "y": [1, 1]}, (), r"task 'y' has no negative \(0\)"),
        ({"a": [1, 2], "y": [None, None]}, (), r"task 'y' has no positive"),
        ({"a": [1, 2], "y": ["u", "u"]}, (), r"task 'u' has no negative"),
        ({"a": [1, 2], "y": [1, -1]}, (), r"label column 'y' has the value -1\.0; write 0 for a negative, not -1"),
        ({"a": [1, 2], "y": [1, 0.5]}, (), r"label column 'y' has the value 0\.5"),
        ({"a": [1, 2], "y": [1, np.inf]}, (), r"label column 'y' has the value inf"),
        ({"a": [1, 2], "y": [1, 0], "z": [0, 2]}, ("y", "z"), r"label column 'z' has the value 2\.0; write 0"),
        ({"a": [1, 2], "y": [1, 0], "z": ["u", "v"]}, ("y", "z"), r"label column 'z' has the value 'u'; write 0"),
        ({"a": pa.array([], pa.int8()), "y": pa.array([], pa.int8())}, (), r"has no rows; add some"),
        ({"": [0, 1], "a": [1, 2], "y": [0, 1]}, (), r"column 1 has no name; name it, or drop it"),
    ],
)
def test_columns_that_will_not_do(save, columns, labels, match):
    fails(match, save(**columns), labels)


def test_rows_that_will_not_do(save):
    fails(r"has no row that can be used", save(a=[np.inf, np.inf], y=[0, 1]), problems=Problems(skip=True))


def test_the_rows_that_pandas_counts_are_no_feature(tmp_path):
    pa.parquet.write_table(pa.table({"a": [1, 2], "y": [0, 1], "__index_level_0__": [0, 1]}), tmp_path / "t.parquet")
    assert table.load(tmp_path / "t.parquet", [])["train"].features.names == ("a",)


def test_files_that_will_not_do(tmp_path):
    fails(r"gone\.csv is missing, or no file", tmp_path / "gone.csv")
    fails(r"t\.xlsx is no table that can be read; name a file that ends in \.csv or \.parquet", tmp_path / "t.xlsx")
    fails(r"cannot be read: Empty CSV file; mend the file", text(tmp_path, ""))
    (tmp_path / "t.csv").write_bytes("größe,y\n1,0\n".encode("latin-1"))
    fails(r"t\.csv names columns in letters that are not UTF-8; save it as UTF-8", tmp_path / "t.csv")
    fails(r"cannot be read: .*Expected 2 columns, got 1", text(tmp_path, "a,y\n1,0\n1\n"))
    fails(r"has two columns 'a'; rename one", text(tmp_path, "a,a,y\n1,1,0\n1,1,1\n"))
    fails(r"t\.parquet cannot be read: ", text(tmp_path, "a,y\n1,0\n", "t.parquet"))
    fails(r"has no rows", text(tmp_path, "a,y\n"))
    (tmp_path / "t.csv").write_bytes(b"a,y\n1,\xff\n2,u\n")
    fails(r"column 'y' is binary; write it as UTF-8 text or numbers", tmp_path / "t.csv")
