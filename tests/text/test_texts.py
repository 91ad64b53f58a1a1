from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embedcli.text.texts import Texts


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=8), max_size=6),
    st.integers(1, 6),
    st.sampled_from(["left", "right"]),
)
def test_cutting_texts(texts: list[list[int]], length: int, side: str) -> None:
    ids = np.array(sum(texts, []), np.int32)  # noqa: RUF017
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(int)
    cut = Texts(ids, offsets).cut(length, side)
    found = [cut.ids[a:b].tolist() for a, b in pairwise(cut.offsets)]
    assert found == [text[:length] if side == "right" else text[-length:] for text in texts]
    assert cut.ids.dtype == ids.dtype
