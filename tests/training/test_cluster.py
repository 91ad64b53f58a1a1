"""The engine for Ray, on a cluster of three nodes on this machine: always the same table."""

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import embedcli
from embedcli.errors import ConfigError, EmbedError, TrainingError, WorkerError
from embedcli.text.encode import PlacedPart, encode
from embedcli.text.parts import Codes, PartIds
from embedcli.training import cluster as engine
from embedcli.training import reading, run
from embedcli.training.engines import Notice, Round
from embedcli.training.loop import Training
from embedcli.training.run import Stopped
from embedcli.training.shards import Plan
from tests.tasks.corpora import make_task
from tests.tasks.test_words import planted_lines

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'embedcli[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray

TEXT = "".join(
    f"__label__{number % 3} w{number % 7} w{number % 5} w{number * number % 11} and more\n"
    for number in range(120)
)
SETTINGS = {"dim": 5, "epochs": 6, "batch_size": 16, "group": 2, "shards": 4}
NODE = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
PATIENCE = 120.0  # seconds after which a condition is taken never to come


@pytest.fixture
def training(tmp_path):
    """A run of two shards in this process."""
    return make_training(tmp_path)


def make_training(folder):
    task = make_task(
        folder, planted_lines(120, 1), task="skipgram", optimizer="adagrad", epochs=3, shards=2,
        batch_size=16, tile=16, tile_negatives=8, group=2,
    )  # fmt: skip
    return Training(task, task.settings, plan=Plan(task.batches, task.settings.epochs, 2, 2, 4))


def shipment(of):
    return engine.Shipment(of.task, of.settings, of.plan, dict(of.frozen), of.state)


@pytest.fixture(scope="module")
def nodes():
    """A cluster of one node; more can be added."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args=dict(NODE))
    ray.init(address=found.address, log_to_driver=False)
    yield found
    ray.shutdown()
    found.shutdown()


@pytest.fixture
def train(tmp_path, monkeypatch):
    (tmp_path / "corpus.txt").write_text(TEXT)
    monkeypatch.setattr(reading, "SMALLEST", 300)

    def go(out="m", **other):
        settings = {} if other.get("resume") else SETTINGS
        return embedcli.train(tmp_path / "corpus.txt", tmp_path / out, **{**settings, **other})

    return go


@pytest.fixture
def at_round():
    """Return what calls a function after a round, and keeps all events."""

    def make(number, function):
        events = []

        def report(event):
            events.append(event)
            if isinstance(event, Round) and event.number == number:
                function()

        return events, report

    return make


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


def replicas():
    """Process ids of the actors that train."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::Replica"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def notices(events):
    return [event.text for event in events if isinstance(event, Notice)]


VARIANTS = {
    "skipgram": {"task": "skipgram"},
    "half": {"task": "cbow", "change_dtype": "float16"},
    "subwords": {"task": "skipgram", "min_n": 1, "max_n": 3},
    "classify": {"task": "classify", "batch_size": 2, "hidden": 3, "valid_share": 0.2},
    "regress": {"task": "regress", "batch_size": 2, "word_ngrams": 2},
}


def test_any_number_of_machines_gives_the_same_bytes(nodes, train, monkeypatch):
    local = {name: train(f"{name}-local", **each).digest for name, each in VARIANTS.items()}
    monkeypatch.setattr(run, "encode", lambda *_, **__: pytest.fail("the text was read here"))
    for machines, names in ((1, ["skipgram"]), (2, ["skipgram"]), (3, VARIANTS)):
        for name in names:
            events = []
            found = train(
                f"{name}-{machines}", engine="ray", report=events.append, **VARIANTS[name]
            )
            assert found.digest == local[name]
            rounds = [event for event in events if isinstance(event, Round)]
            assert [len(each.machines) for each in rounds] == [machines] * len(rounds)
            assert all(sum(one.shards for one in each.machines) == 4 for each in rounds)
            assert all(one.sent > 0 for each in rounds for one in each.machines)
        if machines < 3:
            nodes.add_node(**{**NODE, "num_cpus": machines})
    counts = [
        (found.folder.parent / f"classify-{which}/trained.npy").read_bytes()
        for which in ("local", "3")
    ]
    assert counts[0] == counts[1]


def test_a_node_that_is_lost_costs_its_round(nodes, train, at_round):
    node = nodes.add_node(**NODE)
    events, report = at_round(5, lambda: nodes.remove_node(node))
    found = train(engine="ray", report=report)
    assert found.digest == train("local").digest
    assert any("is lost" in text for text in notices(events))


def test_a_process_that_is_killed_costs_its_round(nodes, train, at_round):
    nodes.add_node(**NODE)
    events, report = at_round(5, lambda: os.kill(replicas()[0], signal.SIGKILL))
    found = train(engine="ray", report=report)
    assert found.digest == train("local").digest
    assert any("training it again" in text for text in notices(events))


def test_a_node_that_joins_takes_part(nodes, train, at_round, monkeypatch):
    monkeypatch.setattr(engine, "LOOK_FOR_MACHINES", 0.0)
    lost = nodes.add_node(**NODE)

    def exchange():
        nodes.remove_node(lost)  # with the ids of what it read, which the new one needs
        nodes.add_node(**NODE)

    events, report = at_round(3, exchange)
    with pytest.raises(Stopped):
        train(
            engine="ray",
            epochs=500,
            report=report,
            stop=lambda: any("takes part" in text for text in notices(events)),
        )
    assert train(resume=True).digest == train("local", epochs=500).digest


def test_a_run_whose_driver_is_killed_goes_on(nodes, train, tmp_path):
    (tmp_path / "corpus.txt").write_text(TEXT)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    command = [sys.executable, "-m", "embedcli", "train", "corpus.txt", "--out=m", *flags]
    command += ["--checkpoint-every=4", "--engine=ray", f"--address={nodes.address}"]
    driver = subprocess.Popen([*command, "--report=r.jsonl", "--quiet"], cwd=tmp_path)
    lines = tmp_path / "r.jsonl"
    wait_for(lambda: lines.exists() and lines.read_text().count("\n") > 9)
    driver.kill()
    driver.wait()
    assert not (tmp_path / "m").exists()
    wait_for(lambda: not replicas())
    assert train(resume=True, engine="ray").digest == train("local").digest


def test_machines_that_may_give_other_bytes_are_refused_or_noted(nodes, train, monkeypatch):
    here = engine.environment()
    monkeypatch.setattr(engine, "environment", lambda: {**here, "kernel": "another"})
    with pytest.raises(ConfigError, match=f"kernel {here['kernel']}, which may give") as refused:
        train(engine="ray")
    assert refused.value.hint == "--mixed allows it"
    train(engine="ray", mixed=True)
    manifest = (Path(train("local").folder).parent / "m/manifest.json").read_text()
    assert f"kernel {here['kernel']}" in manifest


def test_the_error_of_a_replica_names_the_step_of_the_run(training):
    replica = engine.Replica(shipment(training), 0, 1)
    gradients = training.task.gradients
    training.task.gradients = lambda *args: replace(gradients(*args), total=np.inf)
    step = training.plan.steps(0) + 2 + 1
    with pytest.raises(TrainingError, match=rf"step {step} \(epoch 2, "):
        replica.turn(1, 2, 0, 1)


class Ref:
    """What an actor returned, or the error that it raised."""

    def __init__(self, value=None, error=None):
        self.value, self.error = value, error

    def get(self):
        if self.error is not None:
            raise self.error
        return pickle.loads(self.value)


class Actor:
    """A replica in this process; it is lost once its node is in `lost`."""

    def __init__(self, cluster, node, *args):
        self.cluster, self.node = cluster, node
        self.replica = None if node in cluster.unmade else engine.Replica(*args)

    def __getattr__(self, name):
        return Method(self, name)


class Method:
    def __init__(self, actor, name, returns=1):
        self.actor, self.name, self.returns = actor, name, returns

    def options(self, num_returns):
        return Method(self.actor, self.name, num_returns)

    def remote(self, *args):
        actor = self.actor
        actor.cluster.calls.append((actor.node[:1], self.name))
        try:
            given = [each.get() if isinstance(each, Ref) else each for each in args]
            actor.cluster.before(actor.node, self.name)
            if actor.replica is None or actor.node in actor.cluster.lost:
                raise ray.exceptions.RayActorError
            found = getattr(actor.replica, self.name)(*given)
        except ray.exceptions.RayError as error:
            refs = [Ref(error=error)] * self.returns
        except EmbedError as error:
            refs = [Ref(error=ray.exceptions.RayTaskError(self.name, "", error))] * self.returns
        else:
            parts = [found] if self.returns == 1 else found
            refs = [Ref(pickle.dumps(each)) for each in parts]
        return refs[0] if self.returns == 1 else refs


class Cluster:
    """As much of Ray as the engine asks for, with nodes in this process."""

    exceptions = ray.exceptions

    def __init__(self, *names, unmade=()):
        self.names = [name * 56 for name in names]
        self.unmade = [name * 56 for name in unmade]
        self.lost, self.calls, self.limits = set(), [], []
        self.before = lambda node, call: None

    def is_initialized(self):
        return True

    def put(self, value):
        return value

    def nodes(self):
        return [
            {"NodeID": each, "Resources": {"CPU": 1}, "Alive": True, "NodeManagerHostname": each[0]}
            for each in self.names
        ]

    def remote(self, kind):
        return self

    def options(self, num_cpus, scheduling_strategy):
        made = type(self).__new__(type(self))
        made.remote = lambda shipment, *args: Actor(
            self, scheduling_strategy.node_id, pickle.loads(pickle.dumps(shipment)), *args
        )
        return made

    def wait(self, refs, num_returns=1, timeout=None):
        return refs[:num_returns], refs[num_returns:]

    def get(self, ref, timeout):
        self.limits.append(timeout)
        return ref.get()

    def kill(self, actor):
        self.calls.append((actor.node[:1], "kill"))


def on(cluster, training, said, corpus=None):
    made = engine.RayEngine(training, lambda notice: said.append(notice.text), corpus)
    made._ray = cluster
    return made


def test_a_machine_that_cannot_fetch_the_text_is_left_out(training, tmp_path, monkeypatch):
    # 1. The text is one part, of which the first machine gets the ids, and the second does not.
    (tmp_path / "text").mkdir()
    corpus = encode([tmp_path / "train.txt"], training.settings, folder=tmp_path / "text")
    ids, ends = np.array(corpus.ids), np.array(corpus.offsets[1:])
    words, none = np.arange(len(corpus.vocabulary), dtype=np.int32), np.zeros(0, np.int32)
    held = {
        "ids": PartIds("a", "digest", ids, ends, none, np.zeros(len(ends), np.int64)),
        "codes": Codes(words, None),
    }
    real, fetched = engine.result, []

    def result(ray, ref, limit):
        if not isinstance(ref, str):
            return real(ray, ref, limit)
        fetched.append(ref)
        if len(fetched) > len(held):
            raise engine.LostError("waited 600 s")
        return held[ref]

    monkeypatch.setattr(engine, "result", result)
    part = PlacedPart("ids", "codes", "digest", "train.txt", (1, 1))
    corpus = corpus._replace(parts=(part,))
    # 2. No ids are sent, and the first machine trains as this one.
    parted = engine.PartedTask.of(training.task, corpus)
    assert len(parted.corpus.ids) == len(parted.corpus.offsets) == 0
    alone = make_training(tmp_path / "alone")
    next(alone.steps())
    cluster, said = Cluster("a", "b"), []
    steps = training.steps(on(cluster, training, said, corpus))
    next(steps)
    assert [machine.name for machine in training.engine.round.machines] == ["a (aaaaaa)"]
    training.complete()
    for name, array in alone.state.arrays().items():
        assert np.array_equal(array, training.state.arrays()[name]), name
    assert any(
        "b (bbbbbb) could not make a replica (the ids of train.txt: w" in text for text in said
    )
    steps.close()


def test_a_machine_that_differs_is_left_out_whatever_its_place(training, monkeypatch):
    about = [{"kernel": "another"}, {}, {"kernel": "another"}]
    here = {"embed": embedcli.__version__, **engine.environment()}
    monkeypatch.setattr(engine.Replica, "about", lambda _: {**here, **about.pop(0)})
    said = []
    steps = training.steps(on(Cluster("a", "b", "c"), training, said))
    assert next(steps).shares == ()
    assert [machine.name for machine in training.engine.round.machines] == ["b (bbbbbb)"]
    assert sum("has kernel another" in text for text in said) == 2
    steps.close()


def test_a_replica_that_cannot_be_made_is_tried_once(training, monkeypatch):
    monkeypatch.setattr(engine, "LOOK_FOR_MACHINES", 0.0)
    cluster, said = Cluster("a", "b", unmade="b"), []
    steps = training.steps(on(cluster, training, said))
    for _ in range(3):
        next(steps)
    assert cluster.calls.count(("b", "about")) == 1
    assert sum("could not make a replica" in text for text in said) == 1
    steps.close()


def test_a_donor_that_is_lost_is_replaced_by_another(training):
    cluster, said = Cluster("a", "b", "c"), []
    steps = training.steps(on(cluster, training, said))
    next(steps)

    def before(node, call):
        if call == "accept" and node[0] == "c":  # when the others have applied the round
            raise ray.exceptions.GetTimeoutError("slow")
        if call == "state" and node[0] == "a":
            cluster.lost.add(node)

    cluster.before = before
    next(steps)
    assert [text for text in said if "is lost" in text] == ["a (aaaaaa) is lost"]
    assert ("b", "state") in cluster.calls
    cluster.before = lambda node, call: None
    next(steps)
    assert [each.name[0] for each in training.engine.round.machines] == ["b", "c"]
    steps.close()


def test_large_tables_have_more_time_and_an_error_says_how_much(training, monkeypatch):
    monkeypatch.setattr(engine, "SLOWEST", 1.0)
    size = sum(array.nbytes for array in training.state.arrays().values())
    cluster = Cluster("a")
    steps = training.steps(on(cluster, training, []))
    next(steps)

    def before(node, call):
        if call == "state":
            raise ray.exceptions.GetTimeoutError("slow")

    cluster.before = before
    limit = engine.SHORTEST + size
    with pytest.raises(WorkerError, match=rf"a \(aaaaaa\): waited {limit:.0f} s"):
        training.complete()
    assert cluster.limits[-1] == limit
    cluster.before = lambda node, call: None
    steps.close()
