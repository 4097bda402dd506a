"""A run of the store, wherever that lies: which others it needs, and whether it is over."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.config import Config
from train.run_folder import RunFolder


class StoreFolder(RunFolder):
    """A run folder of a store; a finished run's scores may have been left behind."""

    def finished(self) -> dict[str, Any] | None:
        """The results, if the run is at its end.

        Raises:
            UsageError: they are damaged.
        """
        return self._read_json(self.results) if self.results.exists() else None


@dataclass(frozen=True, eq=False)
class Run:
    """A run of the store.

    Attributes:
        config: the run.
        folder: where it lies.
        words: the method and what sets the run apart from its others, as its folder's name has it.
        lender: the folder of the run whose network this one starts from.
        attacker: the folder of the run whose network lends a black-box attack its gradient.
    """

    config: Config
    folder: RunFolder
    words: str
    lender: RunFolder | None = None
    attacker: RunFolder | None = None

    @property
    def over(self) -> bool:
        """Whether it is finished, or given up."""
        return self.given_up() is not None or self.folder.finished() is not None

    def given_up(self, attacked: bool = False) -> str | None:
        """The run whose numbers were not finite, so that this one has none: itself, or one that it needs.

        Args:
            attacked: whether the attacker is needed too.
        """
        needed = (self.folder, self.lender, self.attacker if attacked else None)
        return next((each.path.name for each in needed if each and each.stopped.exists()), None)

    def differing(self) -> str | None:
        """The first field that can change the result and is another in the run that lies there, else None."""
        stored = self.folder.config_values()
        return self.config.differing({**stored, "init_from": self.beside(stored.get("init_from"))})

    def beside(self, given: str | None) -> str | None:
        """The path of another run of the store, that was written down where the store may have been elsewhere."""
        return given and str(self.folder.path.with_name(Path(given).name))

    def home(self, last: bool = False) -> Path:
        """Where its evaluation lies: that of its selected network, or of its last one."""
        return (self.folder.path / "last" if last else self.folder.path) / "evaluation"


def unique(runs: Iterable[Run]) -> list[Run]:
    """The runs, each once."""
    return list({run.folder.path: run for run in runs}.values())
