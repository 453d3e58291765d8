"""The app's pages: paint side by side; look at scores, design under a budget, take it home."""

from __future__ import annotations

import html
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from sdsearch.design import read_scores
from sdsearch.errors import InputError, WorkError
from sdsearch.report import draw_scores
from sdsearch.study import load_latency_table, load_space
from sdsearch_eval.app.actions import TEACHER, Studio, read_seeds
from sdsearch_eval.app.uploads import make_editor
from sdsearch_eval.data import load_samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import gradio
    import pandas as pd

    from sdsearch.design import Design
    from sdsearch.study import StudyFolder
    from sdsearch_eval.world import World

EXAMPLES = 6
KEPT = 3600
"""Seconds that results are kept, and uploads that nobody has painted."""
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")


def build_app(study: StudyFolder, world: World) -> gradio.Blocks:
    """The two pages of a study."""
    import gradio as gr

    studio = Studio(study, world)
    page = gr.Blocks(title="sdsearch", analytics_enabled=False, delete_cache=(KEPT, KEPT))
    with page:
        paints_words = study.config.protocol.paints_words
        kind = "text-to-image" if paints_words else "inpainting"
        gr.Markdown(f"# sdsearch: smaller {kind} UNets, side by side")
        with gr.Tab("Paint" if paints_words else "Inpaint"):
            choice = _words_page(studio) if paints_words else _inpaint_page(studio)
        with gr.Tab("Scores and designs"):
            _design_page(studio, choice)
    return page


def _inpaint_page(studio: Studio) -> Any:
    import gradio as gr

    study = studio.study
    protocol = study.config.protocol
    few = min(EXAMPLES, protocol.samples)
    samples = load_samples(protocol.model_copy(update={"samples": few}))
    with gr.Row():
        with gr.Column():
            editor = make_editor(
                label="Image: upload it or take an example, then brush over what to repaint",
                type="pil",
                image_mode="RGBA",
                brush=gr.Brush(default_size=24, colors=["#7f7f7f"], color_mode="fixed"),
                transforms=(),
                layers=False,
                elem_id="editor",
            )
            example = gr.Dropdown(
                [(f"{sample.name}: {sample.caption}", i) for i, sample in enumerate(samples)],
                label="Example",
                value=None,
                elem_id="example",
            )
            prompt = gr.Textbox(label="Prompt: what the whole image shows", elem_id="prompt")
        with gr.Column():
            choice = gr.CheckboxGroup(
                studio.names, value=studio.names[:2], label="Pipelines", elem_id="pipelines"
            )
            with gr.Row():
                steps = gr.Slider(1, 50, value=study.config.protocol.steps, step=1, label="Steps")
                guidance = gr.Slider(
                    1, 15, value=max(1.0, study.config.protocol.guidance), label="Guidance"
                )
                seed = gr.Number(0, precision=0, minimum=0, maximum=2**32 - 1, label="Seed")
            button = gr.Button("Inpaint", variant="primary", elem_id="inpaint")
            results = gr.Gallery(label="Results", columns=2, elem_id="results")
            costs = gr.Markdown(elem_id="costs")

    def show(index: int | None) -> tuple[Any, str]:
        if index is None:
            return None, ""
        sample = samples[index]
        return {"background": sample.image, "layers": [], "composite": None}, sample.caption

    def paint(value: Any, text: str, names: list[str], n: int, scale: float, number: int) -> Any:
        value = value or {}
        layers = [np.asarray(layer)[..., 3] for layer in value.get("layers", []) if layer]
        hole = np.max(layers, axis=0) if layers else None
        with _told():
            painted = studio.paint(
                names,
                value.get("background"),
                hole,
                text,
                steps=int(n),
                guidance=scale,
                seed=int(number or 0),
            )
        return painted, list_plainly(said for _, said in painted)

    example.change(show, example, [editor, prompt])
    button.click(paint, [editor, prompt, choice, steps, guidance, seed], [results, costs])
    return choice


def _words_page(studio: Studio) -> Any:
    """A prompt and seeds: a picture each, and nothing to brush over."""
    import gradio as gr

    protocol = studio.study.config.protocol
    few = protocol.variations * min(EXAMPLES, protocol.pictures)
    samples = load_samples(protocol.model_copy(update={"samples": few}))
    with gr.Row():
        with gr.Column():
            prompt = gr.Textbox(label="Prompt: what the image shows", elem_id="prompt")
            gr.Examples(sorted({sample.caption for sample in samples}), prompt)
            seeds = gr.Textbox("0 1", label="Seeds: an image for each", elem_id="seeds")
        with gr.Column():
            choice = gr.CheckboxGroup(
                studio.names, value=studio.names[:2], label="Pipelines", elem_id="pipelines"
            )
            with gr.Row():
                steps = gr.Slider(1, 50, value=protocol.steps, step=1, label="Steps")
                guidance = gr.Slider(1, 15, value=max(1.0, protocol.guidance), label="Guidance")
            button = gr.Button("Paint", variant="primary", elem_id="paint")
            results = gr.Gallery(label="Results", columns=2, elem_id="results")
            costs = gr.Markdown(elem_id="costs")

    def paint(text: str, said: str, names: list[str], n: int, scale: float) -> Any:
        with _told():
            painted = studio.paint_words(
                names, text, read_seeds(said), steps=int(n), guidance=scale
            )
        return painted, list_plainly(words for _, words in painted)

    gr.on(
        [button.click, prompt.submit, seeds.submit],
        paint,
        [prompt, seeds, choice, steps, guidance],
        [results, costs],
    )
    return choice


def _design_page(studio: Studio, choice: Any) -> None:
    import gradio as gr

    study = studio.study
    scores = read_scores(study.scores_file)
    net = draw_scores(scores, load_space(study).backbone) if scores else None
    gr.HTML(net or "<p>No scores yet: run <code>sdsearch score</code> first.</p>", elem_id="net")
    frame = _measured(study)
    gr.ScatterPlot(
        frame, x="M parameters", y=frame.columns[1], title="Measured, lower is better", height=320
    )
    table = load_latency_table(study)
    with gr.Row():
        share = gr.Slider(
            0.2,
            1.0,
            value=0.6,
            step=0.01,
            label="Parameters, share of the teacher's",
            elem_id="share",
        )
        slowest = gr.Number(
            label="Most milliseconds a UNet call (needs a latency table)", interactive=bool(table)
        )
    make = gr.Button("Design under this budget", variant="primary", elem_id="design")
    said = gr.Markdown(elem_id="designed")
    kept = gr.State(None)
    take = gr.Button("Recover it and export as a zip", elem_id="export")
    download = gr.File(label="Pipeline", elem_id="download")

    bar = gr.Progress()

    def design(most: float, ms: float | None) -> tuple[str, Design]:
        with _told():
            found = studio.design(most, ms or None)
        reasons = "\n".join(f"- {reason}" for reason in found.reasons)
        return f"**{found.name}**, {found.params:,} parameters\n\n{reasons}", found

    def export(found: Design | None, progress: Any = bar) -> tuple[str, Any]:
        with _told():
            if found is None:
                raise InputError("design something first")
            progress(0.2, desc="recovering and exporting")
            file = studio.export(found)
        names = studio.names
        return str(file), gr.CheckboxGroup(names, value=[TEACHER, found.name])

    make.click(design, [share, slowest], [said, kept])
    take.click(export, kept, [download, choice])


@contextmanager
def _told() -> Iterator[None]:
    """Errors of ours, shown to the person at the page in their own words, which are no HTML."""
    import gradio as gr

    try:
        yield
    except (InputError, WorkError) as error:
        raise gr.Error(html.escape(str(error)), print_exception=False) from None


def list_plainly(lines: Iterable[str]) -> str:
    r"""Markdown of a list whose lines are shown as they are, whatever they hold.

    >>> list_plainly(["a_b: 1.5 s"])
    '- a\\_b\\: 1\\.5 s'
    """
    plain = (_PUNCTUATION.sub(r"\\\g<0>", line) for line in lines)
    return "\n".join(f"- {line}" for line in plain)


def _measured(study: StudyFolder) -> pd.DataFrame:
    import pandas as pd

    column = study.config.protocol.column("fd")
    rows = [
        (label.scalar("params") / 1e6, label.scalar(column))
        for label in study.labels.read_series(study.series).values()
        if not label.failure
    ]
    return pd.DataFrame(rows, columns=["M parameters", column])
