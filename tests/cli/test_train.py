from __future__ import annotations

import json
import os
import re
import signal

import numpy as np
import pytest

from embedcli.cli import progress

REVIEWS = """\
__label__good what a lovely warm film
__label__bad what a dull cold film
__label__good warm and lovely and bright
__label__bad cold and dull and grey
"""
FLAGS = ["--task", "classify", "--dim", "8", "--epochs", "3", "--quiet"]


@pytest.fixture
def reviews(tmp_path):
    (tmp_path / "reviews.txt").write_text(REVIEWS)


def test_train_says_where_the_table_is(embed, reviews, tmp_path):
    found = embed("train", "reviews.txt", "--task", "classify", "--dim", "8", "--epochs", "3")
    assert found.code == 0
    where, digest = found.out.splitlines()
    assert where == "embeddings/table.npy  10 × 8 float32"
    assert np.load(tmp_path / "embeddings/table.npy", allow_pickle=False).shape == (10, 8)
    manifest = json.loads((tmp_path / "embeddings/manifest.json").read_text())
    assert digest == f"sha256 {manifest['files']['table.npy']['sha256']}"
    assert "4 lines, 20 words, 10 of them different" in found.err
    assert "auto: min_count 1, " in found.err
    assert "multi_label false" in found.err
    assert "epoch 3/3  100%  loss 0." in found.err
    assert "try: embed lookup " in found.err


def test_quiet_prints_the_result_alone(embed, reviews):
    found = embed("train", "reviews.txt", *FLAGS)
    assert (found.code, found.err, len(found.out.splitlines())) == (0, "", 2)


def test_the_resolved_settings_are_saved_and_can_be_used_again(embed, reviews, tmp_path):
    one = embed("train", "reviews.txt", *FLAGS, "--seed", "3")
    saved = (tmp_path / "embeddings/config.yaml").read_text()
    assert "min_count: 1\n" in saved
    assert "multi_label: false\n" in saved
    assert "dim: 8\n" in saved
    again = embed(
        "train", "reviews.txt", "--config", "embeddings/config.yaml", "--out", "two", "--quiet"
    )
    assert again.out.splitlines()[1] == one.out.splitlines()[1]


def test_two_lines_train_the_questions_own_set_up(embed, tmp_path):
    (tmp_path / "two.txt").write_text(
        "__label__1 Hope to see you soon\n__label__0 Nice to see you again\n"
    )
    found = embed("train", "two.txt", "--config", "question", "--quiet")
    assert found.out.startswith("embeddings/table.npy  7 × 2 float32")


def test_training_from_stdin(embed, stdin, tmp_path):
    stdin(REVIEWS)
    assert embed("train", "-", *FLAGS, "--out", "m").code == 0
    assert (tmp_path / "m/table.npy").is_file()


def test_numbers_have_a_baseline_too(embed, tmp_path):
    (tmp_path / "numbers.txt").write_text("__label__1 one\n__label__9 nine\n")
    found = embed("train", "numbers.txt", "--task", "regress", "--epochs", "1", "--dim", "4")
    assert "baseline: the mean has a mean squared error of 16\n" in found.err


def test_validation_is_shown_and_logged(embed, reviews, tmp_path):
    argv = [flag for flag in FLAGS if flag != "--quiet"]
    found = embed("train", "reviews.txt", *argv, "--valid", "reviews.txt")
    assert "accuracy" in found.err
    likely = "baseline: the most frequent label is right for 50.0% of the texts\n"
    assert likely in found.err
    assert re.search(r"2 labels; the rarest, \w+, has \d+ texts\n", found.err)
    log = (tmp_path / "embeddings/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in log] == [1, 2, 3]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nowhere.txt"], "nowhere.txt"),
        ([""], "'': found no name; expected a file"),
        (["reviews.txt", "--config", "nowhere.yaml"], "nowhere.yaml: no such file or preset"),
        (["reviews.txt", "--config", "."], ".: not a file"),
        (["empty.txt"], "error: "),
        (["reviews.txt", "--freeze", "found"], "hint: --vectors FILE"),
        (["reviews.txt", "--out", "mine"], "mine: not a model folder"),
        (["reviews.txt", "--out", ""], "the current folder"),
        (["reviews.txt", "--out", "/"], "the current folder, or one above it"),
        (["reviews.txt", "--out", "loop"], "loop: cannot be written: Too many levels"),
        (["--resume", "--out", "nothing"], "nothing.checkpoint: no checkpoint"),
    ],
)
def test_what_cannot_be_trained_is_one_error(embed, reviews, tmp_path, argv, said):
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    found = embed("train", *FLAGS, *argv)
    assert (found.code, found.out) == (1, "")
    assert said in found.err
    assert found.err.count("error: ") == 1
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"
    assert not list(tmp_path.glob(".*"))
    assert not (tmp_path / "embeddings").exists()


def test_a_link_to_itself_is_refused_before_the_training(embed, reviews, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    found = embed("train", "reviews.txt", "--task", "classify", "--out", "loop")
    assert found.err == "error: loop: cannot be written: Too many levels of symbolic links\n"


def test_vectors_of_others_to_start_from(embed, reviews, tmp_path):
    (tmp_path / "v.txt").write_text("2 2\nlovely 1 2\ncold -1 -2\n")
    argv = ["train", "reviews.txt", "--task", "classify", "--vectors", "v.txt"]
    found = embed(*argv, "--dim", "2", "--freeze", "found")
    assert "vectors: 2 of 10 words found" in found.err
    shown = json.loads(embed("lookup", "lovely", "cold", "--format", "json").out)
    assert [record["vector"] for record in shown] == [[1, 2], [-1, -2]]
    wrong = embed(*argv, "--dim", "3")
    assert wrong.code == 1
    assert "hint: --dim 2" in wrong.err


def test_a_rate_too_large_is_an_error_that_keeps_the_last_good_state(embed, tmp_path):
    (tmp_path / "numbers.txt").write_text("__label__1 one\n__label__2 one two\n__label__9 nine\n")
    argv = ["train", "numbers.txt", "--task", "regress", "--optimizer", "sgd", "--quiet"]
    found = embed(*argv, "--lr", "1e9", "--epochs", "99", "--dim", "4")
    assert (found.code, found.out) == (1, "")
    assert "step " in found.err
    assert "at rate 9.8e+08" in found.err
    assert "hint: Take a smaller rate: --lr 1e+08" in found.err
    table = np.load(tmp_path / "embeddings/table.npy", allow_pickle=False)
    assert table.shape == (3, 4)
    assert np.isfinite(table).all()


LONG = ["--task", "classify", "--dim", "8", "--epochs", "40", "--batch-size", "1", "--quiet"]


@pytest.fixture
def stop_at(monkeypatch):
    """Send this process a signal when training has done so many steps."""
    from embedcli.training.loop import Training

    whole = Training.steps

    def arm(number: int, sent: int) -> None:
        def steps(training, *engine):
            for step in whole(training, *engine):
                if step.number == number:
                    os.kill(os.getpid(), sent)
                yield step

        monkeypatch.setattr(Training, "steps", steps)

    yield arm


@pytest.mark.parametrize(
    ("sent", "code", "how"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "hung up"),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_bytes(
    embed, reviews, tmp_path, stop_at, sent, code, how
):
    unbroken = embed("train", "reviews.txt", *LONG, "--out", "unbroken")
    stop_at(70, sent)
    stopped = embed("train", "reviews.txt", *LONG, "--out", "m")
    assert (stopped.code, stopped.out) == (code, "")
    assert stopped.err == (
        f"error: {how} at step 70 of 160; the run is kept\nhint: embed train --resume --out m\n"
    )
    assert not (tmp_path / "m").exists()

    again = embed("train", "reviews.txt", *LONG, "--out", "m")
    assert again.code == 1
    assert "--resume continues" in again.err
    other = embed("train", "--resume", "--out", "m", "--dim", "9")
    assert other.code == 1
    assert "the run to go on with has dim 8" in other.err

    stop_at(0, sent)
    resumed = embed("train", "--resume", "--out", "m")
    assert resumed.code == 0
    assert "resuming at step 70 of 160" in resumed.err
    assert resumed.out.splitlines()[1] == unbroken.out.splitlines()[1]
    assert not (tmp_path / "m.checkpoint").exists()
    assert embed("train", "--resume", "--out", "m").code == 1


def test_a_run_of_which_nobody_hears_any_more_is_kept(embed, reviews, monkeypatch):
    def closed(self, step):
        if step.number == 70:
            raise BrokenPipeError

    with monkeypatch.context() as patch:
        patch.setattr(progress.Progress, "step", closed)
        assert embed("train", "reviews.txt", *LONG[:-1], "--out", "m").code == 141
    resumed = embed("train", "--resume", "--out", "m")
    assert (resumed.code, "resuming at step 70 of 160" in resumed.err) == (0, True)


def test_a_run_does_not_go_on_with_another_text(embed, reviews, tmp_path, stop_at):
    stop_at(70, signal.SIGINT)
    embed("train", "reviews.txt", *LONG)
    (tmp_path / "reviews.txt").write_text(REVIEWS.replace("warm", "cool"))
    found = embed("train", "--resume")
    assert found.code == 1
    assert "not the text of the run to go on with" in found.err
    assert (tmp_path / "embeddings.checkpoint").exists()


def test_checkpoints_by_steps_change_nothing(embed, reviews, tmp_path):
    digests = [
        embed("train", "reviews.txt", *LONG, "--checkpoint-every", every).out.splitlines()[1]
        for every in ("7", "off")
    ]
    assert digests[0] == digests[1]
    assert not (tmp_path / "embeddings.checkpoint").exists()
    assert embed("train", "reviews.txt", "--checkpoint-every", "often").code == 2


@pytest.mark.parametrize("flag", ["--dim", "--hidden", "--length", "--tile", "--tile-negatives"])
def test_a_size_beyond_reason_is_misuse(embed, flag):
    found = embed("train", flag, "999999999999999999")
    assert found.code == 2
    assert flag in found.err
    assert "found 999999999999999999; expected a whole number" in found.err


def test_the_old_name_of_a_flag_is_misuse_that_names_the_new_one(embed):
    found = embed("train", "--tile-noise", "4")
    assert found.code == 2
    assert "hint: Did you mean --tile-negatives?" in found.err


def test_help_shows_the_defaults_of_a_task(embed):
    words = " ".join(embed("train", "--help").out.split())
    assert "by the number of labels. [default: 0.1]" in words
    assert "[default: damped_sgd]" in words
    assert "per batch. [default: 2048]" in words
    assert "--window N" in words
    assert "--pool" not in words
    texts = " ".join(embed("train", "--task", "classify", "--help").out.split())
    assert "by the number of labels. [default: auto]" in texts
    assert "--pool" in texts
    assert "--window N" not in texts


def test_a_flag_without_an_effect_is_an_error(embed, reviews, tmp_path):
    found = embed("train", "reviews.txt", "--task", "classify", "--window", "3")
    assert found.code == 1
    assert (
        "window: has no effect with task classify; it belongs to task skipgram, cbow," in found.err
    )
    assert not (tmp_path / "embeddings").exists()


def test_no_sample_for_regression_is_said_of_the_text(embed):
    found = embed("train", "--task", "regress")
    assert found.code == 1
    assert "sample.txt" in found.err


@pytest.mark.parametrize(("labels", "lr"), [(10, "0.08"), (11, "0.12"), (30, "0.12"), (31, "0.2")])
def test_the_rate_is_chosen_by_the_number_of_labels_and_reported(embed, tmp_path, labels, lr):
    lines = [f"__label__t{n} a text about thing{n}" for n in range(labels)] * 2
    (tmp_path / "topics.txt").write_text("\n".join(lines[1:]))
    found = embed("train", "topics.txt", "--task", "classify", "--epochs", "1", "--dim", "4")
    assert re.search(rf"auto: .*, lr {lr}$", found.err, re.MULTILINE)
    assert f"{labels} labels; the rarest, t0, has 1 text\n" in found.err
    assert f"lr: {lr}\n" in (tmp_path / "embeddings/config.yaml").read_text()


def test_replicas(embed, tmp_path):
    (tmp_path / "text.txt").write_text("a good day\na bad day\nno day\n" * 9)
    short = ("--dim", "4", "--epochs", "2")
    found = embed("train", "text.txt", *short, "--replicas", "2", "--resample", "--out", "m")
    assert found.code == 0, found.err
    lines = found.out.splitlines()
    assert lines[0] == "m/1/table.npy  5 × 4 float32" and lines[2].startswith("m/2/")
    assert "replica 2 of 2, seed 1" in found.err and found.err.count("27 lines") == 1
    more = embed("train", "--resume", "--replicas", "3", "--out", "m")
    assert more.out.splitlines()[:4] == lines
    assert "replica 3 of 3, seed 2" in more.err and "replica 1" not in more.err
    assert embed("train", "text.txt", "--replicas", "0", "--out", "n").code == 1


def test_columns_are_not_inherited_by_an_update_with_plain_text(embed, tmp_path):
    (tmp_path / "a.csv").write_text("stars,review\ngood,warm and lovely\nbad,cold and dull\n")
    (tmp_path / "b.csv").write_text("stars,review\ngood,bright\n")
    (tmp_path / "c.txt").write_text("__label__good bright\n")
    columns = ("--text-column", "review", "--label-column", "stars")
    found = embed("train", "a.csv", "--task", "classify", "-q", "--out", "m", *columns)
    assert found.code == 0
    for text in ("b.csv", "c.txt"):
        found = embed("train", text, "--update", "m", "-q", "--out", f"{text}.model")
        assert found.code == 0, found.err
