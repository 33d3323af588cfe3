"""The failures that users meet.

ApdrawError                 one line for the user; ends the command
├── UsageError              exit code 2: the command was asked for something that cannot be
└── UnfitError              exit code 3: this machine or the model is not fit for it
PhotoError                  one photo; the batch goes on, the manifest keeps its code
"""


class ApdrawError(Exception):
    """Ends a command. The message is one line: what failed, why, what to do."""

    exit_code = 1


class UsageError(ApdrawError):
    """The command was asked for something that cannot be."""

    exit_code = 2


class UnfitError(ApdrawError):
    """This machine or the model is not fit: a missing package, GPU or weights."""

    exit_code = 3


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
