"""What a host says in words, in its own language: nobody may rely on any of it."""

from collections.abc import Mapping
from types import MappingProxyType

GERMAN: Mapping[str, str] = MappingProxyType(
    {
        "machine": "Virtueller Computer",
        "host": "Gehosteter physischer Computer",
        "disk": "Virtuelle Festplatte",
        "drive": "Synthetisches Laufwerk",
        "controller": "Controller",
        "fine": "In Ordnung",
        "settings": "Aktive Einstellungen für den virtuellen Computer",
        "service": "Dienst für die Virtualisierung",
        "point": "Verweispunkt",
        "new": "Auftrag wurde angenommen",
        "running": "Auftrag wird ausgeführt",
        "done": "Auftrag wurde erfolgreich abgeschlossen",
        "warned": "Auftrag wurde mit Warnungen abgeschlossen",
        "failed": "Fehler bei dem Auftrag",
        "checkpoint": "Prüfpunkt wird erstellt",
        "delete": "Prüfpunkt wird gelöscht",
        "apply": "Prüfpunkt wird angewendet",
        "convert": "Verweispunkt wird erstellt",
        "forget": "Verweispunkt wird gelöscht",
        "modify": "Einstellungen werden geändert",
        "export": "Virtueller Computer wird exportiert",
        "changes": "Änderungen werden abgefragt",
        "merging": "Datenträger werden zusammengeführt",
        "bland": "Unbekannter Fehler.",
        "vss": "Der VSS-Generator im Gast hat die Prüfpunkterstellung abgelehnt (0x800423F2).",
        "shared": "Eine freigegebene Festplatte kann nicht in den Prüfpunkt aufgenommen werden.",
        "pass": "Ein direkt verbundener Datenträger kann nicht in den Prüfpunkt aufgenommen werden.",
        "read_only": "Eine schreibgeschützte Eigenschaft kann nicht geändert werden",
        "misfit": "Ungültiger Typ einer Eigenschaft",
        "unknown_property": "Unbekannte Eigenschaft",
        "lost": "Die Änderungsverfolgung kann die Frage nicht beantworten",
        "not_recovery": "Nur ein Wiederherstellungsprüfpunkt kann umgewandelt werden.",
        "no_object": "Das Objekt wurde nicht gefunden.",
        "bad_parameters": "Ungültige Methodenparameter",
        "internal": "Interner Fehler des WinRM-Diensts.",
    }
)

ENGLISH: Mapping[str, str] = MappingProxyType(
    {
        "machine": "Virtual Machine",
        "host": "Hosting Computer System",
        "disk": "Virtual Hard Disk",
        "drive": "Synthetic Disk Drive",
        "controller": "Controller",
        "fine": "Operating normally",
        "settings": "Active settings for the virtual machine",
        "service": "Service for virtualization",
        "point": "Reference point",
        "new": "The job was accepted",
        "running": "The job is running",
        "done": "The job has completed",
        "warned": "The job has completed with warnings",
        "failed": "The job has failed",
        "checkpoint": "Creating a checkpoint",
        "delete": "Deleting a checkpoint",
        "apply": "Applying a checkpoint",
        "convert": "Creating a reference point",
        "forget": "Deleting a reference point",
        "modify": "Changing settings",
        "export": "Exporting a virtual machine",
        "changes": "Asking for changes",
        "merging": "Merging disks",
        "bland": "Unspecified error.",
        "vss": "The guest's VSS writer refused the checkpoint (0x800423F2).",
        "shared": "A shared disk cannot be part of the checkpoint.",
        "pass": "A pass-through disk cannot be part of the checkpoint.",
        "read_only": "A read-only property cannot be changed",
        "misfit": "A property has the wrong type",
        "unknown_property": "Unknown property",
        "lost": "Change tracking cannot answer",
        "not_recovery": "Only a recovery checkpoint can be converted.",
        "no_object": "The object was not found.",
        "bad_parameters": "Invalid method parameter(s)",
        "internal": "The WinRM service had an internal error.",
    }
)


def texts(language: str) -> Mapping[str, str]:
    """The words of a language, such as `de-DE`; English where there are none."""
    return GERMAN if language.lower().startswith("de") else ENGLISH
