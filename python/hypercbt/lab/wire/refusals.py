"""The faults that the wire itself makes: which subcode and code each has, and what the host says, in its language.

The codes and their subcodes are those of Microsoft's `wsmerror.h` [V], save where a comment says otherwise. Texts are our own
wording, short, in German and in English: a client must never read them.
"""

from dataclasses import dataclass
from enum import Enum

from hypercbt.lab.wire.provider import ProviderError

MOST_DETAIL = 200
"""Characters of what a client sent that a fault repeats: it would else be as big as the request."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault."""

    subcode: str
    code: int
    german: str
    english: str
    provider_code: int | None = None


class Refused(Enum):
    """What the wire refuses, and how."""

    ACCESS_DENIED = Kind("w:AccessDenied", 5, "Zugriff verweigert", "Access is denied.")
    ACTION = Kind(
        "a:ActionNotSupported",
        2150858771,
        "Die Aktion wird für diese Ressource nicht unterstützt.",
        "The action is not supported by this resource.",
    )
    CLASS = Kind(
        "a:DestinationUnreachable",
        2150858752,
        "Die Klasse ist nicht vorhanden.",
        "The class does not exist.",
        # WBEM_E_INVALID_CLASS; that it comes this way is [I].
        2147749904,
    )
    CONTEXT = Kind(
        "n:InvalidEnumerationContext",
        2150858779,
        "Der Enumerationskontext ist ungültig.",
        "The enumeration context is not valid.",
    )
    DIALECT = Kind(
        "n:FilterDialectRequestedUnavailable",
        2150858777,
        "Der Filterdialekt wird nicht unterstützt.",
        "The filter dialect is not supported.",
    )
    ENVELOPE = Kind(
        "w:EncodingLimit",
        2150858790,
        "Die Antwort ist größer als zulässig.",
        "The response is larger than the maximum size allowed.",
    )
    ENVELOPE_ASKED = Kind(
        "w:EncodingLimit",
        2150858805,
        "Die angeforderte Größe ist zu klein.",
        "The size that was asked for is below the minimum.",
    )
    FILTER = Kind(
        "w:CannotProcessFilter",
        2150859042,
        "Der Filter kann nicht verarbeitet werden.",
        "The data source could not process the filter.",
    )
    FILTER_CLASS = Kind(
        # ERROR_WSMAN_INVALID_URI_WMI_ENUM_WQL; the subcode is [I].
        "w:CannotProcessFilter",
        2150859003,
        "Der Ressourcen-URI einer WQL-Enumeration muss '*' als Klasse haben.",
        "The resource URI of a WQL enumeration must not contain keys and the class name must be '*'.",
    )
    HEADER = Kind(
        "a:MessageInformationHeaderRequired",
        2150858769,
        "Ein erforderlicher Header fehlt.",
        "A required header is missing.",
    )
    INTERNAL = Kind(
        "w:InternalError", 1359, "Interner Fehler.", "An internal error occurred."
    )
    MUST_UNDERSTAND = Kind(
        "s:MustUnderstand",
        2150858768,
        "Ein Header wurde nicht verstanden.",
        "A header was not understood.",
    )
    NAMESPACE = Kind(
        # virt-who saw this code where the Hyper-V role is missing [V]; by its name it is that of a filter.
        "n:CannotProcessFilter",
        2150858778,
        "Ungültiger Namespace.",
        "Invalid namespace.",
        2150858778,
    )
    NO_KEYS = Kind(
        "w:InvalidSelectors",
        2150859002,
        "Die Klasse ist kein Singleton, Schlüssel fehlen.",
        "The resource URI does not contain keys, but the class selected is not a singleton.",
        2150859002,
    )
    NO_METHOD = Kind(
        "a:ActionNotSupported",
        2150858771,
        "Die Methode ist nicht vorhanden.",
        "The class has no such method.",
    )
    NOT_FOUND = Kind(
        "a:DestinationUnreachable",
        2150858752,  # 0x80338000 [V]
        "Das Objekt ist nicht vorhanden.",
        "The object does not exist.",
    )
    QUOTA = Kind(
        "w:QuotaLimit",
        2150858815,
        "Der Dienst ist ausgelastet.",
        "The service is busy servicing other requests.",
    )
    RESOURCE = Kind(
        "w:InvalidResourceURI",
        2150858811,
        "Der Ressourcen-URI ist ungültig.",
        "The resource URI is missing or has an incorrect format.",
    )
    SCHEMA = Kind(
        "w:SchemaValidationError",
        2150858817,
        "Das XML entspricht nicht dem Schema.",
        "The SOAP XML in the message does not match the corresponding XML schema definition.",
    )
    SELECTORS = Kind(
        "w:InvalidSelectors",
        2150858843,  # 0x8033805B, unexpected selectors [V]
        "Die Selektoren sind ungültig.",
        "The request contained invalid selectors for the resource.",
    )
    SELECTOR_MISSING = Kind(
        # A service of which no selector was sent: what the virtual system management service says [V*].
        "w:InternalError",
        2150858752,
        "Ungültige Methodenparameter.",
        "Invalid method parameters.",
        2147749935,  # WBEM_E_INVALID_METHOD_PARAMETERS
    )
    TIMED_OUT = Kind(
        "w:TimedOut",
        2150858793,
        "Zeitüberschreitung des Vorgangs.",
        "The operation could not be completed within the time specified.",
    )
    URI = Kind(
        "w:EncodingLimit",
        2150858790,
        "Der URI ist zu lang.",
        "The URI is longer than the service takes.",
    )
    XML = Kind(
        "w:SchemaValidationError",
        2150858819,
        "Das XML ist ungültig.",
        "The XML is invalid.",
    )

    def error(self, detail: str = "") -> "RefusedError":
        """Return the fault, to be raised."""
        return RefusedError(self, detail)


class RefusedError(ProviderError):
    """A fault of the wire. Its text is chosen when it is sent: the raiser does not know the host's language."""

    def __init__(self, refused: Refused, detail: str = "") -> None:
        kind = refused.value
        detail = detail[:MOST_DETAIL]
        super().__init__(
            kind.subcode, kind.code, detail or kind.english, kind.provider_code
        )
        self.refused = refused
        self.detail = detail

    def text(self, language: str) -> str:
        """Return what the host says. Hosts of other languages than German speak English here."""
        kind = self.refused.value
        said = kind.german if language.startswith("de") else kind.english
        return f"{said} ({self.detail})" if self.detail else said
