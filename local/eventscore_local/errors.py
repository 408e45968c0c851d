"""What can go wrong on this machine, as one tree.

LocalError
├── ToolMissing           an emulator that `make setup` installs is not there
├── EmulatorFailed        an emulator did not start, or died
├── BuildFailed           the layers could not be built for this machine
├── DeploymentFailed      the emulator did not make the stack
└── MappingMisconfigured  an event source mapping was given what Lambda would refuse
"""


class LocalError(Exception):
    """Base of everything this package raises on purpose. The message is meant for the person at the terminal."""


class ToolMissing(LocalError):
    """A tool is not installed where it should be."""


class EmulatorFailed(LocalError):
    """An emulator did not start or has died; the message ends with the last lines that it wrote."""


class BuildFailed(LocalError):
    """A layer could not be built; the message ends with what the build wrote."""


class DeploymentFailed(LocalError):
    """A stack could not be made, brought up to date or deleted; the message says what the emulator said."""


class MappingMisconfigured(LocalError):
    """A setting that Lambda's CreateEventSourceMapping would refuse."""
