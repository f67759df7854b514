"""Which pictures that stages write and git keeps changed."""

from dataclasses import dataclass
from typing import ClassVar

from usd.diff.dag import read_stages
from usd.diff.layout import PictureChange, Section
from usd.diff.revision import Revision


@dataclass(frozen=True)
class FiguresPart:
    """Grids and curves that differ, sorted by path."""

    title: ClassVar[str] = "Figures"

    pictures: list[PictureChange]

    @property
    def summary(self) -> str:
        """How many changed."""
        return f"{len(self.pictures)} changed" if self.pictures else ""

    @property
    def regressions(self) -> list[str]:
        """None: the metrics judge."""
        return []

    def section(self) -> Section | None:
        """The pictures side by side."""
        if not self.pictures:
            return None
        return Section(self.title, self.summary, gallery="Before and after", pictures=self.pictures)


def compare(base: Revision, head: Revision) -> FiguresPart:
    """Compare the pictures among the stages' results.

    Raises:
        UsdError: dvc.yaml or dvc.lock is not what DVC writes.
    """
    paths = {path for revision in (base, head) for path in _pictures(revision)}
    pictures = [PictureChange(path, base.read(path), head.read(path)) for path in sorted(paths)]
    return FiguresPart([picture for picture in pictures if picture.before != picture.after])


def _pictures(revision: Revision) -> list[str]:
    outs = [out.path for stage in read_stages(revision) for out in stage.outs if not out.cached]
    pictures = [path for path in revision.blobs if path.endswith(".png")]
    return [path for path in pictures if any(path == out or path.startswith(f"{out}/") for out in outs)]
