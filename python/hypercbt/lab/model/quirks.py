"""How the simulated host behaves where hosts differ, or where nobody knows.

Each field says what it stands on: [V*] recorded from a real host, [V] documented or seen in several programs, [I] inferred,
[?] unknown. A client has to get along with every value of each. What is certain is no switch.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Untracked: TypeAlias = Literal["short", "null"]
Lost: TypeAlias = Literal["return", "job", "fault"]
IdConflict: TypeAlias = Literal["import", "validate"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take."""

    job_seconds: float = 0.02
    """A job; it passes the states 2, 3 and 4 in it [V*]."""
    merge_seconds: float = 0.05
    """The merge in the background, after a checkpoint has gone [V]. Until it ends the virtual machine says 32772."""
    removal_seconds: float = 300.0
    """How long a job can be asked for after its end [V*]."""


@dataclass(frozen=True, slots=True)
class Quirks:
    """The switches."""

    # Jobs
    jobs_end_with_warnings: bool = False
    """State 32768 instead of 7: done, with warnings. Several clients take it as success [V]."""
    bland_job_errors: bool = False
    """`ErrorDescription` says nothing; only `GetErrorEx` gives the reason [V]."""
    rename_by_job: bool = False
    """`ModifySystemSettings` starts a job instead of answering 0; both are documented [V]."""
    clean_up_by_job: bool = True
    """`DestroyReferencePoint` and `DestroySnapshot` start a job instead of answering 0; both are documented [V]."""
    affected_rows_of_others: bool = True
    """`Msvm_AffectedJobElement` has rows of other jobs, and rows of effect 0 before the one of effect 5 [V*]."""

    # What a list looks like
    guid_case_varies: bool = True
    """GUIDs of disks, and in what reference points name, are in lower case, and in capitals elsewhere. That the case differs
    between places was seen [V*]; which places is open [?]."""
    parent_case_varies: bool = False
    """It differs in the paths in `Parent` too. libvirt compares these letter by letter, and works [I]."""

    # Virtual machines
    documented_states: bool = False
    """`EnabledState` is 32768 for paused and 32769 for saved, as documented [V]. Real hosts were seen to say 9 and 6 [V*]."""

    # Services
    selectors_required: bool = True
    """A service without the selector `CreationClassName` fails, by service in another way [V*]."""
    reference_point_selectors_required: bool = False
    """The same for the reference point service [?]: nobody has tried."""

    # Checkpoints
    guest_backup_type: bool = True
    """`GuestBackupType` is known (1703 and later). False: Server 2016 does not have the property [V], and so fails the job [I]."""
    empty_settings: bool = True
    """`SnapshotSettings` may be empty with type 32768. It may with type 2 [V*]; [?] here."""
    application_layer: bool = True
    """An application-consistent recovery checkpoint has a small .avhdx on top of the frozen file, with what the guest's
    writers wrote last. Seen in one place [V], and not known whether always [?]."""
    application_of_off: bool = True
    """A virtual machine that is off can be asked for application consistency. Nobody writes, so nothing hinders it [I]."""
    second_recovery_checkpoint: bool = True
    """There can be two recovery checkpoints. Products refuse or remove the older one [V]; the host's own mind is unknown [?]."""
    recovery_destroy_works: bool = True
    """`DestroySnapshot` removes a recovery checkpoint. Clients do it [V]; one says that the *tree* method does not work [V]."""

    # Reference points
    untracked: Untracked = "short"
    """A disk without tracking: its id is missing, so that the two arrays differ in length [V], or is null in its place [I]."""
    shuffled_disks: bool = True
    """The disks of a reference point are in another order than the virtual machine's [I]."""

    # Changes
    short_answers: bool = True
    """An answer that would not fit into the envelope stops earlier, and `ProcessedByteLength` says where [V]. False: it is given
    whole, and the wire faults [?]."""
    most_ranges: int | None = None
    """No answer has more ranges than this; it stops earlier [V]."""
    coarse_bytes: int = 0
    """Ranges are widened to this grid: trackers report too much, and nobody knows how much [?]. 0: as tracked."""
    lost: Lost = "return"
    """How it is said that changes are not known: by a return value, a failing job, or a fault [?]."""
    layer_in_changes: bool = False
    """The answer of a checkpoint covers its own top layer as well [?]."""
    whole_length: bool = True
    """`ByteLength` may be the size of the disk. Documented as less than it [V]; one client asks for all of it, and gets it [V]."""
    tracking_travels: bool = True
    """Ids survive the move of a virtual machine, files and all, to another host [?]. On shared storage they do [V]."""

    # Importing
    id_conflict: IdConflict = "import"
    """Where it is said that a virtual machine of this id stands already [?]: by the job of the import, for settings of one id
    cannot be told apart [I]; or only when the planned one is validated or realized."""
    importable_versions: tuple[str, str] = ("8.0", "10.0")
    """The oldest and the newest configuration version that a planned machine may have: these are Server 2022's [V]."""

    # Merges
    export_stops_merging: bool = True
    """An export without the storage leaves merging switched off [V]."""

    def __post_init__(self) -> None:
        for name, known in (
            ("untracked", get_args(Untracked)),
            ("lost", get_args(Lost)),
            ("id_conflict", get_args(IdConflict)),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}")
