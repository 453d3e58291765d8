"""What the status says of labels that are there, but under another key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.keys import content_key
from sdsearch.labels.content import ResolvedProtocol
from sdsearch.labels.protocol import Protocol
from sdsearch.study.folder import read_study, write_protocols
from sdsearch.workers.status import read_label_status
from tests.fakes import make_label, make_study, tiny_member

if TYPE_CHECKING:
    from pathlib import Path


def test_labels_that_differ_in_one_setting_are_counted_and_the_setting_is_said(
    tmp_path: Path,
) -> None:
    study = make_study(tmp_path / "study")
    for name, fields in (("bk-base", {"steps": 20}), ("bk-tiny", {"steps": 20, "samples": 9})):
        measured_by = ResolvedProtocol(protocol=Protocol.model_validate(fields))
        provenance = {"protocol": measured_by.settings}
        label = make_label(
            tiny_member(name), protocol_key=measured_by.key, fd=1.0, provenance=provenance
        )
        study.labels.write(label)
    status = read_label_status(study, [])
    (other,) = status.others
    assert (other.count, other.difference) == (1, "steps is 20 there and 8 here")
    assert other.difference in status.describe()[-1]


def test_labels_that_are_named_by_paths_are_to_be_adopted(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", "[protocol]\ndataset = './photos'\n")
    then = {**Protocol(dataset="photos").model_dump(mode="json"), "strength": 1.0}
    study.labels.write(make_label(protocol_key=content_key(then), fd=1.0))
    (other,) = read_label_status(study, []).others
    assert "adopt them" in other.difference


def test_labels_of_the_study_itself_are_no_others(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    provenance = {"protocol": study.resolved.settings}
    study.labels.write(make_label(protocol_key=study.protocol_key, fd=1.0, provenance=provenance))
    assert read_label_status(study, []).others == ()


def test_a_study_that_comes_back_to_a_protocol_still_knows_its_files(tmp_path: Path) -> None:
    toml = "[protocol]\ndataset = 'photos'\nsteps = {}\n"
    first = make_study(tmp_path / "study", toml.format(8))
    content = {"photos": "5f", "captions": "77", "pool": "19"}
    known = ResolvedProtocol.model_validate({"protocol": first.config.protocol, "content": content})
    write_protocols(first, [known])
    (first.root / "study.toml").write_text(toml.format(20))
    second = read_study(first.root)
    other = ResolvedProtocol.model_validate(
        {"protocol": second.config.protocol, "content": content}
    )
    write_protocols(second, [other])
    (first.root / "study.toml").write_text(toml.format(8))
    assert read_study(first.root).resolved == known
    assert read_study(first.root).protocol_key != second.knowing(other).protocol_key
