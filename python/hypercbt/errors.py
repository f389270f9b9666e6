"""Every exception that hypercbt raises.

A caller can tell three things apart: *try again* (`retryable`), *your data is bad* (exit code 3), and
*what you asked for cannot be done*. Misuse is Python's own `ValueError` or `TypeError`.

```text
HypercbtError
├── SourceError                    the disk that is backed up
│   ├── VhdxCorruptError           ├── DiskIdentityError
│   ├── ParentDiskError            ├── SourceChangedError
│   ├── UnsupportedDiskError       ├── ChangeTrackingLostError
│   ├── DiskInUseError             ├── TrackerFileError
│   └── AuditUnfinishedError
├── RepositoryError                what we write to
│   ├── RepositoryUnavailableError ── RepositoryFullError
│   ├── RepositoryNotFoundError    ├── RepositoryExistsError
│   ├── RepositoryFormatError      ├── RepositoryUnsuitableError
│   ├── RepositoryLockedError      ├── RunFencedError
│   ├── IntegrityError             └── PointNotFoundError ── AmbiguousPointError
├── TargetError                    the file that a disk is restored to
│   └── TargetExistsError
├── ServeError                     a disk that is served to other programs
│   └── AddressInUseError
└── HyperVError                    a host
    ├── HostUnreachableError ── LostReplyError, HostCertificateError
    ├── HostAuthenticationError    ├── HostAccessDeniedError
    ├── HyperVMissingError         ├── HostReplyError
    ├── HostFaultError             ├── HostJobError ── JobVanishedError, JobUnfinishedError
    ├── HostFileError ── HostFileMissingError
    ├── HostSpaceError
    ├── VmNotFoundError ── AmbiguousVmError
    ├── VmBusyError                ├── VmUnsupportedError
    └── CheckpointError ── ForeignCheckpointError
```

The exit codes of the command line stand here and nowhere else: 1 failed, 2 misuse, 3 data found
damaged, 4 host or repository out of reach. (5, done but with a finding, is no exception.)
"""

from typing import ClassVar


class HypercbtError(Exception):
    """The base of everything that hypercbt raises on purpose."""

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False
    """Whether the same call may succeed later without anybody changing anything."""


class SourceError(HypercbtError):
    """The disk that should be backed up cannot be read."""


class VhdxCorruptError(SourceError):
    """A VHDX or VHD file breaks a rule of its format."""

    exit_code = 3


class ParentDiskError(SourceError):
    """The parent of a differencing disk is missing, is another disk, or leads in a circle."""


class UnsupportedDiskError(SourceError):
    """The file is not a disk, or of a kind that this version cannot read."""


class SourceChangedError(SourceError):
    """Somebody wrote to the source while it was read, so no restore point was made."""

    retryable = True


class DiskIdentityError(SourceError):
    """The disk is not the one that the restore point holds: another id, machine or size."""


class ChangeTrackingLostError(SourceError):
    """The host no longer knows what changed; only a comparison of the whole disk helps."""


class AuditUnfinishedError(SourceError):
    """A change was missed, and the comparison of the whole disk that this makes necessary was stopped."""

    retryable = True


class DiskInUseError(SourceError):
    """Another process has the disk open for writing."""

    retryable = True


class TrackerFileError(SourceError):
    """A file of a change tracker's name was not made by one of ours; it is left alone."""


class RepositoryError(HypercbtError):
    """The repository cannot do what it was asked for."""


class RepositoryUnavailableError(RepositoryError):
    """The repository cannot be reached, read or written."""

    exit_code = 4
    retryable = True


class RepositoryFullError(RepositoryUnavailableError):
    """No space is left for the repository. What stood in it is unharmed."""


class RepositoryNotFoundError(RepositoryError):
    """There is no repository at this place."""

    exit_code = 4


class RepositoryExistsError(RepositoryError):
    """There is a repository, or something else, at this place already."""


class RepositoryFormatError(RepositoryError):
    """The repository was written by a newer version."""


class RepositoryUnsuitableError(RepositoryError):
    """The storage cannot keep the promises that a repository needs."""


class RepositoryLockedError(RepositoryError):
    """Somebody else does something that must not be done twice at once."""

    exit_code = 4
    retryable = True


class RunFencedError(RepositoryError):
    """The run was declared dead while it lived; nothing was lost, and a new run may succeed."""

    retryable = True


class IntegrityError(RepositoryError):
    """The repository does not hold what was written to it."""

    exit_code = 3


class PointNotFoundError(RepositoryError, LookupError):
    """There is no such restore point."""


class AmbiguousPointError(PointNotFoundError):
    """What was given fits several restore points or machines; the message lists them."""


class TargetError(HypercbtError):
    """The restored disk cannot be written to its place."""


class TargetExistsError(TargetError):
    """There is a file where the restored disk should go, and `overwrite` was not said."""


class ServeError(HypercbtError):
    """A disk cannot be served, or what was written to it not be made durable."""


class AddressInUseError(ServeError):
    """Somebody serves at this address already, or a file that is no socket stands there."""


class HyperVError(HypercbtError):
    """A Hyper-V host cannot do what it was asked for."""


class HostUnreachableError(HyperVError):
    """The host does not answer, or its certificate is not to be trusted."""

    exit_code = 4
    retryable = True


class HostCertificateError(HostUnreachableError):
    """What answers cannot prove that it is the host: nothing was sent to it."""

    retryable = False


class LostReplyError(HostUnreachableError):
    """The connection broke after a request was sent: the host may have done what it was asked for."""


class HostAuthenticationError(HyperVError):
    """The host does not accept the credentials, or there are none."""

    exit_code = 4


class HostAccessDeniedError(HyperVError):
    """The host knows who asks, and does not allow it."""

    exit_code = 4


class HyperVMissingError(HyperVError):
    """The host answers, and has no Hyper-V role."""

    exit_code = 4


class HostReplyError(HyperVError):
    """The host's answer makes no sense; nothing was believed of it."""


class HostFaultError(HyperVError):
    """The host refused a request as such: a WS-Management fault.

    Args:
        message: What the host said, in its own language.
        code: The WS-Management code, such as 2150858793.
        subcode: The fault's subcode without its prefix, such as `CannotProcessFilter`.
        provider_code: The code of the WMI provider, where it was one that failed.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        subcode: str | None = None,
        provider_code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.subcode = subcode
        self.provider_code = provider_code


class HostJobError(HyperVError):
    """Something that the host was asked to do has failed.

    Args:
        message: What was asked, and what the host said of it, in its own language.
        code: The method's return value, or the job's error code.
    """

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class JobRefusedError(HostJobError):
    """The host would not even begin: nothing was done."""


class JobVanishedError(HostJobError):
    """The host has forgotten what it was asked for: whether it was done can only be seen by looking."""


class JobUnfinishedError(HostJobError):
    """The host has not done what it was asked for within the time; it may yet."""

    retryable = True


class HostFileError(HyperVError):
    """A file of the virtual machine cannot be reached from here: no mapping, no right, or it is gone."""


class HostFileMissingError(HostFileError):
    """The folder of the file can be reached, and the file is not there."""


class HostSpaceError(HyperVError):
    """The host's volume has too little room left for an open checkpoint."""


class VmNotFoundError(HyperVError, LookupError):
    """The host has no virtual machine of this name."""


class AmbiguousVmError(VmNotFoundError):
    """Several virtual machines have this name; the message lists their ids."""


class VmBusyError(HyperVError):
    """The virtual machine is being changed: a checkpoint, a merge, an export, a migration."""

    retryable = True


class VmUnsupportedError(HyperVError):
    """What was asked for cannot be done with this virtual machine, or with one of its disks."""


class CheckpointError(HyperVError):
    """The checkpoint could not be made, or not as it was asked for."""


class ForeignCheckpointError(CheckpointError):
    """There is a recovery checkpoint that is not ours; `--adopt` removes it."""


class UnfinishedWarning(UserWarning):
    """The restore point is made and whole, but something after it could not be tidied up."""
