"""How many tokens a model answers with: for prompts of this length, for this key, for this kind of task.

A mean per model would send a key that wants one word where an essay is cheap; a mean per key and task would
know nothing of most of them. The length of a prompt says the same of all models, so that they learn it
together; a model that gets one kind of prompt only must not look terse for it. Each further level is a
proportion to the level above it, and counts for nothing until it has observations of its own. Single answers
lie far around any mean: their proportions to what was expected are kept as one distribution per model, which
says what a limit cuts off and how likely a long answer is.
"""

from collections import OrderedDict
from math import exp2, log, prod

from entrepot.routing.kpi.distribution import Distribution
from entrepot.routing.kpi.shift import ShiftTest
from entrepot.routing.kpi.table import Table, log_normal_shares

PSEUDO_COUNT = 5.0
"""How many answers a level has to have before it counts as much as what is expected without it."""

PRIOR_PSEUDO_COUNT = 2.0
"""What was declared or assumed of a model counts as so many of its answers: the variance of the logarithm of
a single answer (`ASSUMED_SPREAD`, 1) over that of a declared mean (twofold either way, 0.7 squared)."""

WINDOW = 512.0
"""A level rests on at most about as many answers: when a mix of prompts changes, it follows within hundreds.
"""

PRESENT_WINDOW = 256.0
"""The same for what is asked at present, of whatever model."""

PRESENT_PSEUDO_COUNT = 64.0
"""Of the same: the first answers say more of their model than of what is asked."""

MODEL_WINDOW = 4096.0
"""The same for a model's own mean; a jump of it is noticed (`kpi.shift`)."""

PARTS_WINDOW = 1024.0
"""The same for how answers spread, of whatever prompts."""

HALF_LIFE_S = 86_400.0
"""Verbosity changes with the mix of prompts over days, not with a host's load over minutes."""

LEAST_OTHERS = 0.001
"""Of the answers of a level above: with fewer from others, what is below says next to nothing."""

MOST_LEVELS = 8192
"""Keys, and keys with tags, that are remembered per model; the least recently seen is forgotten."""

FADED_AT = 1.125
"""How far a window is passed before all of it is faded at once: fading a distribution takes a while."""

LOWEST_PART = 0.001
ASSUMED_SPREAD = 1.0
"""Standard deviation of the logarithm of an answer's length, until measured. Source: the conversations of the
Azure 2023 trace have 1.06."""

KNOWN_AFTER = 32.0
PROMPT_CLASSES = 12
FIRST_CLASS_BITS = 6
"""Prompts below 64 tokens are the first class; each further one has prompts up to twice as long."""


class Level:
    """The mean of what one level saw, in proportion to what was expected above it.

    `weight` begins anew after a jump, `seen` does not.
    """

    __slots__ = ("_recent", "_recent_weight", "_shift", "at_s", "seen", "total", "weight")

    def __init__(self, weight: float = 0.0, total: float = 0.0, at_s: float = 0.0) -> None:
        self.weight = self.seen = weight
        self.total = total
        self.at_s = at_s
        self._shift: ShiftTest | None = None
        self._recent = self._recent_weight = 0.0

    def add(self, value: float, now_s: float, window: float = WINDOW) -> None:
        """Count one answer; what was seen before fades with time and with each answer."""
        kept = exp2((self.at_s - now_s) / HALF_LIFE_S) * (1.0 - 1.0 / window)
        self.weight = self.weight * kept + 1.0
        self.total = self.total * kept + value
        self.seen = self.seen * kept + 1.0
        self.at_s = now_s

    def watch(self, value: float, surprise: float) -> None:
        """Look out for a jump: from there on only what was seen since it began counts.

        Units: `surprise` in standard deviations of the logarithm.
        """
        if self.weight < KNOWN_AFTER:
            return
        shift = self._shift
        if shift is None:
            shift = self._shift = ShiftTest()
        side = shift.side
        jumped = shift.has_jumped(surprise)
        if shift.side != side:
            self._recent = self._recent_weight = 0.0
        if shift.side:
            self._recent += value
            self._recent_weight += 1.0
        if jumped:
            self.weight, self.total = self._recent_weight, self._recent
            self._recent = self._recent_weight = 0.0

    def factor(self, pseudo: float = PSEUDO_COUNT) -> float:
        """Return the proportion to the level above, which is 1 without observations."""
        return (self.total + pseudo) / (self.weight + pseudo)

    def factor_of(self, above: "Level") -> float:
        """Return the same, trusted the less the more of the answers that `above` rests on are this level's.

        Who sent them all cannot differ from their mean: what it has learned in proportion to a mean that was
        being learned itself tells of the order in which the answers came.
        """
        others = 1.0 - self.weight / above.seen if above.seen else 1.0
        pseudo = PSEUDO_COUNT / (others if others > LEAST_OTHERS else LEAST_OTHERS)
        return (self.total + pseudo) / (self.weight + pseudo)


class Classes:
    """What the hour and the length of a prompt say of the answer, for all models together.

    `every` follows what is asked at present, within some hundred answers; a model's own mean changes slowly,
    so that one which answers little does not fall behind those that answer much. `of` has the classes of
    prompts.
    """

    __slots__ = ("every", "of")

    def __init__(self) -> None:
        self.every = Level()
        self.of = [Level() for _ in range(PROMPT_CLASSES)]

    def factor(self, place: int) -> float:
        """Return the proportion to a model's mean that answers to prompts of a class have now."""
        every, of = self.every, self.of[place]
        present = (every.total + PRESENT_PSEUDO_COUNT) / (every.weight + PRESENT_PSEUDO_COUNT)
        return present * ((of.total + PSEUDO_COUNT) / (of.weight + PSEUDO_COUNT))

    def add(self, place: int, value: float, now_s: float) -> None:
        """Count one answer in proportion to its model's mean."""
        of = self.of[place]
        self.every.add(value / of.factor(), now_s, PRESENT_WINDOW)
        of.add(value / self.every.factor(PRESENT_PSEUDO_COUNT), now_s)


class Verbosity:
    """The answers of one model.

    Units: tokens of one choice; `prior_tokens` stands in until there are some. `common` is what all
    models share by length of the prompt, `classes` the model's own on top of them.
    """

    __slots__ = (
        "_log_mean",
        "_log_square",
        "_log_weight",
        "classes",
        "common",
        "levels",
        "parts",
        "table",
        "whole",
    )

    def __init__(self, common: Classes) -> None:
        self.whole = Level()
        self.common = common
        self.classes = [Level() for _ in range(PROMPT_CLASSES)]
        self.levels: OrderedDict[tuple[int, int], Level] = OrderedDict()
        self.parts = Distribution(LOWEST_PART)
        self._log_weight = self._log_mean = self._log_square = 0.0
        self.table = self.tabled(1.0)

    def tabled(self, unit: float) -> Table:
        """Return the parts as a table; `unit` is the weight of an observation made now."""
        return Table(self.parts, log_normal_shares(LOWEST_PART, 1.0, ASSUMED_SPREAD), PSEUDO_COUNT * unit)

    def mean_tokens(self, prior_tokens: float) -> float:
        """Return the tokens of an answer to which nothing else applies: `factor` is in proportion to it."""
        whole = self.whole
        return (whole.total + PRIOR_PSEUDO_COUNT * prior_tokens) / (whole.weight + PRIOR_PSEUDO_COUNT)

    def usual_tokens(self, prior_tokens: float) -> float:
        """Return the tokens of an answer to the prompts that the model gets, of whatever length they are."""
        weight = total = 0.0
        for place, of_class in enumerate(self.classes):
            if of_class.weight:
                weight += of_class.weight
                total += of_class.weight * self.common.of[place].factor() * of_class.factor_of(self.whole)
        mix = self.common.every.factor(PRESENT_PSEUDO_COUNT) * total / weight if weight else 1.0
        return self.mean_tokens(prior_tokens) * mix

    def factor(self, prompt_tokens: float, key_id: int, tag_id: int) -> float:
        """Return the proportion to the mean that answers to such a prompt of this key and task have."""
        return self._factor_at(prompt_class(prompt_tokens), key_id, tag_id)

    def _factor_at(self, place: int, key_id: int, tag_id: int) -> float:
        factor = self.common.factor(place) * self.classes[place].factor_of(self.whole)
        levels = self.levels
        if key_id and levels:
            of_key = levels.get((key_id, 0))
            if of_key is not None:
                factor *= of_key.factor_of(self.whole)
                of_tag = levels.get((key_id, tag_id)) if tag_id else None
                if of_tag is not None:
                    factor *= of_tag.factor_of(of_key)
        return factor

    def observe(
        self,
        tokens: float,
        *,
        prompt_tokens: float,
        sender: tuple[int, int],
        prior_tokens: float,
        weight: float,
        now_s: float,
        censored: bool,
    ) -> None:
        """Count an answer; a `censored` one was cut, and had at least so many tokens.

        `sender` is the key and its tag (0: none). Units: tokens of one choice; `weight` of the holder.
        """
        place, parts = prompt_class(prompt_tokens), self.parts
        expected = self.mean_tokens(prior_tokens) * self._factor_at(place, *sender)
        part = tokens / expected
        if censored:
            part = self._placed(part, weight)
            tokens = part * expected
            surprise = log(max(part, LOWEST_PART))
        else:
            surprise = parts.add(part, weight)
        if parts.weight > FADED_AT * PARTS_WINDOW * weight:
            parts.scale(PARTS_WINDOW * weight / parts.weight)
        watched = self._each_level(tokens, prior_tokens, place, sender, now_s, censored=censored)
        self._watch(*watched, surprise)

    def _placed(self, part: float, weight: float) -> float:
        """Count a cut answer as spread over what was seen beyond it; return the mean of that.

        In proportion to the mean of all parts: an expectation that is too high must not feed itself.
        """
        whole = self.parts.mean_beyond(0.0) or 1.0
        beyond = self.parts.mean_beyond(part) or whole
        self.parts.add_beyond(part, weight, expected=whole)
        return max(part, beyond / whole)

    def _each_level(
        self,
        tokens: float,
        prior_tokens: float,
        place: int,
        sender: tuple[int, int],
        now_s: float,
        *,
        censored: bool,
    ) -> tuple[Level, float]:
        """Count the answer at each level; return the one that answers for a jump and what it was given.

        Each level is given what those above it leave unexplained now that they have counted the answer: were
        all given the same surprise, their product would pass it many times. Of a cut answer, whose length is
        partly our own expectation, no level is given what those below it explain: it would feed itself.
        """
        common, whole = self.common, self.whole
        levels = [(self.classes[place], whole), *self._levels_of(sender)]
        below = prod(level.factor_of(above) for level, above in levels) if censored else 1.0
        usual = tokens / (common.factor(place) * below)
        whole.add(usual, now_s, MODEL_WINDOW)
        left = tokens / self.mean_tokens(prior_tokens)
        common.add(place, left / below, now_s)
        left /= common.factor(place)
        watched = (whole, usual)
        for number, (level, above) in enumerate(levels):
            if censored:
                below /= level.factor_of(above)
            level.add(left / below, now_s)
            if number == 1:  # the key's own
                watched = (level, left / below)
            left /= level.factor_of(above)
        return watched

    def _levels_of(self, sender: tuple[int, int]) -> list[tuple[Level, Level]]:
        """Return the levels of a key and its tag, made where they are new, each with the one above it."""
        key_id, tag_id = sender
        if not key_id:
            return []
        of_key = self._level((key_id, 0))
        return [(of_key, self.whole), (self._level(sender), of_key)] if tag_id else [(of_key, self.whole)]

    def _watch(self, level: Level, value: float, surprise: float) -> None:
        """Look out for a jump. Cut answers are counted where they were placed: the others alone are short.

        Units: `surprise` is the logarithm of the answer in proportion to what was expected.
        """
        weight, mean, square = self._log_weight, self._log_mean, self._log_square
        if weight >= KNOWN_AFTER:
            variance = square - mean * mean
            level.watch(value, (surprise - mean) / (variance if variance > 0.01 else 0.01) ** 0.5)
        self._log_weight = weight = (weight if weight < WINDOW else WINDOW) + 1.0
        self._log_mean = mean + (surprise - mean) / weight
        self._log_square = square + (surprise * surprise - square) / weight

    def _level(self, name: tuple[int, int]) -> Level:
        level = self.levels.get(name)
        if level is None:
            level = self.levels[name] = Level()
            if len(self.levels) > MOST_LEVELS:
                self.levels.popitem(last=False)
        else:
            self.levels.move_to_end(name)
        return level


def prompt_class(prompt_tokens: float) -> int:
    """Return the class of a prompt by its length. Units: tokens."""
    place = int(prompt_tokens).bit_length() - FIRST_CLASS_BITS
    return 0 if place < 0 else place if place < PROMPT_CLASSES else PROMPT_CLASSES - 1
