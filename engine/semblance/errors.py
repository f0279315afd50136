"""Every exception that semblance raises for something its user can mend.

    SemblanceError
    ├── InputError (ValueError)         an argument of the wrong kind, shape, dtype or range
    │   └── ImageError                  one picture that cannot be used
    │       └── ImageTooLarge           one of more bytes or pixels than the limits allow
    ├── SourceError                     a place pictures come from that is missing, empty or damaged
    ├── ModelError                      an ONNX file that is not a usable model of ours
    │   ├── ModelNotFound               no model of that name or at that path
    │   └── CardError                   no model card inside, or a damaged one
    ├── BackendError                    a backend that was asked for and cannot run
    │   └── RuntimeMissing (ImportError)  the wheel it needs is absent, or clashes with another
    ├── BatcherError                    what many share did not do its work, whatever the work
    │   ├── Overloaded                  more is pending than may be; nothing was begun
    │   ├── DeadlineExceeded (TimeoutError)  the deadline passed first
    │   └── Closed                      it is not started, or stops
    ├── ServiceError                    a service that cannot begin, or a process of it that is not there
    └── GalleryError                    a gallery that is missing, damaged, incomplete or in the way
        └── SpaceMismatch               vectors of two different embedding spaces

Each message says what was given, what is expected, and what to do next. The command line prints it as
one line and exits with status 1.
"""


class SemblanceError(Exception):
    """Root of the tree: `except SemblanceError` catches all that a caller can mend."""


class InputError(SemblanceError, ValueError):
    """An argument of the wrong kind, shape, dtype or range."""


class ImageError(InputError):
    """One picture that cannot be used: unreadable, empty, or not a picture."""


class ImageTooLarge(ImageError):
    """One picture that has more bytes, or declares more pixels, than the limits allow; it was not decoded."""


class SourceError(SemblanceError):
    """A place pictures come from that is missing, empty or damaged."""


class ModelError(SemblanceError):
    """An ONNX file that is not a usable model of ours."""


class ModelNotFound(ModelError):
    """No model has that name, and no file is at that path."""


class CardError(ModelError):
    """An ONNX file without a model card, or with a damaged one."""


class BackendError(SemblanceError):
    """A backend that was asked for and cannot run here."""


class RuntimeMissing(BackendError, ImportError):
    """The wheel a backend needs is not installed, or two wheels overwrite each other."""


class BatcherError(SemblanceError):
    """An image that a batcher did not embed, or a change not made, for a reason that lies not in it."""


class Overloaded(BatcherError):
    """More images or changes are pending than may be; the request was refused whole, and nothing of it was begun."""


class DeadlineExceeded(BatcherError, TimeoutError):
    """The deadline of an image passed before its embedding was there."""


class Closed(BatcherError):
    """Whoever was to do it is not started, was stopped, or stopped waiting before its turn."""


class ServiceError(SemblanceError):
    """A service that cannot begin, or one of its processes that is not there."""


class GalleryError(SemblanceError):
    """A gallery that is missing, damaged, incomplete, or in the way of a new one."""


class SpaceMismatch(GalleryError):
    """Vectors of one embedding space were to be compared with vectors of another."""
