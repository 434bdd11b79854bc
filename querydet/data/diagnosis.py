"""What an examination of a data set finds: kinds of problems, where they are, and how training would treat them."""

from collections.abc import Callable
from dataclasses import dataclass, field

from querydet.data.media import ImageReader
from querydet.data.record_columns import Records

STOPS, CHANGES, NOTE = "stops", "changes", "note"  # severity of a finding


@dataclass(frozen=True)
class Treatment:
    """How a config treats problems of a data set; the defaults are those of the shipped configs.

    Args:
        on_bad_image: of the mapper.
        check_files: of the data set.
        num_classes: of the model; None skips the comparison.
        num_queries: of the model; None skips the comparison.
        training: whether the set is used for training, not evaluation.
        check_boxes: of the data set.
        reader: of the mapper.
        masks: of the data set.
        file_names: of the data set.
        image_lists: of the data set.
        choose: returns those records of a json, with images in a folder, that are used; None: all of them.
    """

    on_bad_image: str = "raise"
    check_files: bool = True
    num_classes: int | None = None
    num_queries: int | None = None
    training: bool = True
    check_boxes: bool = True
    reader: ImageReader = field(default_factory=ImageReader)
    masks: bool = False
    file_names: str = "auto"
    image_lists: tuple[str, ...] = ()
    choose: Callable[[Records, str], Records] | None = None

    def bad_image(self) -> tuple[str, str]:
        """Return the severity and the effect of an image file that cannot be used."""
        if self.on_bad_image == "raise":
            return STOPS, "the run stops when it comes to the image (on_bad_image=skip goes on)"
        if self.training:
            return CHANGES, "skipped and counted, another image takes its place"
        return CHANGES, "left out of the evaluation, its objects count as not found"

    def missing_image(self) -> tuple[str, str]:
        """Return the severity and the effect of an image file that does not exist."""
        if self.check_files:
            return STOPS, "stops before the first step (check_files=False and on_bad_image=skip go on)"
        return self.bad_image()


@dataclass
class Finding:
    """One kind of problem or oddity, with all places where it occurs."""

    gravity: str  # STOPS, CHANGES or NOTE
    kind: str
    effect: str  # how training treats it
    places: list[str] = field(default_factory=list)


@dataclass
class Diagnosis:
    """All findings of a data set."""

    source: str
    images: int = 0
    objects: int = 0
    masks: int = 0  # outlines that can be used
    classes: list[str] = field(default_factory=list)
    findings: dict[str, Finding] = field(default_factory=dict)
    objects_of: dict[str, int] = field(default_factory=dict)  # by class name, without crowd regions
    digests: dict[str, str] = field(default_factory=dict)  # of image files, to compare data sets
    other_sizes: dict[int, tuple[int, int]] = field(default_factory=dict)  # of files, by id, where not annotated so

    def add(self, gravity: str, kind: str, effect: str, place: str) -> None:
        """Add one place to the finding of its kind."""
        self.findings.setdefault(kind, Finding(gravity, kind, effect)).places.append(place)

    @property
    def stops(self) -> bool:
        """Return whether a finding would keep training from starting or finishing."""
        return any(finding.gravity == STOPS for finding in self.findings.values())
