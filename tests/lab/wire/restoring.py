"""Imports a machine as a client does that we did not write: request by request, as text, over whatever sends it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from lab.wire.asking import (
    ENUMERATE,
    GET,
    OPTIMIZED,
    V2,
    A,
    Said,
    enumerate_body,
    envelope,
    filtered,
    local,
    values,
)

MANAGEMENT = "Msvm_VirtualSystemManagementService"
PLANNED = "Msvm_PlannedComputerSystem"
COMPUTER = "Msvm_ComputerSystem"
SETTINGS = "Msvm_VirtualSystemSettingData"
DRIVE = "Msvm_ResourceAllocationSettingData"
STORAGE = "Msvm_StorageAllocationSettingData"


@dataclass(frozen=True)
class Object:
    """What a reference means."""

    class_name: str
    keys: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        return dict(self.keys)["Name"]


def system(class_name: str, guid: str) -> Object:
    return Object(class_name, (("CreationClassName", class_name), ("Name", guid)))


def part(class_name: str, instance_id: str) -> Object:
    return Object(class_name, (("InstanceID", instance_id),))


def reference(name: str, target: Object) -> str:
    chosen = "".join(
        f'<w:Selector Name="{key}">{escape(value)}</w:Selector>'
        for key, value in target.keys
    )
    return (
        f"<p:{name}><a:Address>{A}/role/anonymous</a:Address><a:ReferenceParameters>"
        f"<w:ResourceURI>{V2}/{target.class_name}</w:ResourceURI>"
        f"<w:SelectorSet>{chosen}</w:SelectorSet></a:ReferenceParameters></p:{name}>"
    )


def settings(name: str, class_name: str, **properties: str | tuple[str, ...]) -> str:
    """An embedded instance, all of whose properties are texts."""
    inside = ""
    for key, value in properties.items():
        if isinstance(value, str):
            text = f"<VALUE>{escape(value)}</VALUE>"
            inside += f'<PROPERTY NAME="{key}" TYPE="string">{text}</PROPERTY>'
        else:
            texts = "".join(f"<VALUE>{escape(one)}</VALUE>" for one in value)
            inside += f'<PROPERTY.ARRAY NAME="{key}" TYPE="string"><VALUE.ARRAY>{texts}</VALUE.ARRAY></PROPERTY.ARRAY>'
    return f'<p:{name}>{escape(f"""<INSTANCE CLASSNAME="{class_name}">{inside}</INSTANCE>""")}</p:{name}>'


@dataclass
class Job:
    """One that is over."""

    id: str
    state: int
    type: int
    error: str
    reasons: list[str]
    created: list[Object]


class Restorer:
    """A client.

    Args:
        send: Sends a request and gives the answer.
        tick: Lets time pass.
    """

    def __init__(
        self, send: Callable[[bytes], Said], tick: Callable[[], object]
    ) -> None:
        self.send = send
        self.tick = tick

    def invoke(self, method: str, inside: str, target: Object | None = None) -> Said:
        keys = (("CreationClassName", MANAGEMENT),)
        target = target or Object(MANAGEMENT, keys)
        uri = f"{V2}/{target.class_name}"
        body = f'<p:{method}_INPUT xmlns:p="{uri}">{inside}</p:{method}_INPUT>'
        return self.send(
            envelope(f"{uri}/{method}", uri, body, selectors=dict(target.keys))
        )

    def get(self, target: Object) -> Said:
        uri = f"{V2}/{target.class_name}"
        return self.send(envelope(GET, uri, selectors=dict(target.keys)))

    def query(self, query: str) -> list[ElementTree.Element]:
        body = enumerate_body(OPTIMIZED + filtered(query))
        said = self.send(envelope(ENUMERATE, f"{V2}/*", body))
        assert said.status == 200, said.text
        return said.items

    def all(self, class_name: str, where: str = "") -> list[dict[str, str | None]]:
        return list(map(values, self.query(f"SELECT * FROM {class_name} {where}")))

    def code(self, said: Said) -> int:
        assert said.status == 200, said.text
        (found,) = said.named("ReturnValue")
        return int(found.text or "")

    def job(self, said: Said) -> Job:
        """Wait for the job that a call has started."""
        assert self.code(said) == 4096, said.text
        (id_,) = [one.text or "" for one in said.named("Selector")]
        target = part("Msvm_ConcreteJob", id_)
        for _ in range(1000):
            found = values(
                next(
                    iter(
                        self.get(target).root.iter(
                            f"{{{V2}/Msvm_ConcreteJob}}Msvm_ConcreteJob"
                        )
                    )
                )
            )
            if int(found["JobState"] or "") not in (2, 3, 4):
                break
            self.tick()
        state = int(found["JobState"] or "")
        said = self.invoke("GetErrorEx", "", target)
        reasons = [
            one.findtext("PROPERTY[@NAME='Message']/VALUE") or ""
            for error in said.named("Errors")
            if error.text
            for one in [ElementTree.fromstring(error.text)]
        ]
        return Job(
            id_,
            state,
            int(found["JobType"] or ""),
            found["ErrorDescription"] or "",
            reasons,
            list(self._created(id_)),
        )

    def _created(self, job: str) -> Iterable[Object]:
        for row in self.query("SELECT * FROM Msvm_AffectedJobElement"):
            ends = {local(one.tag): one for one in row}
            if ends["ElementEffects"].text != "5":
                continue
            if _object(ends["AffectingElement"]).keys == (("InstanceID", job),):
                yield _object(ends["AffectedElement"])

    def done(self, said: Said) -> list[Object]:
        """What a job, which must not fail, has created."""
        job = self.job(said)
        assert job.state == 7, job.error
        return job.created

    # The sequence

    def bring_in(self, file: str, fresh: bool | None = None, folder: str = "") -> Said:
        inside = f"<p:SystemDefinitionFile>{escape(file)}</p:SystemDefinitionFile>"
        inside += f"<p:SnapshotFolder>{escape(folder)}</p:SnapshotFolder>"
        if fresh is not None:
            said = str(fresh).lower()
            inside += (
                f"<p:GenerateNewSystemIdentifier>{said}</p:GenerateNewSystemIdentifier>"
            )
        return self.invoke("ImportSystemDefinition", inside)

    def planned(self, file: str, fresh: bool = True) -> Object:
        (made,) = self.done(self.bring_in(file, fresh))
        return made

    def parts(self, class_name: str, guid: str, kind: str) -> list[str]:
        """The instance ids of a machine's parts of a kind, by place."""
        where = f"WHERE InstanceID LIKE 'Microsoft:{guid}%'"
        return sorted(
            row["InstanceID"] or ""
            for row in self.all(class_name, where)
            if row["ResourceSubType"] == f"Microsoft:Hyper-V:{kind}"
        )

    def disks(self, guid: str) -> list[str]:
        return self.parts(STORAGE, guid, "Virtual Hard Disk")

    def drives(self, guid: str) -> list[str]:
        return self.parts(DRIVE, guid, "Synthetic Disk Drive")

    def rewire(self, disk: str, file: str, **more: str) -> Said:
        said = settings(
            "ResourceSettings", STORAGE, InstanceID=disk, HostResource=(file,), **more
        )
        return self.invoke("ModifyResourceSettings", said)

    def remove(self, *parts: Object) -> Said:
        inside = "".join(reference("ResourceSettings", one) for one in parts)
        return self.invoke("RemoveResourceSettings", inside)

    def add(self, guid: str, *embedded: str) -> Said:
        where = reference("AffectedConfiguration", part(SETTINGS, f"Microsoft:{guid}"))
        return self.invoke("AddResourceSettings", where + "".join(embedded))

    def validate(self, planned: Object) -> Said:
        return self.invoke("ValidatePlannedSystem", reference("PlannedSystem", planned))

    def realize(self, planned: Object) -> Said:
        return self.invoke("RealizePlannedSystem", reference("PlannedSystem", planned))

    def destroy(self, target: Object) -> Said:
        return self.invoke("DestroySystem", reference("AffectedSystem", target))


def _object(element: ElementTree.Element) -> Object:
    uri = next(
        one.text or "" for one in element.iter() if local(one.tag) == "ResourceURI"
    )
    keys = tuple(
        (one.attrib["Name"], one.text or "")
        for one in element.iter()
        if local(one.tag) == "Selector" and one.attrib["Name"] != "__cimnamespace"
    )
    return Object(uri.rpartition("/")[2], keys)
