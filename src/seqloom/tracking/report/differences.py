"""Where a prediction and its reference differ, word by word.

The idea: both texts are cut into words, single punctuation marks and (in scripts without spaces)
single characters; difflib aligns them. What stands only in the reference is wrapped in <del>, what
stands only in the prediction in <ins>; the style sheet tells them apart by line and colour.
The price: difflib is quadratic, so texts of more than 300 words are shown without marks.
"""

import unicodedata
from difflib import SequenceMatcher

from markupsafe import Markup, escape

MAX_WORDS = 300
# Scripts written without spaces: Thai to Khmer, CJK and kana, Hangul not among them.
UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x2E80, 0xA4CF),
    (0xF900, 0xFAFF),
)


def words(text: str) -> list[str]:
    """`text` cut into runs of letters, digits and marks, runs of space, and single other signs.

    Joined, the pieces give the text back.
    """
    pieces: list[str] = []
    before = 0
    for character in text:
        kind = _kind(character)
        if kind == before and kind in (2, 3):
            pieces[-1] += character
        else:
            pieces.append(character)
        before = kind
    return pieces


def num_words(text: str) -> int:
    """How many words a text has; a character of a script without spaces counts as one."""
    return sum(1 for piece in words(text) if _kind(piece[0]) in (1, 3))


def marked(reference: str, prediction: str) -> tuple[Markup, Markup]:
    """(reference, prediction) as HTML with the differing words marked."""
    old, new = _spaced(reference), _spaced(prediction)
    if max(len(old), len(new)) > MAX_WORDS:
        return escape(reference), escape(prediction)
    left, right = [], []
    # Spaces are left out of the alignment: they would match anywhere and tear marks apart.
    matcher = SequenceMatcher(None, [w for _, w in old], [w for _, w in new], autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        left.append(_wrap("del", old[a:b], kind == "equal"))
        right.append(_wrap("ins", new[c:d], kind == "equal"))
    return Markup("").join(left), Markup("").join(right)


def _spaced(text: str) -> list[tuple[str, str]]:
    """(space before, word) for each piece that is no space."""
    pairs, space = [], ""
    for piece in words(text):
        if piece.isspace():
            space = piece
        else:
            pairs.append((space, piece))
            space = ""
    return pairs


def _wrap(tag: str, pairs: list[tuple[str, str]], is_equal: bool) -> Markup:
    text = "".join(space + word for space, word in pairs)
    if is_equal or not text:
        return escape(text)
    # The space before a mark stays outside, or its line would bridge the gap.
    space = pairs[0][0]
    return Markup("{}<{}>{}</{}>").format(space, Markup(tag), text[len(space) :], Markup(tag))


def _kind(character: str) -> int:
    """0 a sign, 1 a character of a script without spaces, 2 space, 3 part of a word."""
    if character.isspace():
        return 2
    category = unicodedata.category(character)
    if category[0] in "PSC":
        return 0
    if category[0] != "M" and any(low <= ord(character) <= high for low, high in UNSPACED):
        return 1
    return 3
