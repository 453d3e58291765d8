"""From a probe to designs, without a single label."""

from __future__ import annotations

import pytest

import sdsearch
from sdsearch.api.verify import verify_files
from sdsearch.design.probe import Probe
from sdsearch.errors import InputError
from sdsearch.files import write_atomic
from sdsearch.planning import find_problems, list_tasks
from sdsearch.space.space import search_space
from sdsearch.stages import probe as stage
from sdsearch.stages.fit import fit_study
from sdsearch.stages.probe import find_probe, probe_study
from sdsearch.stages.sample import sample_study
from sdsearch.study import draw_sample
from sdsearch.study.config import AUTO_METHODS
from sdsearch.unet import UNPRUNED, count_macs
from tests.fakes import label_by_params, make_study
from tests.planted import planted_probe

SPACE = search_space("tiny")
TOML = "[build]\nbudget = { macs = { share = 0.6 } }\n"


@pytest.fixture
def asked(monkeypatch):
    """The requests to a harness that writes a planted probe."""
    requests = []

    def run(request):
        requests.append(request)
        probe = planted_probe(SPACE, timesteps=request.timesteps)
        probe = probe.model_copy(update={"asked": request.samples})
        write_atomic(request.study / "probe.json", probe.to_json())

    monkeypatch.setattr(stage, "run_harness", run)
    return requests


def test_a_probe_is_made_once_and_again_where_more_is_asked(tmp_path, asked):
    study = make_study(tmp_path / "study", TOML)
    assert find_probe(study) is None
    first = probe_study(study)
    assert isinstance(first, Probe)
    assert probe_study(study) == find_probe(study) == first
    assert len(asked) == 1
    assert (study.root / "probe.svg").read_text(encoding="utf-8").startswith("<svg")
    probe_study(study, samples=2)
    assert [(one.samples, one.timesteps) for one in asked] == [(8, 4), (2, 4)]
    probe_study(study)
    assert len(asked) == 2, "as much as was asked before"


def test_a_damaged_probe_is_named_and_made_again_where_it_is_needed(tmp_path, asked):
    study = make_study(tmp_path / "study", TOML)
    probe_study(study)
    text = study.probe_file.read_text(encoding="utf-8")
    study.probe_file.write_text(text.replace("processor", "prozessor"), encoding="utf-8")
    (damage,) = verify_files(study).problems
    assert damage.next_step == f"run: sdsearch probe {study.root}"
    assert fit_study(study).kind == "one-shot"
    assert probe_study(study).device == "a processor"
    assert len(asked) == 2


def test_a_study_without_labels_builds_what_the_probe_ranks_first(tmp_path, asked):
    study = sdsearch.load_study(make_study(tmp_path / "study", TOML).root)
    designs = study.build(["one-shot", "most-macs"])
    assert len(asked) == 1, "the method has asked for the probe itself"
    report = study.fit()
    assert (report.kind, report.labels) == ("one-shot", 0)
    assert [one.name for one in designs[:4]] == [f"one-shot-{rank}" for rank in (1, 2, 3, 4)]
    predicted = [one.record.predicted.target for one in designs[:4]]
    assert sorted(predicted, reverse=True) == predicted
    assert all(one.record.macs <= 0.6 * 224e6 for one in designs)
    with pytest.raises(InputError, match=r"ridge in \[build\] methods learn from labels"):
        study.build(["ridge"])
    with pytest.raises(InputError, match="did you mean 'one-shot'"):
        study.build(["oneshot"])


def test_auto_methods_have_one_shot_among_them_once_there_is_a_probe(tmp_path, asked):
    study = make_study(tmp_path / "study", TOML)
    methods = study.config.build.methods_for
    assert methods(probed=False) == ("autobuild", "exhaustive", "most-macs", "random")
    probe_study(study)
    built = sdsearch.load_study(study.root).build()
    names = list(dict.fromkeys(design.name.rpartition("-")[0] for design in built))
    assert names == list(methods(probed=True)) == [*AUTO_METHODS]
    assert len(asked) == 1


def test_auto_methods_without_a_probe_ask_for_none(tmp_path, asked):
    study = sdsearch.load_study(make_study(tmp_path / "study", TOML + 'methods = "auto"\n').root)
    study.sample()
    with pytest.raises(InputError, match=r"sdsearch label .*sdsearch probe"):
        study.build()
    assert not asked


def test_a_study_without_labels_and_probe_says_how_to_get_either(tmp_path):
    study = sdsearch.load_study(make_study(tmp_path / "study", TOML).root)
    study.sample()
    with pytest.raises(InputError, match=r"sdsearch label .*sdsearch probe"):
        study.fit()


@pytest.mark.slow
def test_labels_and_probe_are_learned_from_together(tmp_path, asked):
    folder = make_study(tmp_path / "study", "[space]\nlabels = 8\n")
    study = sdsearch.load_study(folder.root)
    study.sample()
    label_by_params(folder)
    assert "one-shot" not in study.fit().predictors
    study.probe()
    assert {"gnn-probe", "ridge-probe", "one-shot"} <= study.fit().predictors.keys()
    worth = study.fit().worth
    assert worth is not None
    assert (worth.labels, worth.half, worth.designs, worth.kind) == (8, 4, 4, "ridge-probe")
    assert worth.describe() in study.report().read_text(encoding="utf-8").replace("Half", "half")


PROBED = TOML + '[space]\nlabels = 12\nstrategy = "probe"\n'


def test_a_sample_by_the_probe_makes_one_and_keeps_to_the_budget(tmp_path, asked):
    study = sdsearch.load_study(make_study(tmp_path / "study", PROBED).root)
    listing = study.sample()
    assert len(asked) == 1
    assert study.sample() == listing
    drawn = [listing.architectures[key] for key in listing.keys_from("sample")]
    assert len(drawn) == 12
    whole = count_macs(UNPRUNED, SPACE.backbone).total
    assert all(count_macs(one, SPACE.backbone).total <= 0.6 * whole for one in drawn)
    found = study.propose(5, "probe")
    assert len({*found} - {*listing.architectures.values()}) == 5
    assert len(study.sample()) == len(listing) + 5
    assert not verify_files(study.folder).problems
    assert len(asked) == 1


def test_without_a_budget_a_sample_by_the_probe_is_drawn_along_the_whole_front(tmp_path, asked):
    study = make_study(tmp_path / "study", '[space]\nlabels = 12\nstrategy = "probe"\n')
    listing = sdsearch.load_study(study.root).sample()
    macs = [
        count_macs(listing.architectures[key], SPACE.backbone).total
        for key in listing.keys_from("sample")
    ]
    assert max(macs) > 1.5 * min(macs)


def test_a_draw_by_the_probe_says_where_it_comes_from(tmp_path):
    study = make_study(tmp_path / "study", PROBED)
    assert find_problems(study) == [], "the probe is still to come"
    with pytest.raises(InputError, match=r"probe\.json, but it is missing; run: sdsearch probe"):
        draw_sample(study)
    (label,) = [task for task in list_tasks(study) if task.stage == "label"]
    assert len(label.architectures) >= 12


def test_a_budget_with_too_few_members_for_the_sample_is_refused_before_the_probe(tmp_path, asked):
    tight = PROBED.replace("0.6", "0.31").replace("12", "5000")
    study = make_study(tmp_path / "study", tight)
    problem = find_problems(study)[0]
    assert "the budget must admit 5000 members" in problem
    with pytest.raises(InputError, match="must admit 5000"):
        sample_study(study)
    assert asked == []
