"""Claims: which design is better than the teacher, which method than another, and by which test."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING

from sdsearch.labels import Measurement
from sdsearch.stats import decide, difference_of
from sdsearch.study import read_designs
from sdsearch.unet import UNPRUNED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sdsearch.design import Design
    from sdsearch.labels import Label
    from sdsearch.stats import Difference, Verdict
    from sdsearch.study import StudyFolder

CLAIM_HEADER = ("claim", "difference", "verdict", "test")
_Keys = tuple[str, ...]
_TESTS = {
    "crossed": "crossed: a mean over label seeds, of other scenes and other seeds too",
    "paired": "paired: of other scenes too, but of this label seed alone",
    "unpaired": "unpaired: labels have no blocks, so that their errors count as independent and "
    "intervals are too wide; compute their metrics again where their rows are kept",
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A verdict on two, lower values being better.

    Attributes:
        first: a design, or a method with the number of its designs.
        second: what it is held against.
        names: names of the designs that it is of, where it is of a single architecture.
        verdict: what the difference bears.
    """

    first: str
    second: str
    names: tuple[str, ...]
    verdict: Verdict

    @property
    def difference(self) -> str:
        """First minus second with its interval."""
        low, high = self.verdict.interval
        return f"{self.verdict.difference.value:+.2f} [{low:.2f}, {high:.2f}]"

    @property
    def words(self) -> str:
        """The verdict alone."""
        return self.verdict.describe(self.second)

    @property
    def cells(self) -> tuple[str, ...]:
        """A row below `CLAIM_HEADER`."""
        pair = f"{self.first} against {self.second}"
        return (pair, self.difference, self.words, self.verdict.difference.test)

    def __str__(self) -> str:
        return (
            f"{self.first} against {self.second}: {self.words}; difference {self.difference} "
            f"({self.verdict.test})"
        )


def read_claims(study: StudyFolder) -> tuple[Claim, ...]:
    """The claims that a study's labels and designs bear (`make_claims`)."""
    return make_claims(
        study.labels.read_all(study.protocol_key),
        read_designs(study),
        study.config.protocol.column("fd"),
        study.config.seed,
        study.config.report.margin,
    )


def make_claims(
    labels: Iterable[Label], designs: Sequence[Design], column: str, seed: int, share: float
) -> tuple[Claim, ...]:
    """Every searched design against the teacher, and methods against each other; together.

    All measured designs are held against the teacher, so that Holm's correction covers the choice
    of the best among them. Methods are compared by the means of their designs: to compare the best
    of each would favour who has more to choose from. Random designs are held against methods alone.

    Args:
        labels: of one protocol and all seeds.
        designs: what was built.
        column: what is compared, lower being better.
        seed: the study's label seed, whose labels all that is claimed have.
        share: the margin of "as good as", as a share of the teacher's value.
    """
    seeds: dict[int, dict[str, Label]] = {seed: {}}
    for label in labels:
        if not label.failure:
            seeds.setdefault(label.seed, {})[label.arch_key] = label
    own, teacher = seeds[seed], (UNPRUNED.key,)
    if UNPRUNED.key not in own or own[UNPRUNED.key].scalar(column) <= 0:
        return ()
    names, methods = _measured(designs, own)
    wanted: list[tuple[str, str, _Keys, _Keys, _Keys]] = [
        (", ".join(found), "the teacher", found, (key,), teacher)
        for key, found in names.items()
        if key != UNPRUNED.key
    ]
    wanted += [
        (f"{one} ({len(first)})", f"{other} ({len(second)})", (), first, second)
        for (one, first), (other, second) in combinations(methods.items(), 2)
        if set(first) != set(second)
    ]
    compared = [
        (first, second, found, difference)
        for first, second, found, keys, others in wanted
        if (difference := _difference(list(seeds.values()), keys, others, column))
    ]
    margin = share * own[UNPRUNED.key].scalar(column)
    verdicts = decide([difference for *_, difference in compared], margin)
    return tuple(
        Claim(first, second, found, verdict)
        for (first, second, found, _), verdict in zip(compared, verdicts, strict=True)
    )


def claim_notes(claims: Sequence[Claim]) -> list[str]:
    """What has to be known to read a table of claims."""
    if not claims:
        return []
    verdict = claims[0].verdict
    tests = dict.fromkeys(claim.verdict.difference.test for claim in claims)
    return [
        "difference: first minus second, with the interval at which it was decided",
        f"as good as: a loss of {verdict.margin:.3g} or more is ruled out at 2.5 %, one-sided",
        *(
            f"t tests, corrected by Holm for {verdict.claims} claims made together"
            for _ in range(verdict.claims > 1)
        ),
        *(_TESTS[test] for test in tests),
    ]


def _measured(
    designs: Sequence[Design], own: Mapping[str, Label]
) -> tuple[dict[str, _Keys], dict[str, _Keys]]:
    """Names of each searched architecture, and architectures of each method, that are measured."""
    names: dict[str, _Keys] = {}
    methods: dict[str, _Keys] = {}
    for design in designs:
        key = design.arch_key
        if key in own:
            methods[design.method] = (*methods.get(design.method, ()), key)
            if design.method != "random":
                names[key] = (*names.get(key, ()), design.name)
    return names, methods


def _difference(
    seeds: Sequence[Mapping[str, Label]], first: Sequence[str], second: Sequence[str], column: str
) -> Difference | None:
    """First minus second under the seeds that have all of both, that of the study first."""
    shared = [labels for labels in seeds if {*first, *second} <= labels.keys()]
    return difference_of(
        [_mean(labels, first, column) for labels in shared],
        [_mean(labels, second, column) for labels in shared],
    )


def _mean(labels: Mapping[str, Label], keys: Sequence[str], column: str) -> Measurement:
    """The mean of a column over architectures of the same samples, with the mean's blocks."""
    value = fmean(labels[key].scalar(column) for key in keys)
    found = [labels[key].values[column] for key in keys]
    each = [one for one in found if isinstance(one, Measurement)]
    if len(each) < len(found) or len({one.n for one in each}) > 1:
        return Measurement(value=value)
    errors = [one.se for one in each if one.se is not None]
    blocks = [one.blocks for one in each if one.blocks is not None]
    alike = len(blocks) == len(each) and len(set(map(len, blocks))) == 1
    return Measurement(
        value=value,
        # The mean of errors, as if they moved together: the same scenes do move them
        se=fmean(errors) if len(errors) == len(each) else None,
        n=each[0].n,
        blocks=tuple(map(fmean, zip(*blocks, strict=True))) if alike else None,
    )
