"""A study folder: one search, and study.toml, the one file that configures it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError, model_validator

from sdsearch.console import say
from sdsearch.errors import InputError
from sdsearch.files import make_folder, read_json_bytes, read_toml, write_atomic
from sdsearch.keys import FileHashes, content_key
from sdsearch.labels import LabelStore, ResolvedProtocol, Series
from sdsearch.model import SealedModel
from sdsearch.space import LatencyTable, Meter, SearchSpace, read_latency_table, search_space
from sdsearch.study.config import StudyConfig, parse_config
from sdsearch.study.teacher import find_tuned, read_backbone
from sdsearch.unet import teacher_identity

if TYPE_CHECKING:
    from collections.abc import Sequence

PROTOCOLS = "protocols.json"


class _ProtocolFile(SealedModel):
    """`protocols.json`: protocols with the content of their files, as it was read."""

    protocols: tuple[ResolvedProtocol, ...]

    @model_validator(mode="before")
    @classmethod
    def _read_earlier_form(cls, data: Any) -> Any:
        """It once was a list, without a seal."""
        return {"protocols": data} if isinstance(data, list) else data


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """A study folder and its validated configuration; every path below is inside `root`.

    `read_protocols` are the protocols whose files were read when work was last opened; `hashes`
    those of large files that were read since the study was.
    """

    root: Path
    config: StudyConfig
    read_protocols: tuple[ResolvedProtocol, ...] = ()
    hashes: FileHashes = field(default_factory=FileHashes, compare=False, repr=False)

    @property
    def resolved(self) -> ResolvedProtocol:
        """Its protocol, with the content of the files that it names as they were last read."""
        wanted = self.config.protocol
        found = (known for known in self.read_protocols if known.protocol == wanted)
        return next(found, ResolvedProtocol(protocol=wanted))

    @property
    def protocol_key(self) -> str:
        """What names the protocol in labels."""
        return self.resolved.key

    @property
    def series(self) -> Series:
        """What the study's labels share: its protocol and label seed."""
        return Series(self.protocol_key, self.config.seed)

    @property
    def labels(self) -> LabelStore:
        """The labels, of every protocol and seed."""
        return LabelStore(self.root / "labels")

    @property
    def repeats(self) -> LabelStore:
        """Second measurements of labels far from all others."""
        return LabelStore(self.root / "repeats")

    @property
    def claims_dir(self) -> Path:
        """Who works, or has worked, on which label of the study's series."""
        return self.root / "claims" / str(self.series)

    @property
    def features_dir(self) -> Path:
        """What all architectures share, cached by content: references, noise, embeddings."""
        return self.root / "features"

    @property
    def ranker_dir(self) -> Path:
        """The fitted ensemble."""
        return self.root / "ranker"

    def predictions_file(self, name: str) -> Path:
        """Predictions for every member of the space: by the fit's choice ("space"), or by ridge."""
        return self.ranker_dir / f"{name}.safetensors"

    @property
    def pipelines_dir(self) -> Path:
        """Exported diffusers pipelines."""
        return self.root / "pipelines"

    @property
    def compare_dir(self) -> Path:
        """The comparison picture and its description."""
        return self.root / "compare"

    @property
    def architectures_file(self) -> Path:
        """Architectures to label, one JSON object a line."""
        return self.root / "architectures.jsonl"

    @property
    def probe_file(self) -> Path:
        """What each removal changes in the teacher's output, measured without labels."""
        return self.root / "probe.json"

    @property
    def scores_file(self) -> Path:
        """Block scores."""
        return self.root / "scores.json"

    @property
    def designs_file(self) -> Path:
        """Built architectures with their reasons."""
        return self.root / "designs.json"

    @property
    def report_file(self) -> Path:
        """The offline report."""
        return self.root / "report.html"

    def at_rung(self, rung: int | None) -> StudyFolder:
        """This study under the cheaper protocol of a rung of [label]; None means its own."""
        if rung is None:
            return self
        protocol = self.config.label.rungs[rung].cheapen(self.config.protocol)
        return replace(self, config=self.config.model_copy(update={"protocol": protocol}))

    def with_methods(self, methods: Sequence[str]) -> StudyFolder:
        """This study as if [build] named other methods, where there are some."""
        return replace(self, config=self.config.with_methods(methods)) if methods else self

    def knowing(self, *resolved: ResolvedProtocol) -> StudyFolder:
        """This study with the content of its protocols' files."""
        return replace(self, read_protocols=resolved)

    @property
    def rungs(self) -> tuple[int | None, ...]:
        """The rungs of [label], cheapest first, and None for the study's own protocol."""
        return (*range(len(self.config.label.rungs)), None)

    def at_seed(self, seed: int) -> StudyFolder:
        """This study under another label seed.

        Raises:
            InputError: the seed is negative, or too large for 32 bits.
        """
        if not 0 <= seed < 2**32:
            raise InputError(f"a label seed must be from 0 to {2**32 - 1}, but is {seed}")
        return replace(self, config=self.config.model_copy(update={"seed": seed}))

    @property
    def floors_file(self) -> Path:
        """What the autoencoder alone and the teacher under other noise measure."""
        return self.root / "floors" / f"{self.series}.json"

    def rows_dir(self, arch_key: str) -> Path:
        """An architecture's per-sample rows in the study's series, a folder for each bench."""
        return self.root / "rows" / arch_key / str(self.series)

    @property
    def runtimes_dir(self) -> Path:
        """What the runtimes of an export have painted so far, while they are measured."""
        return self.root / "runtimes"

    @property
    def teacher_dir(self) -> Path:
        """The pipeline that learned to inpaint, and is the teacher then."""
        return self.root / "teacher"

    @property
    def tuning_dir(self) -> Path:
        """Checkpoint, log, pictures and weights of a teacher that learns to inpaint."""
        return self.root / "tuning" / content_key(self.config.teacher.tuning.identity)

    def make(self, folder: Path) -> Path:
        """Make a folder of the study, which must itself be there; returns the folder.

        Raises:
            FolderGoneError: the study was moved or deleted.
        """
        return make_folder(folder, self.root)

    def finetuned_dir(self, arch_key: str) -> Path:
        """Checkpoints, log, pictures, values and weights of an architecture's long recovery."""
        recipe = content_key(self.config.export.recovery.identity)
        return self.root / "recovered" / arch_key / f"{recipe}-{self.series}"

    def recovered_file(self, arch_key: str) -> Path:
        """Where the recovered weights of an architecture lie under this protocol and seed."""
        return self.root / "weights" / f"{arch_key}-{self.series}.safetensors"


def read_study(path: Path | str) -> StudyFolder:
    """Read a study folder; `InputError` names the section, the key and the nearest known key.

    What was read of the files of its protocols counts as unread where it is damaged, which is said.
    """
    root = Path(path)
    file = root / "study.toml"
    if not file.is_file():
        raise InputError(f"a study needs {file}, but it is missing; run: sdsearch init {root}")
    config = parse_config(read_toml(file), file)
    try:
        protocols = read_protocols(root / PROTOCOLS)
    except InputError as error:
        say(str(error))
        protocols = ()
    return StudyFolder(root, config, protocols)


def write_protocols(study: StudyFolder, resolved: Sequence[ResolvedProtocol]) -> None:
    """Keep what the files of the study's protocols hold, for all who read the study later.

    What is known of other protocols stays: study.toml may come back to one of them.
    """
    read_now = [one.protocol for one in resolved]
    others = [one for one in read_protocols(study.root / PROTOCOLS) if one.protocol not in read_now]
    file, data = study.root / PROTOCOLS, _ProtocolFile(protocols=(*resolved, *others)).to_json(2)
    if not file.is_file() or file.read_bytes() != data.encode():
        write_atomic(file, data)


def drop_damaged_protocols(study: StudyFolder) -> None:
    """Remove what was read of the files of the study's protocols, where it is damaged."""
    file = study.root / PROTOCOLS
    try:
        read_protocols(file)
    except InputError:
        file.unlink()


def read_protocols(file: Path) -> tuple[ResolvedProtocol, ...]:
    """Protocols with the content of their files, as `write_protocols` keeps them.

    Raises:
        InputError: the file is damaged.
    """
    if not file.exists():
        return ()
    try:
        return _ProtocolFile.model_validate_json(read_json_bytes(file)).protocols
    except ValidationError as error:
        raise InputError(
            f"{file} must be what sdsearch wrote, but: {error.errors()[0]['msg']}; it is made "
            "again from the dataset when labels are next begun"
        ) from None


def find_teacher(study: StudyFolder) -> str:
    """The pipeline that students inherit from: "tiny", a folder or a hub id.

    With [teacher] `inpaint` it is the study's own, that learned to inpaint.

    Raises:
        InputError: it has not learned yet, or otherwise than study.toml says now.
    """
    if not study.config.teacher.inpaint:
        return study.config.teacher.pipeline
    return str(find_tuned(study.teacher_dir, study.config))


def name_teacher(study: StudyFolder) -> str:
    """What names the study's teacher by content; its files are read once as long as they stay.

    Raises:
        InputError: as `find_teacher`, or its folder is no pipeline.
    """
    return teacher_identity(find_teacher(study), study.hashes.of)


def is_tuned(study: StudyFolder) -> bool:
    """Whether a teacher that is to learn to inpaint has learned it, as study.toml says."""
    try:
        find_tuned(study.teacher_dir, study.config)
    except InputError:
        return False
    return True


def load_space(study: StudyFolder) -> SearchSpace:
    """The search space on the teacher's own backbone, whose config is read now."""
    wanted, backbone = study.config.space, read_backbone(study.config)
    return search_space(wanted.name, backbone, resize_level_0=wanted.resize_level_0)


def load_latency_table(study: StudyFolder) -> LatencyTable | None:
    """The latency table that [build] names, read now; None where none is named."""
    name = study.config.build.latency_table
    return None if name is None else read_latency_table(study.root / name)


def load_meter(study: StudyFolder) -> Meter:
    """What members cost in the study: bytes in its protocol's precision, latency by its table."""
    config = study.config
    table = load_latency_table(study)
    return Meter(load_space(study), config.protocol.dtype, table, config.build.loads_in)
