"""Scores: what a block and an option of a level are worth, in units of the target.

Sign convention: higher is better, everywhere. A block's effect says what changes when it is
removed, so a negative effect means that the block is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sdsearch.errors import InputError, suggest
from sdsearch.files import write_atomic
from sdsearch.model import FrozenModel, SealedModel

if TYPE_CHECKING:
    from pathlib import Path

NormRule = Literal["graph", "module", "last"]
"""Rules of the published method's family: they read norms of embeddings."""
Rule = Literal["partial-dependence"] | NormRule
"""What orders the options of a unit: their effects on the prediction, or norms."""
PredictorKind = Literal[
    "gnn", "gnn-probe", "ridge", "ridge-pairs", "forest", "ridge-probe", "one-shot"
]
"""What predicts the target; those named after a probe need one, "one-shot" needs no labels."""
RANKER_SCHEMA: Literal[3] = 3
"""Of a fitted ranker's files: a fit that an older version made is made again."""
CLEAR_SPREADS = 2.0
"""An effect of fewer spreads than this cannot be told from zero; `docs/scores.md` says why two."""
NOT_TOLD = "cannot be told from zero"


def plus_minus(spread: float, form: str = ".2g") -> str:
    """A spread as it stands behind a value; nothing where a predictor has none.

    >>> "0.4" + plus_minus(0.03), "0.4" + plus_minus(0.0)
    ('0.4 ± 0.03', '0.4')
    """
    return f" ± {spread:{form}}" if spread else ""


@dataclass(frozen=True, slots=True)
class SpaceScores:
    """Predictions for every member of a space, in the order of `space.index`.

    `marginals` holds, per unit, each option's mean prediction over all members that use it, by
    each ensemble member: (options, ensemble members).
    """

    predicted: npt.NDArray[np.float32]  # (len(space),) mean over the ensemble, unit of the target
    spread: npt.NDArray[np.float32]  # (len(space),) standard deviation over the ensemble
    marginals: tuple[npt.NDArray[np.float64], ...]

    def top(self, k: int, allowed: npt.NDArray[np.bool_] | None = None) -> list[int]:
        """Indices of the k best predicted members, best first, among the allowed ones."""
        at = np.arange(len(self.predicted)) if allowed is None else np.flatnonzero(allowed)
        return best_of(self.predicted[at], k, at)

    def save(self, file: Path) -> Path:
        """Write the arrays as safetensors; `load` gives the same bits. Returns `file`."""
        from safetensors.numpy import save

        arrays = {"predicted": self.predicted, "spread": self.spread}
        marginals = {f"marginals.{axis}": array for axis, array in enumerate(self.marginals)}
        tensors = {name: np.ascontiguousarray(x) for name, x in (arrays | marginals).items()}
        write_atomic(file, save(tensors), file.parents[1])
        return file

    @classmethod
    def load(cls, file: Path) -> SpaceScores:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            arrays = load_file(file)
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"{file} must hold predictions, but: {error}; remove it, then run: sdsearch score"
            ) from None
        count = sum(name.startswith("marginals.") for name in arrays)
        marginals = tuple(arrays[f"marginals.{axis}"] for axis in range(count))
        return cls(arrays["predicted"], arrays["spread"], marginals)


def best_of(values: npt.NDArray[np.floating], k: int, names: npt.NDArray[np.integer]) -> list[int]:
    """The names of the k largest values, largest first, ties by position."""
    k = min(k, len(values))
    if k == 0:
        return []
    threshold = np.partition(values, len(values) - k)[len(values) - k]
    at = np.flatnonzero(values >= threshold)
    return [int(i) for i in names[at[np.argsort(-values[at], kind="stable")][:k]]]


class FeatureNorm(FrozenModel):
    """The norm of one feature value's embedding before any message passing."""

    category: str
    value: str
    norm: float
    spread: float


class EmbeddingNorms(FrozenModel):
    """What the published method reads: sizes of embeddings, in no unit of the target.

    They say where the net looks, not what a removal changes: for that there are effects.

    Attributes:
        hop_weights: how much hops 0..M count, by their out-of-fold SRCC.
        features: norms of feature values, at hop 0.
        slots: what every slot of the unpruned net adds to its graph norm, a mean of hops 0..M by
            `hop_weights` and over the ensemble.
    """

    hop_weights: tuple[float, ...]
    features: tuple[FeatureNorm, ...]
    slots: dict[str, float]


class BlockScore(FrozenModel):
    """What removing one block changes, averaged over all options that keep it.

    Attributes:
        effect: change of the predicted target.
        spread: deviation of `effect` over the ensemble.
        together_with: blocks that the shapes force to go with it.
    """

    name: str
    unit: str
    effect: float
    spread: float
    together_with: tuple[str, ...]

    @property
    def unclear(self) -> bool:
        """Whether the ensemble's members differ too much to tell the effect from zero.

        A predictor without a spread, as a forest, says so of effects that are 0 alone.
        """
        return self.effect == 0 or abs(self.effect) < CLEAR_SPREADS * self.spread


class OptionScore(FrozenModel):
    """The worth of one option of a unit.

    Attributes:
        option: its index in the unit.
        words: the option in words.
        score: what the builder adds up, in units of the target: `effect`, unless another rule is
            asked for (see `scoring.score_units`).
        effect: partial dependence, mean predicted target minus the unit's mean.
        spread: deviation of `effect` over the ensemble.
    """

    option: int
    words: str
    score: float
    effect: float
    spread: float


class UnitScores(FrozenModel):
    """All options of one unit, in the order of the unit.

    `stability` is how alike the ensemble's members order them: the mean SRCC of pairs of members.
    """

    unit: str
    stability: float
    options: tuple[OptionScore, ...]

    @property
    def range(self) -> float:
        """Best minus worst effect: how much the unit matters."""
        effects = [option.effect for option in self.options]
        return max(effects) - min(effects)


class Scores(SealedModel):
    """`scores.json`: what a fitted ranker thinks of blocks and units.

    `norms` is what the published method would read off the same net; a baseline has none.
    """

    schema_version: Literal[2] = Field(2, alias="schema")
    space: str
    kind: PredictorKind
    rule: Rule
    mean: float  # of the predicted target over the space
    blocks: tuple[BlockScore, ...]
    units: tuple[UnitScores, ...]
    norms: EmbeddingNorms | None = None

    def __repr__(self) -> str:
        options = sum(len(unit.options) for unit in self.units)
        return f"Scores({self.space}, {self.kind}: {len(self.blocks)} blocks, {options} options)"

    def __str__(self) -> str:
        return repr(self)

    @property
    def block_worth(self) -> dict[str, float]:
        """What keeping each block is worth, in units of the target, by slot name."""
        return {block.name: -block.effect for block in self.blocks}

    @property
    def unclear_blocks(self) -> tuple[str, ...]:
        """The names of blocks whose effect cannot be told from zero."""
        return tuple(block.name for block in self.blocks if block.unclear)

    def unit(self, name: str) -> UnitScores:
        """The scores of one unit."""
        for unit in self.units:
            if unit.unit == name:
                return unit
        units = [unit.unit for unit in self.units]
        hint = suggest(name, units, f"choose one of {', '.join(units)}")
        raise InputError(f"there is no unit {name!r}{hint}")

    def top_k(self, unit: str, k: int) -> tuple[OptionScore, ...]:
        """The k best options of a unit, best first."""
        return tuple(sorted(self.unit(unit).options, key=lambda option: -option.score)[:k])

    def values(self) -> list[npt.NDArray[np.float64]]:
        """Per unit the scores of its options, in order."""
        return [np.array([option.score for option in unit.options]) for unit in self.units]

    def insights(self) -> list[str]:
        """The findings in words: which level matters, what to keep, what can go, what is open."""
        ranked = sorted(self.units, key=lambda unit: -unit.range)
        said = [
            f"{ranked[0].unit} matters most: its options span {ranked[0].range:.3g} in the target,"
            f" those of {ranked[-1].unit} only {ranked[-1].range:.3g}."
        ]
        for unit in self.units:
            best = self.top_k(unit.unit, 1)[0]
            worth = f"{best.effect:+.3g}{plus_minus(best.spread)}"
            said.append(f"Best option of {unit.unit}: {best.words} ({worth}).")
        blocks = sorted(self.blocks, key=lambda block: block.effect)
        needed = [block for block in blocks if block.effect < 0 and not block.unclear]
        spare = [block for block in blocks[::-1] if block.effect > 0 or block.unclear]
        said += [f"Keep {b.name}: removing {_removal(b)}." for b in _once(needed)[:3]]
        said += [f"{b.name} can go: removing {_removal(b)}." for b in _once(spare)[:3]]
        if unclear := self.unclear_blocks:
            many = f"{len(unclear)} of {len(blocks)} blocks"
            said.append(f"The effects of {many} {NOT_TOLD}: {', '.join(unclear)}.")
        return said


def read_scores(file: Path) -> Scores | None:
    """The scores of a study, or None where none were made yet.

    Raises:
        InputError: the file is damaged.
    """
    return Scores.read(file, "scores", f"sdsearch score {file.parent}")


def _once(blocks: list[BlockScore]) -> list[BlockScore]:
    """Without blocks that go together with an earlier one."""
    found: list[BlockScore] = []
    for block in blocks:
        if not any(block.name in other.together_with for other in found):
            found.append(block)
    return found


def _removal(block: BlockScore) -> str:
    others = f" (with {', '.join(block.together_with)})" if block.together_with else ""
    verb = "costs" if block.effect < 0 else "gains"
    doubt = f", which {NOT_TOLD}" if block.unclear else ""
    effect = f"{abs(block.effect):.3g}{plus_minus(block.spread)}"
    return f"it{others} {verb} {effect} of the target{doubt}"
