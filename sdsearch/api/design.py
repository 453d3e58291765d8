"""A built design in the hands of a user: what it is, its picture, its UNet, its pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdsearch.api.unets import inherit_unet
from sdsearch.console import say
from sdsearch.design import read_scores
from sdsearch.study import find_teacher, load_space
from sdsearch.unet import unet_cost

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import DiffusionPipeline
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from sdsearch.design import Design
    from sdsearch.drawing import Drawing
    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture, UNetCost


@dataclass(frozen=True, slots=True, repr=False)
class StudyDesign:
    """A design with the study that built it; `Study.design` and `Study.build` give it.

    Attributes:
        folder: the study's folder and configuration.
        record: everything that was known when the design was built, as in designs.json.

    >>> design = study.design("autobuild-1")  # of a study that has built its designs
    >>> design
    StudyDesign('autobuild-1', 1,920,100 parameters)
    >>> print(design.reasons[0])
    level0: depth 1, attention down 1 up 11
    >>> design.unet().num_parameters() == design.params
    True
    """

    folder: StudyFolder
    record: Design

    @property
    def name(self) -> str:
        """Method and rank, such as "autobuild-1"."""
        return self.record.name

    @property
    def architecture(self) -> Architecture:
        """Which blocks of the teacher it keeps."""
        return self.record.architecture

    @property
    def params(self) -> int:
        """Parameters of its UNet."""
        return self.record.params

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was built, in words."""
        return self.record.reasons

    def __repr__(self) -> str:
        return f"StudyDesign({self.name!r}, {self.params:,} parameters)"

    def _repr_svg_(self) -> str:
        return self.draw()

    def cost(self) -> UNetCost:
        """Parameters, multiply-accumulates and activations of a UNet call, slot by slot."""
        return unet_cost(self.architecture, load_space(self.folder).backbone)

    def draw(self) -> Drawing:
        """Its UNet as SVG; if the study has scores, the colours are what each block is worth.

        Blocks whose effect cannot be told from zero have no colour.
        """
        from sdsearch.drawing import draw_unet
        from sdsearch.report import draw_scores

        scores, backbone = read_scores(self.folder.scores_file), load_space(self.folder).backbone
        if scores is None:
            return draw_unet(self.architecture, backbone, title=self.name)
        return draw_scores(scores, backbone, self.architecture, self.name)

    def recovered_weights(self) -> Path | None:
        """The file of its recovered weights: of the long recovery, else of a label's; or None."""
        from sdsearch.export import find_weights

        return find_weights(self.record.arch_key, self.folder)

    def unet(self) -> UNet2DConditionModel:
        """Its stock UNet, in float32 and evaluation mode: recovered, else with inherited weights.

        A line on standard error says which; `recovered_weights` tells the same beforehand.

        Raises:
            InputError: the teacher cannot be read.
            WorkError: the recovered weights do not fit the design.
        """
        from sdsearch.weights import load_unet

        weights = self.recovered_weights()
        if weights is None:
            say(f"{self.name}: weights inherited from the teacher, not recovered yet")
            return inherit_unet(self.architecture, find_teacher(self.folder))
        say(f"{self.name}: recovered weights of {weights}")
        return load_unet(self.architecture, load_space(self.folder).backbone, weights)

    def pipeline(self, **options: Any) -> DiffusionPipeline:
        """Its stock pipeline, by the study's task; exported now unless there is a current export.

        An export needs recovered weights: where there are none, they are trained first, which can
        take from minutes to hours. `unet` gives inherited ones at once. `options` go to
        `from_pretrained`, such as `variant="fp16"`.

        Raises:
            InputError: the teacher cannot be read.
            WorkError: the design could not be recovered, or its export failed its check.
        """
        from diffusers import DiffusionPipeline

        from sdsearch.stages import export_designs

        (folder,) = export_designs(self.folder, [self.name])
        pipeline: DiffusionPipeline = DiffusionPipeline.from_pretrained(
            folder, **{"local_files_only": True, **options}
        )
        return pipeline
