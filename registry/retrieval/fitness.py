"""How probable it is that an adapter does what was asked for, whatever else does it too.

Who asks for "neon" asks for a kind of thing, and everything neon fits: so nothing here is shared
out among rivals, as it is where one adapter is meant (`registry.retrieval.ranking.evidence`).
Every signal speaks for an adapter by how near it is in itself, and by how far it is behind the
nearest one; equals lose nothing by each other. No adapter falls by a better score of its own.

`python -m benchmarks.search.fitting` learns constants; docs/search.md tells how these came about,
and docs/benchmarks/search.md has what they bring.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from encoder.arrays import Bools, Doubles
from registry.retrieval.terms import SIMILARITIES, Band, Signal

# From these probabilities on a result is said to fit, and perhaps to fit. Where the constants were
# learned, no nonsense even perhaps fits, and hardly anything far off fits.
FITS, PERHAPS = 0.6, 0.15
# If no adapter answers more of a question by its words, they say nothing: it is in another
# language, or about what nobody wrote down. Nor do they of one that is named in another script.
SILENCE = 0.15
# How much a word counts that stands in tags, author or description, against 1 for one in the name
# or the trigger words; so an adapter that has all of a question somewhere has LITERAL at least,
# which is that less what rounding takes.
ELSEWHERE = 0.6
LITERAL = ELSEWHERE - 1e-6
# What an ordinary word counts that only a part of an author's name has: who is called Neon Cat does
# no cats.
AUTHORED = 0.1
# How probably a question that is just an author's name means that author, and not what it says:
# all that the author made fits then.
AUTHOR_MEANT = FITS
# From this score on an adapter has all of a question in its name or trigger words.
WHOLE = 1 - 1e-6
# Silent words leave the judgement to one signal, which no similarity makes surer than this.
FARTHEST = 8.0


@dataclass(frozen=True, slots=True)
class Fitness:
    """How a signal's score z becomes log-odds.

        above    = z - gibberish * (how near gibberish the question is)
        log-odds = weight * ln((floor + sigmoid(slope * (above - doubt))) / (floor + 1))
                   - lag * (1 - exp(-pace * (the best z - z)))
                   + alone * (above - doubt), where words are silent
                   + only * (above - doubt), where no other signal knows the adapter either

    `unknown` are those of an adapter that has no score.
    """

    weight: float
    slope: float
    doubt: float
    floor: float
    lag: float
    pace: float
    unknown: float = 0.0
    gibberish: float = 0.0
    alone: float = 0.0
    only: float = 0.0

    def log_odds(
        self, z: Doubles, gibberish: Doubles, *, silent: Bools, others_know: Bools
    ) -> Doubles:
        """Return log-odds (adapters,) of scores z (adapters,), NaN where there is none.

        `silent` (adapters,): words say nothing of them; `others_know`: another signal than this one
        and words has a score.
        """
        known = ~np.isnan(z)
        if not known.any():
            return np.full(len(z), self.unknown)
        z = np.where(known, z, 0.0)
        above = z - self.gibberish * np.maximum(gibberish, 0.0) - self.doubt
        # Clipped where the exponential would overflow, and nothing changes any more.
        near = 1 / (1 + np.exp(-np.clip(self.slope * above, -500, 500)))
        behind = np.maximum(z[known].max() - z, 0.0)
        odds = self.weight * np.log((self.floor + near) / (self.floor + 1))
        odds -= self.lag * (1 - np.exp(-self.pace * behind))
        alone = self.alone + self.only * ~others_know
        odds += np.where(silent, alone * np.clip(above, None, FARTHEST), 0.0)
        return np.where(known, odds, self.unknown)


FITNESS: Mapping[Signal, Fitness] = {
    "weights": Fitness(
        weight=0.717, slope=0.912, doubt=3.08, floor=0.0603, lag=1.92, pace=0.0927,
        unknown=-2.01, gibberish=0.217, alone=0.235, only=0.352,
    ),
    "captions": Fitness(
        weight=0.186, slope=2.3, doubt=2.74, floor=0.128, lag=0.302, pace=3.16,
        unknown=-0.704, gibberish=0.486, alone=0.494,
    ),
    "words": Fitness(
        weight=2.0, slope=22.2, doubt=0.346, floor=1.63, lag=1.46, pace=17.3,
    ),
}  # fmt: skip
# The odds of an adapter for which everything speaks; what silent words add to all, and to those
# of which nothing else is known either.
OFFSET, SILENT, UNTOLD = 2.14, -0.728, -3.21
# What comes to an adapter that has every word of a question: where weights or captions are known
# of it too, and where nothing else is.
WRITTEN, ONLY_WRITTEN = 3.45, 4.86
# What is said of adapters by itself: by logistic regression on the ten nearest for each question
# that benchmarks/search/described.json has to choose on, what nothing answers as heavy as the rest.
SAID_SLOPE, SAID_LAG, SAID_DOUBT = 17.7, 12.0, 6.56
# A bare name is near whatever else nobody knows, as a Chinese word in Latin letters is or one that
# is misspelt. Of 195 questions whose answer is there 8 are nearer to gibberish than this, and of 93
# such words 70. By bare names 22 of these are said to fit something, and were 57; of those 175 and
# 176, and by names with tags and descriptions as many as before.
SAID_NONSENSE, SAID_GIBBERISH = 2.9, 2.8
# Where some of the question's words stand in it, too: a blue heart is near a red one.
# `python -m benchmarks.search.worded` learns them.
WORDED_SLOPE, WORDED_LAG, WORDED_SHARE, WORDED_DOUBT = 4.37, 18.40, 3.87, 3.27
# How far evidence for one adapter among rivals counts, by how much less there is than for the
# first.
EVIDENCE_LAG, EVIDENCE_PACE = 8.06, 0.0504


def probabilities(
    z: Mapping[Signal, Doubles], gibberish: Doubles, behind: Doubles, *, silent: Bools
) -> Doubles:
    """Return for each adapter (adapters,) how probable it is that it does what was asked for.

    `z` has the scores of the signals that were asked, `gibberish` (adapters,) how near
    gibberish the question is in each one's space, `behind` (adapters,) how much less speaks for it
    than for the first among its rivals, and `silent` (adapters,) of which words say nothing.
    """
    if not len(behind):
        return behind
    odds = OFFSET + SILENT * silent - EVIDENCE_LAG * (1 - np.exp(-EVIDENCE_PACE * behind))
    gibberish, unknown = np.broadcast_to(gibberish, behind.shape), np.full(len(behind), np.nan)
    known = {signal: ~np.isnan(z.get(signal, unknown)) for signal in SIMILARITIES}
    for signal in SIMILARITIES:
        others = np.any([own for other, own in known.items() if other != signal], axis=0)
        odds = odds + FITNESS[signal].log_odds(
            z.get(signal, unknown), gibberish, silent=silent, others_know=others
        )
    untold = ~np.any([*known.values()], axis=0)
    words = z.get("words", unknown)
    # Where words say nothing, no adapter is behind one of which they tell.
    for some in (silent, ~silent):
        odds[some] += FITNESS["words"].log_odds(
            words[some], gibberish[some], silent=silent[some], others_know=~untold[some]
        )
    words = np.nan_to_num(words)
    odds += np.where(untold & (words <= 0) & silent, UNTOLD, 0.0)
    odds += np.where(has_every_word(words), np.where(untold, ONLY_WRITTEN, WRITTEN), 0.0)
    probability: Doubles = 1 / (1 + np.exp(-odds))
    return probability


def probabilities_of_said(
    said: Doubles, nearest: float = -1.0, gibberish: Doubles | float = 0.0
) -> Doubles:
    """Return how probable it is that adapters do what was asked for by what is said of them alone.

    `said` (adapters,) are cosines with name, trigger words, tags and description in one text, NaN
    where something else tells more; so are the answers then. `nearest` is the cosine of
    the nearest text, be it a caption, and `gibberish` how near the question is to what means
    nothing, as `probabilities` takes it.
    """
    if np.isnan(said).all():
        return said
    odds = SAID_SLOPE * said - SAID_LAG * (max(nearest, np.nanmax(said)) - said) - SAID_DOUBT
    odds -= SAID_GIBBERISH * np.maximum(np.asarray(gibberish) - SAID_NONSENSE, 0.0)
    probability: Doubles = 1 / (1 + np.exp(-odds))
    return probability


def probabilities_of_worded(said: Doubles, words: Doubles, nearest: float) -> Doubles:
    """Return the same for adapters that have some words of the question; it tells by which share.

    `said` and `words` (adapters,) are cosines and the words' scores, NaN where this says nothing;
    so are the answers then.
    """
    odds = WORDED_SLOPE * said - WORDED_LAG * (nearest - said) + WORDED_SHARE * words - WORDED_DOUBT
    probability: Doubles = 1 / (1 + np.exp(-odds))
    return probability


def probabilities_by_author(probable: Doubles, authored: Bools, words: Doubles) -> Doubles:
    """Return probabilities (adapters,) where the question is an author's name in full.

    If the author is meant, all `authored` adapters are right, and no others; if not, all are as
    `probable` as by what the question says. What literally answers it by its `words` keeps that.
    """
    others = np.where(words >= LITERAL, probable, (1 - AUTHOR_MEANT) * probable)
    return np.where(authored, AUTHOR_MEANT + (1 - AUTHOR_MEANT) * probable, others)


def has_every_word(words: Doubles) -> Bools:
    """Return by their words' scores which adapters have all of a question.

    All in the name, or all elsewhere: no part of a question scores just that. What has some words
    here and some there is not told from what lacks one.
    """
    return (words >= WHOLE) | (np.abs(words - ELSEWHERE) < 1e-6)


def band_of(probability: float) -> Band:
    """Return what is said of a result with this probability."""
    if probability >= FITS:
        return "fits"
    return "perhaps" if probability >= PERHAPS else "probably not"
