"""The switches of the lab, each in every position, and what shows that it is: for test_quirks.py."""

from hypercbt.lab.model.services import MANAGEMENT, POINTS
from integration.hyperv.backups import CHUNK, MIB
from integration.hyperv.quirks.questions import (
    enumerates,
    in_order,
    layer_in_changes,
    off,
    others_may_ask,
)
from integration.hyperv.quirks.shows import (
    CHANGES,
    Case,
    asked,
    in_pieces,
    much_changed,
    never_asked,
    nothing_changed,
    plain,
    refused,
    said,
)
from integration.hyperv.quirks.stories import (
    Seconds,
    a_failure_is_tidied_up,
    a_reason_in_the_errors,
    after_an_export,
    by_a_fault,
    connections_of_others,
    denied,
    enumerations_of_others,
    expired,
    four_disks,
    handed_over,
    idle,
    ids_of_some,
    in_the_clear,
    layered,
    lost,
    of_somebody_else,
    states,
    without_selector,
)

ROWS = "Enumerate Msvm_AffectedJobElement"
MADE_MACHINE = (
    "<p:AffectedElement>(?:(?!</p:AffectedElement>).)*v2/Msvm_ComputerSystem<"
    "(?:(?!</p:Msvm_).)*ElementEffects>5<"
)
"""A row of a job that says it has made a machine: it is none of ours."""
DISK_INFO = "GetVirtualHardDiskSettingData"
# A group of a GUID may be all digits: its first letter tells the case.
LOWER = "[0-9-]*[a-f]"
UPPER = "[0-9-]*[A-F]"
DISK_ID = '"VirtualDiskId" TYPE="string"&gt;&lt;VALUE&gt;{}'
PARENT = 'Parent>[^<]*InstanceID="Microsoft:'
GUEST_BACKUP = {"ConsistencyLevel": 2, "GuestBackupType": 1}
EVERYBODY = "SELECT * FROM Msvm_ComputerSystem"
NAMES = "SELECT ElementName FROM Msvm_ComputerSystem"
SMALL = {"max_envelope_bytes": 16_384}
PAGED = {"max_batch_items": 1}
FAULTS = {"lost": "fault"}

CASES = [
    # Jobs
    Case("jobs_end_with_warnings", False, plain(said("Get Msvm_C", "JobState>7<"))),
    Case("jobs_end_with_warnings", True, plain(said("Get Msvm_C", "JobState>32768<"))),
    Case("bland_job_errors", False, a_reason_in_the_errors(False)),
    Case("bland_job_errors", True, a_reason_in_the_errors(True)),
    Case("rename_by_job", False, plain(said("ModifySystemS", "ReturnValue>0<"))),
    Case("rename_by_job", True, plain(said("ModifySystemS", "ReturnValue>4096<"))),
    Case("clean_up_by_job", False, plain(said("DestroyRef", "ReturnValue>0<"))),
    Case("clean_up_by_job", True, plain(said("DestroyRef", "ReturnValue>4096<"))),
    Case(
        "affected_rows_of_others",
        False,
        plain(said(ROWS, MADE_MACHINE, never=True), said(ROWS, "Effects>0<")),
    ),
    Case("affected_rows_of_others", True, plain(said(ROWS, MADE_MACHINE))),
    # What a list looks like
    Case("guid_case_varies", False, plain(said(DISK_INFO, DISK_ID.format(UPPER)))),
    Case("guid_case_varies", True, plain(said(DISK_INFO, DISK_ID.format(LOWER)))),
    Case(
        "parent_case_varies",
        False,
        plain(
            said("Msvm_Storage", PARENT + UPPER),
            said("Msvm_Storage", PARENT + LOWER, never=True),
        ),
    ),
    Case(
        "parent_case_varies",
        True,
        plain(said("Msvm_Storage", PARENT + LOWER)),
    ),
    Case("shuffle_seed", None, plain(in_order(True), disks=[4 * MIB] * 3)),
    Case("shuffle_seed", 0, plain(in_order(False), disks=[4 * MIB] * 3)),
    Case("shuffle_seed", 1, plain(in_order(False), disks=[4 * MIB] * 3)),
    # Virtual machines and services
    Case("documented_states", False, states(9, 6)),
    Case("documented_states", True, states(32768, 32769)),
    Case("selectors_required", False, without_selector(MANAGEMENT, False)),
    Case("selectors_required", True, without_selector(MANAGEMENT, True)),
    Case("reference_point_selectors_required", False, without_selector(POINTS, False)),
    Case("reference_point_selectors_required", True, without_selector(POINTS, True)),
    Case("namespace_selector", False, plain(said("Enum", "__cim", never=True))),
    Case("namespace_selector", True, plain(said("CreateSnapshot", "__cimnamespace"))),
    # Checkpoints
    Case("guest_backup_type", True, others_may_ask(GUEST_BACKUP, works=True)),
    Case("guest_backup_type", False, others_may_ask(GUEST_BACKUP, works=False)),
    Case("empty_settings", True, others_may_ask(None, works=True)),
    Case("empty_settings", False, others_may_ask(None, works=False)),
    Case("application_layer", True, layered(True)),
    Case("application_layer", False, layered(False)),
    Case("layer_in_changes", True, layer_in_changes(True)),
    Case("layer_in_changes", False, layer_in_changes(False)),
    Case("application_of_off", True, off(works=True)),
    Case("application_of_off", False, off(works=False)),
    Case("second_recovery_checkpoint", True, of_somebody_else(second=True)),
    Case("second_recovery_checkpoint", False, of_somebody_else(second=False)),
    Case("recovery_destroy_works", True, a_failure_is_tidied_up(True)),
    Case("recovery_destroy_works", False, a_failure_is_tidied_up(False)),
    # Reference points
    Case("untracked", "short", ids_of_some),
    Case("untracked", "null", ids_of_some),
    Case("shuffled_disks", True, four_disks(True)),
    Case("shuffled_disks", False, four_disks(False)),
    # Changes
    Case(
        "short_answers",
        True,
        much_changed(in_pieces(2, 8), refused(CHANGES, "w:EncodingLimit", never=True)),
        SMALL,
    ),
    Case(
        "short_answers",
        False,
        much_changed(in_pieces(3, 20), refused(CHANGES, "w:EncodingLimit")),
        SMALL,
    ),
    Case("most_ranges", None, much_changed(in_pieces(1, 1))),
    Case("most_ranges", 7, much_changed(in_pieces(37, 37))),
    Case("coarse_bytes", 0, plain(said(CHANGES, "Lengths>4096<"))),
    Case("coarse_bytes", MIB, plain(said(CHANGES, "Lengths>1048576<"))),
    Case("coarse_bytes", 3 * CHUNK, plain(said(CHANGES, "Lengths>196608<"))),
    Case("lost", "return", lost("return", said(CHANGES, "ReturnValue>32768<"))),
    Case("lost", "job", lost("job", said("Get Msvm_StorageJob", "JobState>10<"))),
    Case("lost", "fault", lost("fault", by_a_fault)),
    Case("whole_length", True, plain(said(CHANGES, "Value>32773<", never=True))),
    Case("whole_length", False, plain(said(CHANGES, "Value>32773<"))),
    Case("tracking_travels", True, handed_over(True)),
    Case("tracking_travels", False, handed_over(False)),
    # Merges
    Case("export_stops_merging", True, after_an_export(True)),
    Case("export_stops_merging", False, after_an_export(False)),
    # The wire
    Case("host_name", "LAB1", plain(said("Msvm_Resource", r"\\\\LAB1\\root"))),
    Case("host_name", "web01", plain(said("Msvm_ResourceA", r"\\\\web01\\root"))),
    Case("language", "de-DE", plain(said("Get", 'lang="de-DE"'))),
    Case("language", "en-US", plain(said("Get", 'lang="en-US"'))),
    Case("language", "ja-JP", plain(said("Get", 'lang="ja-JP"'))),
    Case("max_envelope_bytes", 512_000, much_changed(in_pieces(1, 1))),
    Case("max_envelope_bytes", 16_384, much_changed(in_pieces(2, 8))),
    Case("max_batch_items", 32_000, plain(never_asked("Pull"))),
    Case("max_batch_items", 1, plain(said("Pull", "EndOfSequence"))),
    Case(
        "enumeration_timeout_seconds",
        60.0,
        expired(False),
        {"clock": Seconds(), **PAGED},
    ),
    Case(
        "enumeration_timeout_seconds", 5.0, expired(True), {"clock": Seconds(), **PAGED}
    ),
    Case("max_enumerations", 1500, enumerations_of_others(False), PAGED),
    Case("max_enumerations", 1, enumerations_of_others(True), PAGED),
    Case("max_connections", 300, connections_of_others(False)),
    Case("max_connections", 1, connections_of_others(True)),
    Case("connection_timeout_seconds", 120.0, idle(False)),
    # Long enough that no client on a busy machine is as slow between two requests.
    Case("connection_timeout_seconds", 1.0, idle(True)),
    Case(
        "one_item_pulls",
        True,
        plain(
            asked("Enumerate", "MaxElements>50<"),
            enumerates(EVERYBODY, "EndOfSequence", never=True, MaxElements=""),
        ),
    ),
    Case(
        "one_item_pulls",
        False,
        plain(
            asked("Enumerate", "MaxElements>50<"),
            enumerates(EVERYBODY, "EndOfSequence", never=False, MaxElements=""),
        ),
    ),
    Case("last_pull_empty", False, plain(never_asked("Pull"))),
    Case("last_pull_empty", True, plain(said("Pull", "Items></n:Items>"))),
    Case("refuse_filters", False, plain(asked("Enumerate Msvm_St", "WQL"))),
    Case("refuse_filters", True, plain(refused("Enumerate", "w:CannotProcessFilter"))),
    Case(
        "projected_fragments",
        True,
        plain(
            asked("Enumerate", "SELECT (?![*])", never=True),
            enumerates(NAMES, "w:XmlFragment"),
        ),
    ),
    Case(
        "projected_fragments",
        False,
        plain(
            asked("Enumerate", "SELECT (?![*])", never=True),
            enumerates(NAMES, "w:XmlFragment", never=True),
        ),
    ),
    Case(
        "empty_array_is_nil",
        False,
        nothing_changed(said(CHANGES, "ByteOffsets", never=True)),
    ),
    Case(
        "empty_array_is_nil",
        True,
        nothing_changed(said(CHANGES, 'ByteOffsets xsi:nil="true"')),
    ),
    Case(
        "wmi_error_alone", False, lost("fault", said(CHANGES, "f:WSManFault")), FAULTS
    ),
    Case(
        "wmi_error_alone",
        True,
        lost("fault", said(CHANGES, "f:WSManFault", never=True)),
        FAULTS,
    ),
    # That it acts is shown by a client that binds nothing, in lab/wire/test_other_clients.py: ours binds always.
    Case("channel_bindings", True, plain()),
    Case("channel_bindings", False, plain()),
    Case("allow_unencrypted", False, in_the_clear(False)),
    Case("allow_unencrypted", True, in_the_clear(True)),
    Case("denied_users", frozenset(), plain()),
    Case("denied_users", frozenset({"lab"}), denied),
]
