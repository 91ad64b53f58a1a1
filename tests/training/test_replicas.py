from __future__ import annotations

import json

import pytest

import embedcli
from embedcli.errors import ConfigError, CorpusError, StoreError
from embedcli.text import encode
from embedcli.training.run import Replica, Stopped

TEXT = "".join(f"w{n % 7} w{n % 5} w{n * n % 11} and w{n % 13} more\n" for n in range(300))
SETTINGS = {"dim": 4, "epochs": 3, "batch_size": 16, "group": 4, "seed": 5}


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def replicas(corpus, tmp_path):
    def go(out="m", number=3, text=corpus, **other):
        if not other.get("resume"):
            other = {**SETTINGS, **other}
        return embedcli.train_replicas(text, tmp_path / out, number, **other)

    return go


def digests(trained):
    return [each.digest for each in trained]


def test_each_replica_is_the_model_of_its_seed(replicas, corpus, tmp_path):
    several = replicas()
    assert [each.folder.name for each in several] == ["1", "2", "3"]
    assert [each.settings.seed for each in several] == [5, 6, 7]
    alone = [
        embedcli.train(corpus, tmp_path / f"alone{n}", **{**SETTINGS, "seed": 5 + n})
        for n in range(3)
    ]
    assert digests(several) == digests(alone)
    assert len(set(digests(several))) == 3


def test_the_text_is_encoded_once(replicas, monkeypatch):
    calls = []
    inside = encode._encode
    monkeypatch.setattr(encode, "_encode", lambda *a: calls.append(a) or inside(*a))
    replicas(cache=False, resample=True)
    assert len(calls) == 1


@pytest.mark.parametrize("resample", [False, True])
def test_any_workers_cache_or_stop_give_the_same_bytes(replicas, tmp_path, resample):
    whole = digests(replicas("whole", resample=resample, workers=1))
    assert len(set(whole)) == 3
    assert digests(replicas("two", resample=resample, workers=2, cache=False)) == whole
    steps = iter(range(10_000))
    with pytest.raises(Stopped) as stopped:
        replicas("stopped", resample=resample, stop=lambda: next(steps) == 120)
    assert stopped.value.folder == tmp_path / "stopped"
    assert (tmp_path / "stopped/1/manifest.json").exists()
    assert not (tmp_path / "stopped/3/manifest.json").exists()
    begun = []
    events = lambda event: begun.append(event) if isinstance(event, Replica) else None  # noqa: E731
    assert digests(replicas("stopped", None, None, resume=True, report=events)) == whole
    assert [each.number for each in begun] == [2, 3]


def test_resampled_replicas_have_the_words_of_the_whole_text(replicas):
    one, two, _ = replicas(resample=True)
    assert list(one.table.vocabulary) == list(two.table.vocabulary)
    assert (one.table.vocabulary.counts != two.table.vocabulary.counts).any()
    assert embedcli.describe(one.folder).settings.resample


def test_replicas_are_added(replicas, tmp_path):
    before = digests(replicas(number=2))
    after = digests(replicas(number=4, resume=True))
    assert after[:2] == before and len(set(after)) == 4
    assert digests(replicas(number=None, resume=True)) == after
    assert json.loads((tmp_path / "m/replicas.json").read_text())["replicas"] == 4


def test_labelled_text_is_resampled(tmp_path):
    (tmp_path / "text.txt").write_text(
        "".join(f"__label__{n % 2} w{n % 2} and w{n % 9}\n" for n in range(60))
    )
    done = embedcli.train_replicas(
        tmp_path / "text.txt", tmp_path / "m", 2, task="classify", resample=True, dim=4, epochs=2
    )
    assert done[0].digest != done[1].digest
    with pytest.raises(ConfigError, match="both sides"):
        embedcli.train(
            tmp_path / "text.txt", tmp_path / "n", task="classify", resample=True, valid_share=0.2
        )


def test_what_is_in_the_way_is_left_as_it_is(replicas, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m/mine").write_text("kept")
    with pytest.raises(StoreError, match="not empty"):
        replicas()
    assert (tmp_path / "m/mine").read_text() == "kept"
    replicas("n", 1)
    with pytest.raises(StoreError, match="not a model folder, and not empty"):
        embedcli.train(tmp_path / "corpus.txt", tmp_path / "n", **SETTINGS)
    with pytest.raises(StoreError, match="no replicas to go on with"):
        replicas("nowhere", resume=True)
    for number in (0, 1001):
        with pytest.raises(ConfigError, match="replicas"):
            replicas("o", number)


def test_resume_refuses_another_text_or_other_settings(replicas, corpus):
    replicas(number=1)
    with pytest.raises(ConfigError, match="dim"):
        replicas(number=2, resume=True, dim=9)
    corpus.write_text(TEXT + "more words\n")
    with pytest.raises(CorpusError, match="not the text"):
        replicas(number=2, resume=True)


@pytest.mark.parametrize(
    "damage", ["", "[]", '{"replicas": 3}', "{", '{"embed": "0.1.0"}', "\x00" * 9]
)
def test_a_damaged_plan_is_an_error(replicas, tmp_path, damage):
    replicas(number=1)
    (tmp_path / "m/replicas.json").write_text(damage)
    with pytest.raises(StoreError, match=r"replicas\.json"):
        replicas(number=2, resume=True)


def test_a_plan_of_harmful_numbers_is_an_error(replicas, tmp_path):
    replicas(number=1)
    plan = tmp_path / "m/replicas.json"
    for key, value in (("replicas", 10**9), ("settings", {"dim": "x"}), ("text", {})):
        kept = plan.read_text()
        plan.write_text(json.dumps({**json.loads(kept), key: value}))
        with pytest.raises(StoreError, match="damaged"):
            replicas(number=2, resume=True)
        plan.write_text(kept)
