"""The ONNX files beside an export."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from sdsearch.errors import WorkError
from sdsearch.study.folder import load_space
from tests.export.exports import export_now

if TYPE_CHECKING:
    from sdsearch.design.designs import Design
    from sdsearch.study.folder import StudyFolder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_onnx_files_agree_with_torch_and_take_any_batch(
    study: StudyFolder, design: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime
    import torch

    from sdsearch.runtimes import onnx as onnx_export
    from sdsearch.stages.export import add_onnx

    folder = export_now(design, study)
    add_onnx(folder)
    checked = json.loads((folder / "onnx" / "checked.json").read_text())
    assert set(checked) == {"unet", "text_encoder", "vae_encoder", "vae_decoder"}
    assert max(checked.values()) <= 1e-3
    # By default each node says in which file here it was written.
    graphs = [path.read_bytes() for path in folder.rglob("model.onnx")]
    assert len(graphs) == 4
    assert not any(word in graph for graph in graphs for word in (b".py", b"site-packages"))
    session = onnxruntime.InferenceSession(folder / "onnx" / "unet" / "model.onnx")
    side, width = (
        load_space(study).backbone.sample_size,
        load_space(study).backbone.cross_attention_dim,
    )
    length = session.get_inputs()[2].shape[1]
    inputs = (
        torch.randn(3, 9, side, side),
        torch.tensor([1, 500, 999]),
        torch.ones(3, length, width),
    )
    names = [one.name for one in session.get_inputs()]
    assert names == ["sample", "timestep", "encoder_hidden_states"]
    (found,) = session.run(None, dict(zip(names, [x.numpy() for x in inputs], strict=True)))
    assert found.shape == (3, 4, side, side)
    (folder / "onnx" / "checked.json").unlink()
    monkeypatch.setattr(onnx_export, "LARGEST_DIFFERENCE", -1.0)
    with pytest.raises(WorkError, match="onnxruntime must agree with torch"):
        add_onnx(folder)
    assert not list(folder.glob(".onnx-*"))
