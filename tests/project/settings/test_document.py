"""params.yaml as a file: what can't be read, or can be read in two ways, is refused with its key and line."""

import os
import tracemalloc
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from reelstore.cli import main
from reelstore.errors import IrregularFileError, ParamsError, ReelstoreError
from reelstore.project.settings import load_params
from reelstore.project.settings.document import MAX_BYTES, parse_document


def nested(first: str, level: str) -> str:
    """Twelve levels, each of which repeats the one before nine times."""
    repeated = [", ".join([f"*l{n}"] * 9) for n in range(11)]
    return "\n".join([f"l0: &l0 {first}", *(f"l{n}: &l{n} {level % repeated[n - 1]}" for n in range(1, 12))])


LAUGHS, MERGED = nested("[a, a]", "[%s]"), nested("{a: 1}", "{<<: [%s]}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("embed: {workers: 1}\nembed: {workers: 2}", "line 2: embed: the key is there twice, on lines 1 and 2"),
        ("aligners:\n  a: {kind: mlp, lr: 1, lr: 2}", "line 2: aligners.a.lr: the key is there twice"),
        (
            "aligners:\n  a:\n    trainer:\n      devices: 1\n      devices: 2",
            "aligners.a.trainer.devices: .*lines 4 and 5",
        ),
        ("dataset: {name: 2020-13-45}", "line 1: dataset.name: YAML takes 2020-13-45 for a date"),
        ("dataset:\n  name: 2020-01-01", "line 2: dataset.name: YAML takes 2020-01-01 for a date"),
        ("dataset: {name: 2001-12-14t21:59:43.10-05:00}", "dataset.name: YAML takes .* for a date"),
        ("1: {}", "line 1: the key '1' isn't text"),
        ("pairs: {null: {}}", "line 1: pairs: the key 'null' isn't text"),
        ("pairs: {[a]: {}}", "pairs: the key a list or mapping isn't text"),
        ("pairs: {{a: b}: {}}", "pairs: the key a list or mapping isn't text"),
        ("pairs: {true: {}}", "pairs: the key 'true' isn't text"),
        ("pairs: {1e5: {}}", "pairs: the key '1e5' isn't text"),
        ("pairs: {2020-01-01: {}}", "isn't text"),
        ("embed: {workers: 010}", "embed.workers: '010' is one number to some YAML readers"),
        ("embed: {workers: 1_000}", "embed.workers: '1_000' is one number to some"),
        ("embed: {workers: 1:30}", "embed.workers: '1:30' is one number to some"),
        ("embed: {max_failures: 1:30.5}", "embed.max_failures: '1:30.5' is no finite decimal number"),
        ("embed: {max_failures: .nan}", "embed.max_failures: '.nan' is no finite"),
        ("embed: {max_failures: .inf}", "embed.max_failures: '.inf' is no finite"),
        ("embed: {max_failures: 1e400}", "embed.max_failures: '1e400' is no finite"),
        ("dataset: {still: yes}", "dataset.still: 'yes' is a truth value to some YAML readers"),
        ("dataset: {name: off}", "dataset.name: 'off' is a truth value to some"),
        ("embed: {workers: " + "9" * 5000 + "}", "embed.workers: a number of 5000 digits"),
        ("embed: {workers: !!int x}", "embed.workers: 'x' is one number to some"),
        ("embed: !!python/object/apply:os.system [id]", "embed: the tag .* isn't for settings"),
        ("embed: !!binary aGVsbG8=", "embed: the tag .*binary isn't for settings"),
        ("pairs: !!set {a, b}", "pairs: the tag .*set isn't for settings"),
        ("dataset: {name: !own x}", "dataset.name: the tag !own isn't for settings"),
        ('dataset: {source: "a\\0b"}', "dataset.source is or has .* character that isn't text"),
        ('dataset: {source: "\\ud800"}', "dataset.source is or has .* character that isn't text"),
        ("a: &a [*a]", "line 1: a: an alias repeats the very value that it is in"),
        ("a: &a {b: *a}", "a.b: an alias repeats the very value"),
        (LAUGHS, "with all that aliases repeat, it has more than 1,000,000 characters"),
        (MERGED, "with all that aliases repeat, it has more than"),
        ("a: " + "[" * 40 + "]" * 40, "nested in more than 32 levels"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("a: [", "line 1, column 5, isn't valid YAML: .*"),
        ("a: 1\n\tb: 2", "line 2, column 1, isn't valid YAML"),
        ("a: *b", "isn't valid YAML: found undefined alias"),
        ("a: 1\n---\nb: 1", "line 2, column 1, isn't valid YAML: expected a single document"),
        ("a: \x07", "isn't valid YAML: the character U[+]0007"),
        ("<<: 1", "`<<` takes mappings"),
        ("- 1", "must be a mapping, not"),
        ("text", "must be a mapping, not"),
        ("0", "must be a mapping, not 0"),
        ("false", "must be a mapping, not False"),
    ],
    ids=lambda text: text[:40],
)
def test_text_that_cannot_be_settings_is_refused_with_its_place(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError, match=words) as caught:
        load_params(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"dataset: {name: caf\xe9}\n", "line 1: the byte 0xe9 isn't UTF-8"),
        (
            "dataset: {}\n".encode("utf-16"),
            "isn't UTF-8. .*: iconv -f UTF-16 -t UTF-8 params.yaml",
        ),
        ("dataset: {}\n".encode("utf-16-be"), "it holds a NUL. .* iconv -f UTF-16BE"),
        (b"a: 1\n" * MAX_BYTES, "at most 250000 are expected"),
        (b"\x00\x00\x00", "line 1: it holds a NUL"),
    ],
    ids=["latin-1", "utf-16", "utf-16-be", "huge", "zeros"],
)
def test_bytes_that_are_no_settings_are_refused(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(ParamsError, match=words):
        load_params(tmp_path / "params.yaml")


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    "make", [make_pipe, Path.mkdir, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to(path)],
    ids=["pipe", "folder", "device", "loop"],
)  # fmt: skip
@pytest.mark.parametrize("command", ["show", "preset apply report-01", "reproduce report"])
def test_what_is_no_file_is_a_line_and_no_wait(make, command, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "params.yaml")
    done = CliRunner().invoke(main, command.split())
    assert done.exit_code == 1 and "params.yaml" in done.output and "Traceback" not in done.output
    if not (tmp_path / "params.yaml").is_symlink():
        with pytest.raises(IrregularFileError):
            load_params(tmp_path / "params.yaml")


def test_unfolding_costs_no_memory() -> None:
    tracemalloc.start()
    with pytest.raises(ParamsError, match="aliases"):
        parse_document(LAUGHS, "params.yaml")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6


def test_a_mark_windows_line_ends_aliases_and_merges_are_read(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(
        b"\xef\xbb\xbfaligners:\r\n  a: &a {kind: mlp, lr: 1e-3, seed: 1}\r\n  b: {<<: *a, seed: 2}\r\n  c: *a\r\n"
    )
    params = load_params(path)
    assert params.aligners["b"] == {"kind": "mlp", "lr": 0.001, "seed": 2}
    assert params.aligners["c"] == params.aligners["a"]


def test_numbers_are_those_of_the_newer_yaml_too() -> None:
    values = parse_document("[1e-3, 1e12, 1.5, -0.5, 1.0e+3, .5, 0, -7, '010', 1e, e1, 09, '1:30']", "x").values
    assert values == [1e-3, 1e12, 1.5, -0.5, 1000.0, 0.5, 0, -7, "010", "1e", "e1", "09", "1:30"]


def test_a_wrong_value_has_its_line_and_dotted_key(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("# what\n\ngrid:\n  split: test\n  n_shuffles: 1e12\n")
    with pytest.raises(ParamsError, match=r"yaml, line 5: grid\.n_shuffles is 1000000000000\.0; a whole number"):
        load_params(path)


@pytest.mark.parametrize("text", [LAUGHS, "a: [", "embed: {workers: 0}", "dataset: {name: x, name: y}", "- 1"])
@pytest.mark.parametrize("command", ["preset apply report-01", "reproduce report --on llm-like", "show"])
def test_every_command_refuses_the_same_and_the_file_stays(command, text, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(text)
    done = CliRunner().invoke(main, command.split())
    assert done.exit_code == 1 and done.output.startswith("Error: params.yaml") and done.output.count("\n") == 1
    assert os.listdir() == ["params.yaml"] and Path("params.yaml").read_text() == text


def test_whatever_is_done_to_the_file_is_an_error_of_ours_or_params() -> None:
    """Characters of params.yaml replaced by others, and the file cut."""
    whole = (Path(__file__).parents[3] / "params.yaml").read_text()
    text = "\n".join(line for line in whole.splitlines() if line and not line.startswith("#"))
    from reelstore.project.settings import params_of

    for place in range(0, len(text), 23):
        for changed in (text[:place], *(text[:place] + one + text[place + 1 :] for one in "[{:&*!'\n\t0")):
            try:
                params_of(parse_document(changed, "x"), source="x")
            except ReelstoreError:
                pass
            except yaml.YAMLError as error:
                raise AssertionError(changed) from error
