"""What a queue or a topic of the host gives, in both WASI: a value, or an error, which is raised here."""

from types import TracebackType
from typing import TypeVar

from componentize_py_types import Err, Result
from wit_world.imports.linger_host_types import EventError, PushOptions

from .types import event_error, optional_nanoseconds

T = TypeVar("T")


class Refusals:
    """Within it, an error that the bindings raise becomes the exception for it."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, Err):
            raise event_error(error.value) from None


refusals = Refusals()


def value(result: Result[T, EventError]) -> T:
    """The value of a result, or the exception for its error."""
    if isinstance(result, Err):
        raise event_error(result.value)
    return result.value


def push_options(content_type: str | None, delay: float | None, time_to_live: float | None) -> PushOptions:
    """What is to be said of an event. Times are in seconds."""
    return PushOptions(content_type, optional_nanoseconds(delay), optional_nanoseconds(time_to_live))
