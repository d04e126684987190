"""`reelstore evaluate` on files, from the shell."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import reelstore
from reelstore.cli import main
from reelstore.evaluation import evaluate


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    video = generator.normal(size=(20, 8)).astype(np.float16)
    owner = generator.integers(20, size=50)
    text = (video[owner] + generator.normal(size=(50, 8))).astype(np.float16)
    np.save("t.npy", text)
    np.save("v.npy", video)
    lines = ["caption,video"] + [f"{row},{of}" for row, of in enumerate(owner)]
    Path("pairs.csv").write_text("\n".join(lines) + "\n")
    return text, video, owner


def invoke(*words: str):
    return CliRunner().invoke(main, ["evaluate", *words])


FILES = ["--text", "t.npy", "--video", "v.npy", "--keys", "pairs.csv"]


def test_two_files_and_a_table_give_what_evaluate_gives(files):
    done = invoke(*FILES, "--output", "found")
    assert done.exit_code == 0, done.output
    metrics = evaluate(**dict(zip(("text", "video", "video_of_caption"), files, strict=True))).metrics
    written = json.loads(Path("found/metrics.json").read_text())
    assert written["t2v"] == {name: pytest.approx(value, abs=1e-6) for name, value in metrics["t2v"].items()}
    assert f"R@01       {metrics['t2v']['R@01']:9.4f}" in done.output
    assert Path("found/queries.parquet").is_file()
    again = CliRunner().invoke(main, ["compare", "found", "found"])
    assert again.exit_code == 0 and "+0.0000" in again.output


def test_a_caption_with_several_videos_has_several_lines(files):
    with open("pairs.csv", "a") as table:
        table.write(f"0,{(files[2][0] + 1) % 20}\n")
    done = invoke(*FILES, "-k", "3")
    assert done.exit_code == 0 and "hit@03" in done.output and "recall@03" in done.output


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("caption,video\n0,99\n", "line 2: video 99, but its rows are 0 to 19"),
        ("caption,video\nx,0\n", "caption must be row numbers"),
        ("caption,video\n0,0,\n", "line 2: 3 cells for 2 columns. It ends in a comma"),
        ("caption,Video\n0,0\n", "columns caption and video. It has: caption, Video"),
        ("Video_ID\na\n", "has a column 'Video_ID', which isn't read as 'video_id'"),
        ("a,b\n0,0\n", "columns caption and video"),
        ("video_id\na\n", "pairs.csv has 1 lines, there are 50 rows of captions"),
        ("video_id\n" + "a\n" * 50, "names 1 videos, there are 20 rows of videos"),
        ("video_id,video_row\n" + "a,3\n" * 50, "0 videos are row 0 of the videos"),
    ],
)
def test_a_table_that_does_not_fit_is_an_error_that_says_where(files, table, says):
    Path("pairs.csv").write_text(table)
    done = invoke(*FILES)
    assert done.exit_code == 1 and says in done.output


def test_half_of_the_options_is_a_usage_error(files):
    assert invoke("--text", "t.npy").exit_code == 2
    assert invoke("one", "two").exit_code == 2


def test_pickles_are_refused(files):
    np.save("t.npy", np.array([{}], dtype=object), allow_pickle=True)
    done = invoke(*FILES)
    assert done.exit_code == 1 and "t.npy holds Python objects" in done.output


@pytest.fixture
def by_id(files):
    """The same pairs by id: videos shuffled among the lines, and where each one is."""
    text, video, owner = files
    missing = sorted(set(range(20)) - set(owner.tolist()))
    rows = [row for row in range(20) if row not in missing]
    np.save("v.npy", video[rows])
    lines = ["video_id,video_row,split,caption"] + [f"clip{of},{rows.index(of)},test,a text" for of in owner]
    Path("pairs.csv").write_text("\n".join(lines) + "\n")
    return text, video[rows], np.array([rows.index(of) for of in owner])


def test_ids_give_what_row_numbers_give(by_id):
    done = invoke(*FILES, "--output", "found")
    assert done.exit_code == 0, done.output
    written = json.loads(Path("found/metrics.json").read_text())
    expected = evaluate(**dict(zip(("text", "video", "video_of_caption"), by_id, strict=True))).metrics["t2v"]
    assert written["t2v"] == {name: pytest.approx(value, abs=1e-6) for name, value in expected.items()}
    queries = pq.read_table("found/queries.parquet").to_pylist()
    lines = Path("pairs.csv").read_text().splitlines()[1:]
    assert {query["video_id"] for query in queries} == {line.split(",")[0] for line in lines}


def test_blanks_in_the_header_and_a_mark_change_nothing(by_id):
    expected = invoke(*FILES)
    lines = Path("pairs.csv").read_text().splitlines()
    lines[0] = lines[0].replace(",", " , ")
    Path("pairs.csv").write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    assert invoke(*FILES).output == expected.output and "R@01" in expected.output


def test_a_line_may_list_the_captions_of_a_video(by_id):
    expected = invoke(*FILES)
    lines = Path("pairs.csv").read_text().splitlines()
    names = lines[0].split(",")
    rows = [dict(zip(names, line.split(","), strict=True)) for line in lines[1:]]
    order = [row["video_id"] for row in rows]
    place = {video_id: n for n, video_id in enumerate(dict.fromkeys(order))}
    np.save("t.npy", np.load("t.npy")[sorted(range(len(order)), key=lambda row: place[order[row]])])
    listed = [{**rows[order.index(one)], "caption": [f"{one} {n}" for n in range(order.count(one))]} for one in place]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in listed))
    done = invoke(*FILES[:-1], "pairs.jsonl")
    assert done.exit_code == 0, done.output
    metrics = [line for line in expected.output.splitlines() if line.startswith(("R@01", "MRR"))]
    assert metrics and [line for line in done.output.splitlines() if line.startswith(("R@01", "MRR"))] == metrics


@pytest.mark.parametrize("kind", ["files", "by_id"])
def test_one_command_makes_a_store_and_the_same_metrics_without_a_project(kind, request):
    request.getfixturevalue(kind)
    plain = invoke(*FILES)
    done = invoke(*FILES, "--store", "store/mine")
    assert done.exit_code == 0, done.output
    measured = plain.stdout.splitlines()
    assert measured == done.stdout.splitlines()[-len(measured) :]
    assert "store/mine/text/imported/embedding: 50 rows, 50 of them new" in done.output
    again = invoke("--store", "store/mine", "--output", "found")
    assert again.exit_code == 0 and again.stdout.splitlines()[3:-2] == measured
    rows = reelstore.open("store/mine")["text/imported/embedding"]
    assert np.array_equal(rows.array(), np.load("t.npy"))
    assert not Path("params.yaml").exists() and not Path("runs").exists()
    for words in (["ls"], ["info", "store/mine/video/imported/embedding"], ["verify"], ["compare", "found", "found"]):
        assert CliRunner().invoke(main, words).exit_code == 0, words


def test_a_caption_of_several_videos_can_t_be_stored_but_measured(files):
    with open("pairs.csv", "a") as table:
        table.write(f"0,{(files[2][0] + 1) % 20}\n")
    done = invoke(*FILES, "--store", "store/mine")
    assert done.exit_code == 1 and "caption 0 has several videos" in done.output and not Path("store").exists()


def test_a_store_with_several_variants_or_splits_wants_one_named(by_id):
    lines = Path("pairs.csv").read_text().replace(",test,", ",train,").splitlines()
    lines = [line.replace(",train,", ",test,") if line.startswith("clip17,") else line for line in lines]
    Path("pairs.csv").write_text("\n".join(lines) + "\n")
    done = invoke(*FILES, "--store", "store/mine", "--encoder", "one")
    assert done.exit_code == 1 and "has the splits test (5), train (45). Name one with --split" in done.output
    assert invoke(*FILES, "--store", "store/mine", "--encoder", "two", "--split", "train").exit_code == 0
    assert "one/embedding, two/embedding. Name one" in invoke("--store", "store/mine", "--split", "train").output
    named = ["--video", "one/embedding", "--text", "two/embedding", "--split", "test"]
    done = invoke("--store", "store/mine", *named)
    assert done.exit_code == 0 and "1 videos" in done.output


def test_imported_tokens_are_pooled_and_measured_without_a_project(files):
    for side, names in (("video", ["a", "b"]), ("text", ["a-1", "b-1"])):
        Path(side).mkdir()
        for number, name in enumerate(names):
            np.save(Path(side, name), np.eye(2, 8, k=3 * number, dtype="f4"))
        assert CliRunner().invoke(main, ["import", "npy", side, f"store/mine/{side}/x"]).exit_code == 0
    done = invoke("--store", "store/mine", "--video", "x/tokens")
    assert "holds tokens. Pool them: reelstore pool video/x --store store/mine" in done.output
    for side in ("video", "text"):
        assert CliRunner().invoke(main, ["pool", f"{side}/x", "--store", "store/mine"]).exit_code == 0
    done = invoke("--store", "store/mine", "--video", "x/mean", "--text", "x/max")
    assert done.exit_code == 0 and "R@01          1.0000" in done.output
    assert CliRunner().invoke(main, ["verify", "--all-rows"]).exit_code == 0


OUTPUTS = ["metrics.json", "t2v_recall.csv", "v2t_recall.csv", "queries.parquet"]


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("store", [False, True], ids=["files", "store"])
def test_results_replace_nothing_but_results(by_id, name, store):
    words = [*FILES, "--output", "found"]
    if store:
        assert invoke(*FILES, "--store", "store/mine").exit_code == 0
        words = ["--store", "store/mine", "--output", "found"]
    for _ in range(2):  # an earlier result is replaced
        assert invoke(*words).exit_code == 0
    assert sorted(path.name for path in Path("found").iterdir()) == sorted(OUTPUTS)
    Path("found", name).write_text('{"mine": 1}')
    before = {path.name: path.read_bytes() for path in Path("found").iterdir()}
    done = invoke(*words)
    assert done.exit_code == 1 and f"found/{name} isn't of an evaluation" in done.output
    Path("found", name).unlink()
    Path("found", name).symlink_to("nowhere")
    assert invoke(*words).exit_code == 1
    assert {path.name: path.read_bytes() for path in Path("found").iterdir() if path.name != name} == {
        other: content for other, content in before.items() if other != name
    }


def test_results_replace_no_input_and_go_into_no_store(by_id):
    assert invoke(*FILES, "--store", "store/mine", "--output", "found").exit_code == 0
    keys = Path("found/queries.parquet").read_bytes()
    done = invoke(*FILES[:4], "--keys", "found/queries.parquet", "--output", "found")
    assert done.exit_code == 1 and "found/queries.parquet is an input" in done.output
    assert Path("found/queries.parquet").read_bytes() == keys
    Path("way").symlink_to("store/mine/text")
    for folder in ("store/mine", "store/mine/text/imported/embedding", "store/mine/new", "way/new"):
        done = invoke("--store", "store/mine", "--output", folder)
        assert done.exit_code == 1 and "is in the store" in done.output
    assert not list(Path("store").rglob("metrics.json"))


@pytest.mark.parametrize("shape", [(), (50,), (50, 2, 4)])
@pytest.mark.parametrize("store", [[], ["--store", "store/mine"]], ids=["files", "store"])
def test_arrays_of_another_form_are_refused(files, shape, store):
    np.save("t.npy", np.ones(shape, np.float32))
    done = invoke(*FILES, *store)
    assert done.exit_code == 1 and f"t.npy has shape {shape}; (n, dim) is expected" in done.output
    assert not Path("store").exists()


def test_an_import_that_fails_leaves_nothing_beside_the_store(files, monkeypatch):
    Path("here").mkdir()
    for name in ("t.npy", "v.npy", "pairs.csv"):
        Path(name).rename(f"here/{name}")
    monkeypatch.chdir("here")
    before, outside = set(Path().iterdir()), set(Path("..").iterdir())
    full = OSError(28, "No space left on device")
    monkeypatch.setattr("reelstore.store.spool.Spool.append", lambda self, rows: (_ for _ in ()).throw(full))
    done = invoke(*FILES, "--store", "mine")
    assert done.exit_code == 1 and "the disk is full" in done.output
    assert set(Path().iterdir()) <= before | {Path("mine")} and not [p for p in Path("mine").rglob("*") if p.is_file()]
    assert set(Path("..").iterdir()) == outside


@pytest.mark.parametrize("option", ["--text", "--video", "--keys"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_isnt_a_regular_file_is_refused_at_once(files, option, kind):
    make = {"pipe": os.mkfifo, "device": lambda path: Path(path).symlink_to("/dev/zero"), "folder": os.mkdir}[kind]
    make("odd.csv")
    words = [*FILES]
    words[words.index(option) + 1] = "odd.csv"
    done = invoke(*words)
    assert done.exit_code == 1 and f"odd.csv is a {kind}; a regular file is expected" in done.output


@pytest.mark.parametrize("side", ["text", "video"])
def test_where_one_side_is_taken_neither_is_written(by_id, side):
    taken = Path("store/mine", side, "imported/embedding/thesis.tex")
    taken.parent.mkdir(parents=True)
    taken.write_text("years of work")
    done = invoke(*FILES, "--store", "store/mine")
    assert done.exit_code == 1 and "thesis.tex" in done.output
    assert [path for path in Path("store").rglob("*") if path.is_file()] == [taken]
