"""Jobs, what they did, and how they failed."""

from hypercbt.lab.model.classes.declare import (
    ELEMENT,
    STATUS,
    cim_class,
    method,
)

_JOB = """
    string JobStatus; datetime TimeSubmitted; datetime ScheduledStartTime; datetime StartTime; datetime ElapsedTime
    uint32 JobRunTimes; uint8 RunMonth; sint8 RunDay; sint8 RunDayOfWeek; datetime RunStartInterval; uint16 LocalOrUtcTime
    datetime UntilTime; string Notify; string Owner; uint32 Priority; uint16 PercentComplete; boolean DeleteOnCompletion
    uint16 ErrorCode; string ErrorDescription; string ErrorSummaryDescription; uint16 RecoveryAction
    string OtherRecoveryAction; uint16 JobState; datetime TimeOfLastStateChange; datetime TimeBeforeRemoval
    boolean Cancellable; uint16 JobType
"""

_METHODS = {"GetErrorEx": method(outputs="<Msvm_Error>[] Errors")}
_PARENTS = "CIM_ConcreteJob CIM_Job CIM_LogicalElement CIM_ManagedSystemElement CIM_ManagedElement"

CLASSES = (
    cim_class(
        "Msvm_ConcreteJob",
        "InstanceID",
        ELEMENT,
        STATUS,
        _JOB,
        parents=_PARENTS,
        methods=_METHODS,
    ),
    cim_class(
        "Msvm_StorageJob",
        "InstanceID",
        ELEMENT,
        STATUS,
        _JOB,
        "uint32 JobCompletionStatusCode; string Child; string Parent",
        parents=_PARENTS,
        methods=_METHODS,
    ),
    cim_class(
        "Msvm_AffectedJobElement",
        "AffectedElement AffectingElement",
        "ref AffectedElement; ref AffectingElement",
        "uint16[] ElementEffects; string[] OtherElementEffectsDescriptions",
        parents="CIM_AffectedJobElement",
    ),
    cim_class(
        "Msvm_Error",
        "",
        """
        uint16 ErrorType; string OtherErrorType; string OwningEntity; string MessageID; string Message
        string[] MessageArguments; uint16 PerceivedSeverity; uint16 ProbableCause; string ProbableCauseDescription
        string[] RecommendedActions; string ErrorSource; uint16 ErrorSourceFormat; string OtherErrorSourceFormat
        uint32 CIMStatusCode; string CIMStatusCodeDescription
        """,
        parents="CIM_Error",
    ),
)
