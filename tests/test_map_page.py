"""The page of a map in a browser: nothing is requested, and all it offers works."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from embedcli import api
from embedcli.mapping import Arrangement, Attribute, Map
from embedcli.table import EmbeddingTable, Nearest
from embedcli.text.vocabulary import Vocabulary
from embedcli.views import map_page, map_svg
from tests.mapping import maps


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pages of a Hindi model with all its words, with 60 of them, and of hostile words."""
    folder = tmp_path_factory.mktemp("maps")
    maps.hindi(folder / "hindi")
    maps.hostile(folder / "hostile")
    for name, words in (("hindi", 400), ("hostile", 400)):
        page = map_page.html(api.map_words(folder / name, words=words))
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    some = map_page.html(api.map_words(folder / "hindi", words=60))
    (folder / "some.html").write_text(some, encoding="utf-8")
    return folder


@pytest.fixture
def page(open_page, folder):
    return drawn(open_page(folder / "hindi.html"))


def drawn(page):
    """Wait until the map was drawn."""
    page.wait_for_selector("html[data-drawn]")
    return page


def address(page) -> str:
    return page.evaluate("new URLSearchParams(location.hash.slice(1)).toString()")


def neighbors(page) -> list[tuple[str, str]]:
    """The words and cosines of the first list of neighbours."""
    items = page.locator("ol.near").first.locator("li")
    return [
        (item.locator("span").first.inner_text(), item.locator("data").inner_text())
        for item in items.all()
    ]


def search(page, word: str) -> None:
    page.keyboard.press("/")
    page.locator("#search").press_sequentially(word)
    page.keyboard.press("Enter")


def test_a_word_is_found_by_typing_and_its_neighbors_are_exact(page, folder):
    page.keyboard.press("/")
    page.locator("#search").press_sequentially("राज")
    assert page.locator("#found li").all_inner_texts()[0].startswith("राजा")
    assert page.locator("#found li").count() == 3
    page.locator("#search").press_sequentially("ा")
    page.keyboard.press("Enter")
    assert page.locator("aside h2").inner_text() == "राजा"
    (answer,) = api.neighbors("राजा", folder / "hindi")
    assert neighbors(page) == [(each.token, f"{each.score:.4f}") for each in answer.neighbors]
    assert neighbors(page)[0][0] == "रानी"
    assert "राजा. Nearest: रानी" in page.locator("#live").inner_text()


def test_neighbors_that_are_not_drawn_are_marked(open_page, folder):
    page = drawn(open_page(folder / "some.html"))
    search(page, "राजा")
    (answer,) = api.neighbors("राजा", folder / "hindi")
    assert neighbors(page) == [(each.token, f"{each.score:.4f}") for each in answer.neighbors]
    frequent = set(api.load(folder / "hindi").sorted("count")[:60].tokens)
    rare = [each.token for each in answer.neighbors if each.token not in frequent]
    assert rare
    assert page.locator("li.off span").all_inner_texts() == rare
    onmap = page.locator("ol.near").nth(1).locator("span").all_inner_texts()
    assert len(onmap) == 10
    assert set(onmap) <= frequent
    page.get_by_role("button", name="About").click()
    assert "60 of 400 words, the most frequent" in page.locator("aside").inner_text()
    assert "The other 340 are not drawn" in page.locator("aside").inner_text()


def test_search_composes_folds_and_goes_through_the_answers(page):
    search(page, "KING")
    assert page.locator("aside h2").inner_text() == "king"
    page.keyboard.press("/")
    page.locator("#search").press_sequentially("word2")
    words = [text.split("\n")[0] for text in page.locator("#found li").all_inner_texts()]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.locator("aside h2").inner_text() == words[1]
    page.keyboard.press("/")
    page.locator("#search").press_sequentially("zzz")
    assert "no word" in page.locator("#found").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#found").is_visible()


def test_neighbors_are_links(page):
    search(page, "राजा")
    page.get_by_role("button", name="रानी").click()
    assert page.locator("aside h2").inner_text() == "रानी"
    page.keyboard.press("Escape")
    assert page.locator("aside h2").inner_text() == "hindi"


def test_a_click_chooses_the_nearest_word(page):
    search(page, "नदी")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("+")
    # The lines to the neighbours begin at the word, which is in the view: look it up by hovering.
    box = page.locator(".labels").bounding_box()
    for step in range(40 * 40):
        x, y = box["x"] + 20 + step % 40 * 23, box["y"] + 20 + step // 40 * 17
        page.mouse.move(x, y)
        if page.locator(".labels.over").count():
            break
    page.mouse.click(x, y)
    page.wait_for_selector("aside h2:not(:text-is('नदी'))")
    assert page.locator("ol.near li").count() == 10


def test_the_map_moves_by_keys_wheel_and_pointer_and_the_address_keeps_it(open_page, folder):
    page = drawn(open_page(folder / "hindi.html"))
    page.locator(".labels").focus()
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile("view="))
    view = page.url.split("view=")[1]
    page.mouse.move(400, 400)
    page.mouse.wheel(0, -400)
    page.mouse.down()
    page.mouse.move(450, 430, steps=4)
    page.mouse.up()
    page.wait_for_url(re.compile(f"^(?!.*{re.escape(view)})"))
    page.keyboard.press("0")
    page.wait_for_url(re.compile("^(?!.*view=)"))


def test_axes_of_meaning_order_the_words(page):
    page.get_by_role("button", name="Axes").click()
    page.get_by_label("Across").fill("woman - man")
    page.get_by_label("Up").fill("day, night")
    page.get_by_role("button", name="Draw", exact=True).click()
    page.wait_for_url(re.compile("woman"))
    assert "x=woman+-+man" in address(page)
    page.get_by_label("Across").fill("woman - nobody")
    page.get_by_role("button", name="Draw", exact=True).click()
    assert "“nobody” is not on the map" in page.locator("#axes-note").inner_text()
    page.get_by_role("button", name="Clear").first.click()
    page.wait_for_url(re.compile("^(?!.*woman)"))


def test_axes_place_words_at_their_cosine(open_page, folder):
    """Words on the right of the map of woman - man are those on the side of woman."""
    page = drawn(open_page(folder / "hindi.html", fragment="x=woman - man"))
    page.get_by_role("button", name="Lasso").click()
    box = page.locator(".labels").bounding_box()
    half = box["x"] + 0.62 * box["width"]
    corners = [(half, box["y"] + 2), (box["x"] + box["width"] - 2, box["y"] + 2)]
    corners += [(x, box["y"] + box["height"] - 2) for x, _ in reversed(corners)]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=3)
    page.mouse.up()
    words = page.locator("ol.selection span").all_inner_texts()
    assert words
    table = api.load(folder / "hindi")
    axis = table["woman"] / np.linalg.norm(table["woman"])
    axis = axis - table["man"] / np.linalg.norm(table["man"])
    rows = table.vectors / np.linalg.norm(table.vectors, axis=1, keepdims=True)
    cosines = dict(zip(table.vocabulary, rows @ axis, strict=True))
    assert {"she", "woman", "औरत"} <= set(words)
    assert not {"he", "man", "आदमी"} & set(words)
    assert np.mean([cosines[word] for word in words]) > max(0, np.mean(list(cosines.values())))


def test_a_lasso_is_taken_out_as_tsv(page, folder, tmp_path):
    page.get_by_role("button", name="Lasso").click()
    box = page.locator(".labels").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    for x, y in ((0.99, 0.01), (0.99, 0.99), (0.01, 0.99)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=3)
    page.mouse.up()
    assert page.get_by_role("button", name="Lasso").get_attribute("aria-pressed") == "false"
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as TSV").click()
    download.value.save_as(tmp_path / "words.tsv")
    lines = (tmp_path / "words.tsv").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 350
    found = api.map_words(folder / "hindi")
    rows = {line.split("\t")[1]: line.split("\t") for line in lines}
    for i, (index, token) in enumerate(zip(found.ids.tolist(), found.tokens, strict=True)):
        if token in rows:
            assert rows[token][0] == str(index)
            place = [float(each) for each in rows[token][3:5]]
            assert place == pytest.approx(found.arrangements[0].places[i].tolist(), abs=0.01)
            assert int(rows[token][5]) == found.arrangements[0].kept[i]


def test_the_state_is_in_the_address(open_page, folder):
    page = drawn(open_page(folder / "hindi.html"))
    search(page, "राजा")
    page.get_by_role("button", name="Add to the selection").click()
    page.get_by_label("Colour").select_option("script")
    page.get_by_label("Layout").select_option("pca")
    page.wait_for_url(re.compile("layout=pca"))
    again = drawn(open_page(folder / "hindi.html", fragment=page.url.partition("#")[2]))
    assert again.locator("aside h2").inner_text() == "राजा"
    assert again.locator("#colour").input_value() == "script"
    assert again.locator("#layout").input_value() == "pca"
    assert again.locator("ol.selection span").all_inner_texts() == ["राजा"]
    assert "Devanagari" in again.locator(".legend").inner_text()
    assert "The picture (PCA) keeps" in again.locator("aside").inner_text()


@pytest.mark.parametrize(
    "fragment", ["word=nobody", "view=a,b,c", "x=%3C%3E&y=-", "frame=99", "selected=%09%09", "%%%"]
)
def test_other_addresses_do_no_harm(open_page, folder, fragment):
    page = drawn(open_page(folder / "hindi.html", fragment=fragment))
    assert page.locator("aside h2").inner_text() == "hindi"


def test_the_film_goes_from_chance_to_the_map(open_page, tmp_path):
    text = "the king and the queen saw the river\nthe man and the woman saw the sea\n" * 30
    (tmp_path / "text.txt").write_text(text)
    settings = {"dim": 4, "epochs": 5, "group": 1, "snapshots": 4}
    api.train(tmp_path / "text.txt", tmp_path / "m", batch_size=32, **settings)
    found = api.map_words(tmp_path / "m", layout="tsne")
    (tmp_path / "m.html").write_text(map_page.html(found), encoding="utf-8")
    page = drawn(open_page(tmp_path / "m.html"))
    assert page.locator("#moment").inner_text() == "trained"
    slider = page.locator("#frame")
    slider.fill("0")
    assert page.locator("#moment").inner_text() == "by chance"
    page.wait_for_url(re.compile("frame=0"))
    slider.fill("2.5")
    assert "% trained" in page.locator("#moment").inner_text()
    page.get_by_role("button", name="Play the training").click()
    page.wait_for_selector("#moment:text-is('trained')")
    page.get_by_role("button", name="Play the training").wait_for()
    page.get_by_label("Layout").select_option("pca")
    assert not page.locator("#film").is_visible()
    assert (
        drawn(open_page(tmp_path / "m.html", fragment="frame=1.00")).locator("#frame").input_value()
        == "1"
    )


def test_maps_without_snapshots_have_no_film(page):
    assert not page.locator("#film").is_visible()


def test_words_can_be_read_as_a_list(page):
    page.get_by_role("button", name="List").focus()
    page.keyboard.press("Enter")
    assert page.locator("aside h2").inner_text() == "Words in view"
    words = page.locator("ol.words button")
    assert words.count() > 250
    assert words.first.inner_text() == "राजा"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("aside h2").inner_text() == "राजा"


def test_every_colour_can_be_chosen(page):
    names = page.locator("#colour option").all_inner_texts()
    assert names == ["cluster", "count", "times trained", "norm", "script"]
    legends = set()
    for name in names:
        page.get_by_label("Colour").select_option(name)
        legends.add(page.locator(".legend").inner_text())
    assert len(legends) == len(names)


def test_weights_of_many_labels_come_after_the_neighbors(open_page, folder):
    found = api.map_words(folder / "hindi", words=60)
    weights = [Attribute(f"label {i}", np.full(60, i, np.float32), signed=True) for i in range(20)]
    many = replace(found, attributes=(*found.attributes, *weights))
    (folder / "labels.html").write_text(map_page.html(many), encoding="utf-8")
    page = drawn(open_page(folder / "labels.html", fragment="word=राजा"))
    text = page.locator("aside").inner_text()
    assert text.index("Nearest") < text.index("label 19")


def test_about_says_what_pca_is(page):
    text = page.locator("aside").inner_text()
    assert "All 400 words" in text
    assert re.search(r"Of the 10 words nearest to a word, \d+ % are also", text)
    assert "What PCA has to do with an embedding" in text
    assert re.search(r"here [\d.]+ % and [\d.]+ %, together [\d.]+ %", text)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_small_screens_and_dark_ones(open_page, folder, width, dark):
    page = drawn(open_page(folder / "hindi.html", width=width, height=740, dark=dark))
    assert page.evaluate("document.documentElement.scrollWidth") == width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper))) < 200) == dark
    search(page, "राजा")
    assert page.locator("aside h2").is_visible()
    box = page.locator(".labels").bounding_box()
    assert box["height"] > 250
    assert box["width"] >= min(width, 900)


def test_fingers_move_and_choose(open_page, folder):
    page = drawn(open_page(folder / "hindi.html", width=360, height=740, touch=True))
    box = page.locator(".labels").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("ol.near")


def test_two_fingers_zoom(open_page, folder):
    page = drawn(open_page(folder / "hindi.html", width=360, height=740, touch=True))
    page.evaluate(
        """() => {
          const labels = document.querySelector(".labels");
          labels.setPointerCapture = () => {};
          const send = (type, id, x) => labels.dispatchEvent(new PointerEvent(type, {
            pointerId: id, pointerType: "touch", clientX: x, clientY: 300, bubbles: true }));
          send("pointerdown", 1, 150); send("pointerdown", 2, 200);
          send("pointermove", 2, 300); send("pointerup", 2, 300); send("pointerup", 1, 150);
        }"""
    )
    page.wait_for_url(re.compile("view="))
    zoom = float(address(page).split("view=")[1].split("%2C")[2])
    assert zoom == pytest.approx(3, rel=0.01)


def test_hostile_words_are_harmless(open_page, folder):
    page = drawn(open_page(folder / "hostile.html"))
    page.on("dialog", lambda _: open_page.faults.append("a word opened a dialog"))
    page.get_by_role("button", name="List").click()
    shown = page.locator("ol.words").inner_text()
    assert not set(shown) & set("\u202e\x1b\u2028\u2066\u2069")
    assert "gnp\\u202eexe" in shown
    assert "e\u0301\u0323" * 40 in shown  # as 40 letters fit
    for place in range(len(maps.HOSTILE)):
        page.keyboard.press("0")  # a word that was chosen may have moved the map
        if not page.locator("ol.words").count():
            page.get_by_role("button", name="List", exact=True).click()
        page.locator("ol.words button").nth(place).click()
        page.get_by_role("button", name="Add to the selection").click()
    assert page.locator("ol.selection li").count() == len(maps.HOSTILE)
    assert page.evaluate("document.documentElement.scrollWidth") == 1280
    page.wait_for_url(re.compile("selected="))


def test_twenty_thousand_words_are_drawn(open_page, tmp_path):
    number, rng = 20_000, np.random.default_rng(0)
    words = [f"w{i}" for i in range(number)]
    rows = rng.normal(0, 1, (number, 8)).astype(np.float32)
    near = Nearest(rng.integers(number, size=(number, 10)), rng.random((number, 10), np.float32))
    places = rng.normal(0, 1, (number, 2))
    kept = np.full(number, 3)
    found = Map(
        name="m",
        table=EmbeddingTable(Vocabulary(words), rows),
        ids=np.arange(number),
        vectors=rows,
        zeros=0,
        arrangements=(Arrangement("tsne", places, kept, 0.3),),
        explained=np.full(8, 1 / 8),
        near=near,
        near_on_map=near,
        attributes=(Attribute("norm", np.linalg.norm(rows, axis=1)),),
    )
    (tmp_path / "m.html").write_text(map_page.html(found))
    page = drawn(open_page(tmp_path / "m.html"))
    search(page, "w19999")
    assert page.locator("ol.near li").count() == 10
    page.mouse.move(400, 400)
    page.mouse.down()
    page.mouse.move(300, 300, steps=5)
    page.mouse.up()
    page.wait_for_url(re.compile("view="))


def test_without_webgl_points_are_drawn_on_a_canvas(open_page, folder, tmp_path):
    page = drawn(open_page(folder / "hindi.html"))
    html = (folder / "hindi.html").read_text(encoding="utf-8")
    assert 'getContext("webgl2"' in html
    colours = """() => {
      const canvas = document.querySelector("canvas");
      const copy = document.createElement("canvas");
      [copy.width, copy.height] = [canvas.width, canvas.height];
      const pen = copy.getContext("2d", { willReadFrequently: true });
      pen.drawImage(canvas, 0, 0);
      return pen.getImageData(0, 0, copy.width, copy.height).data.some((value) => value > 0);
    }"""
    context = open_page.browser.contexts[0]
    context.add_init_script(
        "const before = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...more) {"
        "return kind === 'webgl2' ? null : before.call(this, kind, ...more); };"
    )
    page.reload()
    drawn(page)
    assert page.evaluate(colours)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The page of two tables of the same words."""
    folder = tmp_path_factory.mktemp("pair")
    maps.pair(folder)
    found = api.map_pair(folder / "one", folder / "two", words=60)
    (folder / "pair.html").write_text(map_page.html(*found.maps), encoding="utf-8")
    return folder


def found_by_pointer(page, panel: int) -> tuple[float, float]:
    """Move the pointer over a panel until it is on a word; return its place."""
    box = page.locator(".labels").nth(panel).bounding_box()
    for step in range(40 * 40):
        x = box["x"] + (20 + step % 40 * 23) % box["width"]
        y = box["y"] + box["height"] * (step // 40 + 0.5) / 40
        page.mouse.move(x, y)
        if page.locator(".labels").nth(panel).evaluate("each => each.classList.contains('over')"):
            return x, y
    raise AssertionError("no word under the pointer")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_a_word_that_is_found_is_shown_in_both_tables(open_page, pair, width, dark):
    page = drawn(open_page(pair / "pair.html", width=width, height=740, dark=dark))
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("section.map h2").all_inner_texts() == ["one", "two"]
    search(page, "राजा")
    assert page.locator("aside h2").all_inner_texts() == ["राजा", "राजा"]
    lists = page.locator("ol.near")
    for at, folder in ((0, "one"), (2, "two")):  # after each, the neighbours on the map
        (answer,) = api.neighbors("राजा", pair / folder)
        shown = lists.nth(at).locator("span").all_inner_texts()
        assert shown == [each.token for each in answer.neighbors]
    assert "in both" in lists.nth(0).inner_text()
    assert "off the map" in lists.nth(2).inner_text()


def test_a_word_is_marked_in_both_tables(open_page, pair):
    page = drawn(open_page(pair / "pair.html"))
    before = [page.locator(".labels").nth(1).screenshot() for _ in range(2)]
    assert before[0] == before[1]
    x, y = found_by_pointer(page, 0)
    page.wait_for_function(
        "drawn => Number(document.documentElement.dataset.drawn) > drawn",
        arg=int(page.get_attribute("html", "data-drawn")) - 1,
    )
    assert page.locator(".labels").nth(1).screenshot() != before[0]
    page.mouse.click(x, y)
    page.wait_for_selector("ol.near")
    words = page.locator("aside h2").all_inner_texts()
    assert len(words) == 2 and words[0] == words[1]


def test_two_tables_by_keyboard_axes_list_and_address(open_page, pair):
    page = drawn(open_page(pair / "pair.html"))
    assert page.locator("#colour").input_value() == "moved"
    assert "Two tables" in page.locator("aside").inner_text()
    page.get_by_role("button", name="List").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("aside h2").all_inner_texts() == ["राजा", "राजा"]
    page.get_by_label("Colour").select_option("neighbors shared")
    page.get_by_role("button", name="Axes").click()
    page.get_by_label("Across").fill("woman - man")
    page.get_by_role("button", name="Draw", exact=True).click()
    page.wait_for_url(re.compile("woman"))
    page.locator(".labels").nth(1).focus()
    page.keyboard.press("+")
    page.wait_for_url(re.compile("view="))
    again = drawn(open_page(pair / "pair.html", fragment=page.url.partition("#")[2]))
    assert again.locator("aside h2").all_inner_texts() == ["राजा", "राजा"]
    assert again.locator("#colour").input_value() == "neighbors shared"
    again.keyboard.press("Escape")
    assert "Two tables" in again.locator("aside").inner_text()


def test_a_selection_in_two_tables_is_taken_out_as_tsv(open_page, pair, tmp_path):
    page = drawn(open_page(pair / "pair.html", fragment="selected=राजा%09नदी"))
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as TSV").click()
    download.value.save_as(tmp_path / "words.tsv")
    names, *lines = (tmp_path / "words.tsv").read_text(encoding="utf-8").splitlines()
    found = api.map_pair(pair / "one", pair / "two", words=60)
    every = map_svg.formatted("tsv", *found.maps).splitlines()
    assert names == every[0]
    for line in lines:
        same = next(each for each in every if each.startswith(line.partition("\t")[0] + "\t"))
        texts = list(zip(line.split("\t")[1:], same.split("\t")[1:], strict=True))
        assert [float(a) for a, _ in texts] == pytest.approx([float(b) for _, b in texts], abs=0.01)
    assert len(lines) == 2
