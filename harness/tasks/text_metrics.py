"""Metrics of texts that are written, against one or more references of each; fractions, not percent.

An empty text counts like any other text: BLEU, chrF and ROUGE give it 0, and TER gives it 1. The libraries split the
texts: sacrebleu's BLEU splits off punctuation and keeps case (13a); its TER splits at spaces and ignores case; its
chrF compares characters; rouge-score compares stems in lower case.
"""

from collections.abc import Sequence
from functools import cache
from itertools import zip_longest
from typing import Any, Final

from harness.tasks.nist_cider import ngrams, words_of

Texts = Sequence[str]
References = Sequence[Sequence[str]]  # of each text
# Computed for every task that writes text, beside the metric that is the score.
OTHER_METRICS: Final = ("chrf", "rougeL", "length-ratio", "repetition")


def bleu(texts: Texts, references: References) -> float:
    """Return BLEU (Papineni et al. 2002) of a corpus, as sacrebleu computes it (Post 2018)."""
    from sacrebleu.metrics.bleu import BLEU

    return _corpus(BLEU(), texts, references)


def chrf(texts: Texts, references: References) -> float:
    """Return chrF2 (Popovic 2015) of a corpus."""
    from sacrebleu.metrics.chrf import CHRF

    return _corpus(CHRF(), texts, references)


def ter(texts: Texts, references: References) -> float:
    """Return the translation edit rate (Snover et al. 2006) of a corpus; less is better, and it can exceed 1."""
    from sacrebleu.metrics.ter import TER

    return _corpus(TER(), texts, references)


def rouge(kind: str, texts: Texts, references: References) -> float:
    """Return the mean over the texts of a ROUGE score (Lin 2004); of several references, the best counts.

    Args:
        kind: rouge1, rouge2 or rougeL.
        texts: the texts.
        references: of each text.
    """
    return sum(rouge_of_rows(kind, texts, references)) / len(texts)


def rouge_of_rows(kind: str, texts: Texts, references: References) -> list[float]:
    """Return the ROUGE score of each text."""
    scorer = _rouge_scorer(kind)
    return [
        float(scorer.score_multi(list(of_text), text)[kind].fmeasure)
        for text, of_text in zip(texts, references, strict=True)
    ]


@cache
def _rouge_scorer(kind: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], use_stemmer=True)


def bleu_of_rows(texts: Texts, references: References) -> list[float]:
    """Return a score for each text; their mean is BLEU, and the variance of that mean estimates that of BLEU.

    The score of a text is BLEU plus the influence of the text (the infinitesimal jackknife; Efron 1982,
    chapter 6): the derivative of BLEU by the weight of the text, times the number of texts.
    """
    import numpy as np
    from sacrebleu.metrics.bleu import BLEU

    metric, score = BLEU(effective_order=True), bleu(texts, references)
    counted = [
        metric.sentence_score(text, list(of_text))
        for text, of_text in zip(texts, references, strict=True)
    ]
    matches = np.array([row.counts for row in counted], dtype=float)  # [texts, 4]
    grams = np.array([row.totals for row in counted], dtype=float)
    length = np.array([row.sys_len for row in counted], dtype=float)
    reference = np.array([row.ref_len for row in counted], dtype=float)
    # The derivative of the logarithm of BLEU by the weight of a text. A length of n-grams without any match is left
    # out: its smoothed precision is treated as constant.
    known = matches.sum(0) > 0
    slope = (matches / np.where(known, matches.sum(0), 1) - grams / np.maximum(grams.sum(0), 1))[
        :, known
    ].sum(1) / matches.shape[1]
    if 0 < length.sum() < reference.sum():  # texts are too short in all
        slope -= reference / length.sum() - reference.sum() * length / length.sum() ** 2
    return list(score * (1 + len(texts) * slope))


def repetition(texts: Sequence[str], _references: Sequence[Sequence[str]]) -> float:
    """Return the share of the texts' word 4-grams that the same text has before."""
    grams = [list(ngrams(words_of(text), 4)) for text in texts]
    count = sum(map(len, grams))
    return sum(len(own) - len(set(own)) for own in grams) / count if count else 0.0


def length_ratio(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the number of words of all texts, divided by that of the references that are nearest in length."""
    pairs = [
        (len(words_of(text)), [len(words_of(reference)) for reference in of_text])
        for text, of_text in zip(texts, references, strict=True)
    ]
    nearest = sum(min((abs(n - length), n) for n in known)[1] for length, known in pairs)
    return sum(length for length, _ in pairs) / nearest if nearest else 0.0


def _corpus(metric: Any, texts: Texts, references: References) -> float:
    """Return the score of a corpus. The library takes the first references of all texts, then the second ones."""
    streams = [list(stream) for stream in zip_longest(*references)]
    return float(metric.corpus_score(list(texts), streams).score) / 100
