"""NIST and CIDEr, metrics of texts, computed here without Java and without NLTK.

NIST and CIDEr are divided by 100, as other metrics are fractions: the report prints what papers print. Words are
those of sacrebleu's tokenisation 13a in lower case; CIDEr leaves out punctuation.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from statistics import fmean
from typing import Any, Final

Words = list[str]
Gram = tuple[str, ...]

NIST_ORDER: Final = 5
CIDER_ORDER: Final = 4
CIDER_SPREAD: Final = 6.0  # of the differences of length that CIDEr-D tolerates, in words


def nist(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the NIST score (Doddington 2002) of a corpus, in bits, over n-grams of up to 5 words.

    An n-gram weighs as many bits as its last word carries after the words before, by the counts in all
    references. Texts that are shorter than their references on average are penalised.
    """
    pairs = [
        (words_of(text), [words_of(reference) for reference in of_text])
        for text, of_text in zip(texts, references, strict=True)
    ]
    in_references = Counter[Gram]()
    for _, known in pairs:
        for words in known:
            for order in range(1, NIST_ORDER + 1):
                in_references.update(ngrams(words, order))
            in_references[()] += len(words)
    score = 0.0
    for order in range(1, NIST_ORDER + 1):
        bits, count = 0.0, 0
        for text, known in pairs:
            grams, allowed = Counter(ngrams(text, order)), Counter[Gram]()
            for words in known:
                allowed |= Counter(ngrams(words, order))
            bits += sum(
                hits * math.log2(in_references[gram[:-1]] / in_references[gram])
                for gram, hits in (grams & allowed).items()
            )
            count += grams.total()
        score += bits / count if count else 0.0
    length = sum(len(text) for text, _ in pairs)
    expected = sum(fmean(map(len, known)) for _, known in pairs)
    if 0 < length < expected:  # a text of two thirds of the length counts half
        score *= 0.5 ** ((math.log(length / expected) / math.log(1.5)) ** 2)
    return score / 100


def cider(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the mean over the texts of CIDEr-D (Vedantam et al. 2015, section 5), which is 10 at most.

    The references of all texts give the weights of n-grams. So the number depends on which texts are scored
    together.
    """
    known = [
        [_all_grams(words_of(reference, punctuation=False)) for reference in of_text]
        for of_text in references
    ]
    found = Counter(gram for of_text in known for gram in set().union(*of_text))
    weights = {gram: math.log(len(texts) / count) for gram, count in found.items()}
    most = math.log(len(texts))
    likeness = fmean(
        fmean(
            _likeness(_all_grams(words_of(text, punctuation=False)), grams, weights, most)
            for grams in of_text
        )
        for text, of_text in zip(texts, known, strict=True)
    )
    return 10 * likeness / 100


def _likeness(
    text: Counter[Gram], reference: Counter[Gram], weights: dict[Gram, float], most: float
) -> float:
    """Return the mean over the orders of the cosine of two texts' weighted n-grams, with CIDEr-D's penalty.

    Args:
        text: counts of its n-grams.
        reference: counts of its n-grams.
        weights: of n-grams of references.
        most: weight of other n-grams.
    """
    values = []
    for order in range(1, CIDER_ORDER + 1):
        of_text, of_reference = (
            {gram: n * weights.get(gram, most) for gram, n in counts.items() if len(gram) == order}
            for counts in (text, reference)
        )
        norms = math.hypot(*of_text.values()) * math.hypot(*of_reference.values())
        common = sum(
            min(value, of_reference[gram]) * of_reference[gram]
            for gram, value in of_text.items()
            if gram in of_reference
        )
        values.append(common / norms if norms else 0.0)
    lengths = [
        sum(n for gram, n in counts.items() if len(gram) == 2) for counts in (text, reference)
    ]
    return fmean(values) * math.exp(-((lengths[0] - lengths[1]) ** 2) / (2 * CIDER_SPREAD**2))


def words_of(text: str, *, punctuation: bool = True) -> Words:
    """Return the words of a text in lower case; without `punctuation`, only those with a letter or a digit."""
    words = _tokenizer()(text.lower()).split()
    return words if punctuation else [word for word in words if any(map(str.isalnum, word))]


@cache
def _tokenizer() -> Any:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()  # type: ignore[no-untyped-call]


def ngrams(words: Words, order: int) -> Iterator[Gram]:
    """Yield the n-grams of `order` successive words."""
    return (tuple(words[start : start + order]) for start in range(len(words) - order + 1))


def _all_grams(words: Words) -> Counter[Gram]:
    return Counter(gram for order in range(1, CIDER_ORDER + 1) for gram in ngrams(words, order))
