"""How often the statistics that decide are right, on simulated truths.

    python -m benchmarks.coverage > benchmarks/coverage.txt

Every simulation draws scenes, label seeds and architectures anew, makes labels of them as the
harness does, with their blocks, and asks what the product asks. An interval of 95 % must hold the
truth in 93 to 97 % of them, or 90 % where seeds alone move a Frechet distance, and so askew that
three of them cannot tell; "as good as" at the very margin must come in 2.5 %, and any wrong word
among several claims in 5 %, or less. What stands beside a share is its binomial error. About two
minutes on one core; exit code 1 where a share is not as it must be.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sdsearch.stats import decide, difference_of
from sdsearch_eval.metrics import frechet_distance, jackknife, mean_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sdsearch.labels import Measurement
    from sdsearch.stats import Difference

    Array = NDArray[np.float64]

SCENES, WIDTH, SIMULATIONS, DESIGNS = 192, 8, 2000, 8
OF_SCENES, OF_SEEDS = 5.0, 2.0
"""Deviations of what a scene, and a label seed, do to all alike: pairing must remove them."""


@dataclass(frozen=True, slots=True)
class Means:
    """Two architectures whose means over scenes differ by `truth`.

    `scene`, `seed` and `rest` are deviations of what a scene, a seed, and both together do to one
    of them alone, for every scene.
    """

    truth: float = 0.7
    seeds: int = 1
    seed: float = 0.0
    scene: float = 1.0
    rest: float = 1.0
    is_skewed: bool = False

    def draw(self, rng: np.random.Generator) -> Difference:
        """The difference that the product finds between labels of both."""
        scenes = rng.normal(0, OF_SCENES, SCENES)
        drawn = rng.normal(0, 1, SCENES)
        if self.is_skewed:
            drawn = np.exp(drawn) - np.exp(0.5)
        labels = []
        for _ in range(self.seeds):
            both = scenes + rng.normal(0, OF_SEEDS)
            alone = self.scene * drawn + rng.normal(0, self.seed)
            alone += rng.normal(0, self.rest, SCENES)
            labels.append((mean_of(both + self.truth + alone), mean_of(both)))
        return compare(labels)


@dataclass(frozen=True, slots=True)
class Distances:
    """Two architectures whose Frechet distances from the same originals differ by `truth`.

    A label seed moves what the first of them adds by `seed` of itself.
    """

    truth: float
    seeds: int = 1
    seed: float = 0.0

    def draw(self, rng: np.random.Generator) -> Difference:
        """The difference that the product finds between labels of both."""
        scenes = rng.normal(0, 1, (2, SCENES, WIDTH))
        drawn = [_features(scenes, self.seed, rng) for _ in range(self.seeds)]
        return compare(
            [
                (
                    jackknife(frechet_distance, first, scenes[0]),
                    jackknife(frechet_distance, second, scenes[0]),
                )
                for first, second in drawn
            ]
        )


EFFECTS = {
    "means, mostly scenes": 0.03,
    "means, scenes as seeds": 0.1,
    "means, mostly seeds": 0.3,
}
"""What a seed does to one architecture alone, as a deviation; scenes move its mean by 0.07."""
AT_MARGIN = ("paired means", "paired Frechet distances", "crossed means, scenes as seeds, 3 seeds")


def expected_distance(seed: float, rng: np.random.Generator, draws: int = 4000) -> float:
    """The expected difference of `Distances` at as many scenes, over draws of their own."""
    found = []
    for _ in range(draws):
        scenes = rng.normal(0, 1, (2, SCENES, WIDTH))
        first, second = _features(scenes, seed, rng)
        found.append(frechet_distance(first, scenes[0]) - frechet_distance(second, scenes[0]))
    return float(np.mean(found))


def _features(scenes: Array, seed: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Features (n, d) of both, which stray from the originals scenes[0] by what scenes[1] say."""
    both = scenes[0] + 0.5 * scenes[1]
    first = 1.3 * both + 0.3 * (1 + seed * rng.normal()) + 0.5 * rng.normal(0, 1, both.shape)
    return first, 1.1 * both + 0.2 + 0.5 * rng.normal(0, 1, both.shape)


def compare(labels: list[tuple[Measurement, Measurement]]) -> Difference:
    """What the product makes of labels of both, one pair for each seed."""
    firsts, seconds = zip(*labels, strict=True)
    found = difference_of(firsts, seconds)
    if found is None:
        raise AssertionError("the labels of a simulation have errors")
    return found


def holds(truths: Means | Distances, rng: np.random.Generator) -> bool:
    """Whether the interval of 95 % holds the truth."""
    low, high = truths.draw(rng).interval()
    return low <= truths.truth <= high


def is_called_good(truths: Means | Distances, rng: np.random.Generator) -> bool:
    """Whether the first is called as good as the second, where its loss is the very margin."""
    return decide([truths.draw(rng)], margin=truths.truth)[0].is_as_good


def errs_among_many(rng: np.random.Generator) -> bool:
    """Whether any of eight designs is called better or worse than the teacher that it equals."""
    scenes = rng.normal(0, OF_SCENES, SCENES)
    teacher, *designs = (mean_of(scenes + rng.normal(0, 1, SCENES)) for _ in range(1 + DESIGNS))
    verdicts = decide([compare([(design, teacher)]) for design in designs], margin=0.5)
    return any(verdict.word != "no difference" for verdict in verdicts)


class Case(NamedTuple):
    """A question, and from which to which share of simulations its answer must be yes."""

    name: str
    ask: Callable[[np.random.Generator], bool]
    least: float
    most: float


def list_cases(rng: np.random.Generator) -> list[Case]:
    """All questions; `rng` draws the expected values that no formula gives."""
    still, moved, skewed = (
        Distances(expected_distance(seed, rng), seed=seed) for seed in (0.0, 0.1, 0.3)
    )
    means = {name: Means(seed=seed) for name, seed in EFFECTS.items()}
    held: dict[str, Means | Distances] = {
        "paired means": Means(),
        "paired means, skewed scenes": Means(is_skewed=True),
        "paired Frechet distances": still,
    }
    for seeds in (3, 5):
        several = {**means, "Frechet distances, mostly seeds": moved}
        held |= {
            f"crossed {name}, {seeds} seeds": replace(one, seeds=seeds)
            for name, one in several.items()
        }
    at_margin = {name: held[name] for name in AT_MARGIN}
    return [
        *(Case(f"interval: {name}", _asks(holds, one), 0.93, 0.97) for name, one in held.items()),
        Case(
            "interval: crossed Frechet distances, seeds alone and skewed, 3 seeds",
            _asks(holds, replace(skewed, seeds=3)),
            0.90,
            0.97,
        ),
        *(
            Case(f"as good as, at the margin: {name}", _asks(is_called_good, one), 0.0, 0.035)
            for name, one in at_margin.items()
        ),
        Case(f"any wrong word on {DESIGNS} equal designs", errs_among_many, 0.0, 0.06),
    ]


def _asks(
    question: Callable[[Means | Distances, np.random.Generator], bool], truths: Means | Distances
) -> Callable[[np.random.Generator], bool]:
    return lambda rng: question(truths, rng)


def share_of(case: Case, simulations: int, seed: int) -> tuple[float, float]:
    """In which share of simulations the answer is yes, and its binomial error."""
    streams = np.random.SeedSequence(seed).spawn(simulations)
    share = float(np.mean([case.ask(np.random.default_rng(one)) for one in streams]))
    return share, sqrt(share * (1 - share) / simulations)


def main() -> int:
    """Print a line for each case; 1 where one is not as it must be."""
    print(f"{SIMULATIONS:,} simulations a case, {SCENES} scenes, 8 blocks, seed 0\n")
    failed = 0
    for case in list_cases(np.random.default_rng(1)):
        share, error = share_of(case, SIMULATIONS, seed=0)
        is_right = case.least <= share <= case.most
        failed += not is_right
        wanted = f"{case.least:.1%} to {case.most:.1%}" if case.least else f"<= {case.most:.1%}"
        mark = "" if is_right else "  NOT AS IT MUST BE"
        print(f"{share:6.1%} ± {error:.1%}  ({wanted})  {case.name}{mark}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
