"""What a simulation owes its owner: that its own mistakes are not taken for a client's."""

from abc import abstractmethod
from types import TracebackType

from hypercbt.closing import Closing


class Simulation(Closing):
    """Something simulated. What it did wrong is raised where its `with` block ends, unless another error ends it."""

    @property
    @abstractmethod
    def errors(self) -> tuple[Exception, ...]:
        """What it, or a callback of its owner, raised and should not have: a client has heard of an internal error."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        if kind is None and self.errors:
            raise self.errors[0]
