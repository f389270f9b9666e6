"""Class declarations in few words: `uint16[] OperationalStatus`, a line each."""

from collections.abc import Mapping

from hypercbt.lab.wire.provider import (
    VIRTUALIZATION,
    CimClass,
    Declared,
    Method,
    Type,
)


def declared(word: str) -> Declared:
    """The type that a word means: `uint16`, `uint16[]`, `ref`, `Msvm_Error` as a tree, or `<Msvm_Error>` as text."""
    array = word.endswith("[]")
    word = word.removesuffix("[]")
    if word.startswith("<"):
        return Declared(Type.STRING, array, word.strip("<>"))
    if word == "ref":
        return Declared(Type.REFERENCE, array)
    if word.startswith(("Msvm_", "CIM_")):
        return Declared(Type.OBJECT, array, word)
    return Declared(Type(word), array)


def parameters(text: str) -> dict[str, Declared]:
    """Properties or parameters by name, a line or a semicolon each."""
    lines = (line.split() for line in text.replace(";", "\n").splitlines())
    return {words[1]: declared(words[0]) for words in lines if words}


def method(inputs: str = "", outputs: str = "") -> Method:
    """What a method takes and gives."""
    return Method(parameters(inputs), parameters(outputs))


def cim_class(
    name: str,
    keys: str,
    *properties: str,
    parents: str = "CIM_ManagedElement",
    methods: Mapping[str, Method] | None = None,
    namespace: str = VIRTUALIZATION,
) -> CimClass:
    """A class. `keys` and `parents` are words, `properties` texts that follow each other."""
    return CimClass(
        name=name,
        keys=tuple(keys.split()),
        properties=parameters("\n".join(properties)),
        methods=methods or {},
        namespace=namespace,
        parents=tuple(parents.split()),
    )


ELEMENT = "string InstanceID; string Caption; string Description; string ElementName"
"""`CIM_ManagedElement`."""

STATUS = """
    datetime InstallDate; string Name; uint16[] OperationalStatus; string[] StatusDescriptions; string Status
    uint16 HealthState; uint16 CommunicationStatus; uint16 DetailedStatus; uint16 OperatingStatus; uint16 PrimaryStatus
"""
"""`CIM_ManagedSystemElement`."""

ENABLED = """
    uint16 EnabledState; string OtherEnabledState; uint16 RequestedState; uint16 EnabledDefault
    datetime TimeOfLastStateChange; uint16[] AvailableRequestedStates; uint16 TransitioningToState
"""
"""`CIM_EnabledLogicalElement`."""
