from __future__ import annotations

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from embedcli import api
from embedcli.views import map_page, map_svg, terminal
from tests.mapping import maps


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("map")
    maps.hindi(folder / "hindi")
    maps.hostile(folder / "hostile")
    return {name: api.map_words(folder / name, words=300) for name in ("hindi", "hostile")}


def script(page: str, kind: str) -> str:
    return re.search(rf'<script type="{kind}" id="\w+">(.*?)</script>', page, re.DOTALL)[1]


def array(page: str, place) -> np.ndarray:
    kind, offset, length = place
    data = base64.b64decode(script(page, "text/plain"))
    return np.frombuffer(data, f"<{kind}", length, offset)


def test_the_policy_allows_the_parts_of_the_page_and_nothing_else(drawn):
    page = map_page.html(drawn["hindi"])
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page)[1]
    assert policy.startswith("default-src 'none'; ")
    for kind in ("style", "script"):
        text = re.search(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", page)


def test_the_data_of_the_page_is_that_of_the_map(drawn):
    found = drawn["hindi"]
    page = map_page.html(found)
    (data,) = json.loads(script(page, "application/json"))["maps"]
    assert data["tokens"] == list(found.tokens)
    assert (data["words"], data["dim"], data["zeros"]) == (400, 12, 0)
    near, cosines = (array(page, each).reshape(300, 10) for each in data["near"])
    every = data["tokens"] + data["off"]
    for i, answer in enumerate(found.table.neighbors(list(found.tokens[:20]))):
        assert [every[place] for place in near[i]] == [each.token for each in answer.neighbors]
        shown = [f"{cosine / 1e4:.4f}" for cosine in cosines[i]]
        assert shown == [f"{each.score:.4f}" for each in answer.neighbors]
    rows = array(page, data["vectors"]).reshape(300, 12).astype(np.float32)
    cosine = (rows * found.vectors).sum(axis=1)
    cosine /= np.linalg.norm(rows, axis=1) * np.linalg.norm(found.vectors, axis=1)
    assert cosine.min() > 0.999


def test_hostile_words_are_data(drawn):
    found = drawn["hostile"]
    page = map_page.html(found)
    assert page == terminal.visible(page, keep="\n")
    assert page.count("<script") == 4 - 1
    assert page.count("</script>") == 3
    (data,) = json.loads(script(page, "application/json"))["maps"]
    assert data["tokens"] == list(found.tokens)
    for place, shown in data["visible"].items():
        assert shown == terminal.visible(data["tokens"][int(place)])
    picture = map_svg.svg(found)
    assert picture == terminal.visible(picture, keep="\n")
    assert "<script" not in picture
    assert "<img" not in picture
    ET.fromstring(picture)


def test_the_same_map_is_the_same_page(drawn, tmp_path):
    maps.hindi(tmp_path / "hindi")
    again = api.map_words(tmp_path / "hindi", words=300)
    for output in ("html", "svg", "tsv", "json"):
        assert map_svg.formatted(output, again) == map_svg.formatted(output, drawn["hindi"])


def test_pictures_have_a_point_a_word_and_labels_that_cover_no_other(drawn):
    picture = map_svg.svg(drawn["hindi"])
    assert picture.count("h0") == 300
    assert "राजा" in picture
    assert "300 of 400 words; t-SNE keeps" in picture


def test_lines_and_json(drawn):
    found = drawn["hindi"]
    lines = map_svg.formatted("tsv", found).splitlines()
    index, token, count, x, y, kept = lines[0].split("\t")
    assert (index, token, count) == ("0", "राजा", "1200")
    record = json.loads(map_svg.formatted("json", found))
    assert len(lines) == len(record["points"]) == 300
    point = record["points"][0]
    assert [point["x"], point["y"], point["kept"]] == [float(x), float(y), int(kept)]
    assert point["neighbors"][0]["token"] == "रानी"
    assert record["layout"] == "tsne"
    assert set(record["kept"]) == {"tsne", "pca"}
    assert sum(record["explained"]) == pytest.approx(1)
    assert found._repr_svg_() == map_svg.svg(found)


def test_places_are_packed_around_the_middle():
    places = np.array([[0.0, 0], [10, 4], [20, 8]])
    within = map_page.square(places)
    assert map_page.packed(places, within).tolist() == [[0, 19660], [32768, 32768], [65535, 45874]]
    one = np.zeros((1, 2))
    assert map_page.packed(one, map_page.square(one)).tolist() == [[32768, 32768]]
