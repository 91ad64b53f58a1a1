"""Draw docs/pictures/map.svg, the map of the sample that the README begins with.

`python docs/make_pictures.py` trains on the sample in a temporary folder, some five seconds. The
result differs a little between processors.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import embedcli
from embedcli.views import map_svg

PICTURE = Path(__file__).parent / "pictures" / "map.svg"


def main() -> None:
    """Train and draw."""
    with TemporaryDirectory() as folder:
        model = Path(folder) / "embeddings"
        embedcli.train(out=model)
        found = embedcli.map_words(model)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(map_svg.svg(found), encoding="utf-8")
    print(f"{PICTURE}: {map_svg.summary(found)}")


if __name__ == "__main__":
    main()
