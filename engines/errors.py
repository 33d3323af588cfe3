"""Every error that a user meets, in one tree.

ApdrawError                     ends the command; its class says the exit code
├── UsageError              2   the command was asked for something that cannot be
│   ├── OptionsError            options that mean nothing, or contradict each other
│   └── DatasetError            a data set, or a pair of it, that cannot be used
└── UnfitError              3   this machine or the model is not fit for it
    ├── FileWriteError          a file that cannot be written
    ├── EngineError             an engine or a model that cannot be used here
    │   ├── ModelFileError      the model file itself is at fault: no other engine would do better
    │   └── CudaError           a call of CUDA failed
    │       └── OutOfGpuMemoryError
    ├── ModelError              a model that cannot be read, imported, exported or written
    ├── CheckpointError         a checkpoint of a training run that cannot be read or written
    ├── TrainingError           what ends a training run before its time
    └── FeaturesError           FID's features cannot be had here

PhotoError                      one photo; the batch goes on, the manifest keeps its code

Each message is one line: what failed, why, what to do.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command tells the shell."""

    DONE = 0
    PARTLY = 1
    USAGE = 2
    UNFIT = 3
    INTERRUPTED = 130


class ApdrawError(Exception):
    """Ends a command.

    Attributes:
        exit_code: exit code of the command.
    """

    exit_code = ExitCode.UNFIT


class UsageError(ApdrawError):
    """The command was asked for something that cannot be."""

    exit_code = ExitCode.USAGE


class OptionsError(UsageError):
    """Options that mean nothing, or contradict each other."""


class DatasetError(UsageError):
    """A data set, or a pair of it, that cannot be used."""


class UnfitError(ApdrawError):
    """This machine or the model is not fit: a missing package, GPU or weights."""


class FileWriteError(UnfitError):
    """A file that cannot be written."""


class EngineError(UnfitError):
    """An engine or a model that cannot be used here."""


class ModelFileError(EngineError):
    """The model file itself is at fault, so that no other engine would do better."""


class CudaError(EngineError):
    """A call of CUDA failed.

    Attributes:
        code: CUDA's name of the error, for example `cudaErrorMemoryAllocation`.
    """

    def __init__(self, function: str, code: str, text: str) -> None:
        super().__init__(f"{function} failed: {text} ({code}); see: apdraw doctor")
        self.code = code


class OutOfGpuMemoryError(CudaError):
    """The GPU's memory does not hold what was asked for."""


class ModelError(UnfitError):
    """A model that cannot be read, imported, exported or written."""


class CheckpointError(UnfitError):
    """A checkpoint of a training run that cannot be read or written."""


class TrainingError(UnfitError):
    """What ends a training run before its time; its checkpoints are kept."""


class FeaturesError(UnfitError):
    """The features that FID is measured with cannot be had here."""


class PhotoError(Exception):
    """One photo that could not be drawn.

    Attributes:
        code: a short word for scripts, for example `not_an_image`.
        message: one line for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)  # both, so that it survives the way back from a worker
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


def first_line(error: BaseException) -> str:
    """The first line of a library's error message, to be quoted in one of ours."""
    return str(error).strip().partition("\n")[0].rstrip(":") or type(error).__name__


def in_one_line(error: BaseException) -> str:
    """A library's whole error message as one line, to be quoted in one of ours."""
    return " ".join(str(error).split()) or type(error).__name__
