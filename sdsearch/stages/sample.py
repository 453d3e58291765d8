"""Sampling: which architectures to measure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from sdsearch.design.proposals import propose_labels
from sdsearch.files import write_atomic
from sdsearch.keys import canonical_json
from sdsearch.report.outcome import ACTIVE
from sdsearch.stages.search import _load_predictions, score
from sdsearch.study.folder import load_space
from sdsearch.unet.architecture import Architecture

if TYPE_CHECKING:
    from sdsearch.study.folder import StudyFolder


def sample(study: StudyFolder) -> list[dict[str, Any]]:
    """Write architectures.jsonl: the named members and the study's sample, the same every time.

    What was proposed for a further round (`search.propose`) stays in the list.
    """
    space, wanted = load_space(study), study.config.space
    rng = np.random.default_rng(wanted.seed)
    draw = space.sample if wanted.strategy == "uniform" else space.sample_stratified
    picked: list[tuple[str, Architecture]] = [
        (f"member:{name}", arch) for name, arch in space.members.items()
    ]
    picked += [(wanted.strategy, arch) for arch in draw(wanted.labels, rng)]
    rows = [
        {"arch_key": arch.key, "architecture": arch.model_dump(mode="json"), "origin": origin}
        for origin, arch in picked
    ]
    file = study.architectures_file
    before = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    rows += [row for row in map(json.loads, before) if row["origin"] == ACTIVE]
    text = "".join(canonical_json(row) + "\n" for row in rows)
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        write_atomic(file, text)
    return rows


def propose(study: StudyFolder, count: int) -> list[Architecture]:
    """Append the next `count` architectures to label to the study's list, by active choice."""
    score(study)
    file = study.architectures_file
    lines = file.read_text(encoding="utf-8")
    listed = [json.loads(line)["architecture"] for line in lines.splitlines()]
    rng = np.random.default_rng([study.config.space.seed, len(listed)])
    found = propose_labels(
        load_space(study),
        _load_predictions(study, "space"),
        [Architecture.model_validate(row) for row in listed],
        count,
        rng,
    )
    rows = [
        {"arch_key": arch.key, "architecture": arch.model_dump(mode="json"), "origin": ACTIVE}
        for arch in found
    ]
    write_atomic(file, lines + "".join(canonical_json(row) + "\n" for row in rows))
    return found
