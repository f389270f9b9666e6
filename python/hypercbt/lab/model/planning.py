"""Importing (quirk Q34): a definition becomes a planned machine, and a planned machine becomes one that stands."""

import shutil
from pathlib import Path

from hypercbt.lab.model.adopting import adopt, give_up
from hypercbt.lab.model.configuration import (
    SUFFIXES,
    NoDefinitionError,
    read_configuration,
)
from hypercbt.lab.model.files import Files
from hypercbt.lab.model.jobs import IMPORT, MODIFY, REALIZE, VALIDATE, Jobs
from hypercbt.lab.model.names import COMPUTER, PLANNED, machine_ref, meant
from hypercbt.lab.model.paths import key
from hypercbt.lab.model.state import OFF, Disk, Machine, moment, split_location
from hypercbt.lab.model.validation import problems
from hypercbt.lab.model.world import (
    FILE_IN_USE,
    INVALID_PARAMETER,
    NOT_SUPPORTED,
    JobFailedError,
    RefusedError,
    World,
    no_object,
)
from hypercbt.lab.wire.provider import Call, Cim, Ref


class Planning:
    """Imports, and what is done to the planned machines that come of them."""

    def __init__(self, world: World, files: Files, jobs: Jobs) -> None:
        self._world = world
        self._files = files
        self._jobs = jobs
        self._reading: set[str] = set()

    def bring_in(self, call: Call) -> dict[str, Cim]:
        """`ImportSystemDefinition`: a job that makes a planned machine.

        `ImportedSystem` is only for hosts that answer at once [V], so it stays empty.
        """
        text = call.arguments.get("SystemDefinitionFile")
        path = self._world.folders.local_path(text) if isinstance(text, str) else None
        # A file that is not there has no code of its own among those that are documented: a bad parameter [I].
        if not isinstance(text, str) or path is None or not path.is_file():
            raise RefusedError(INVALID_PARAMETER)
        if path.suffix.lower() != ".vmcx" or not self._is_folder(call):
            raise RefusedError(INVALID_PARAMETER)
        if self._is_in_use(text):
            raise RefusedError(FILE_IN_USE)
        fresh = call.arguments.get("GenerateNewSystemIdentifier") is True
        self._reading.add(key(text))

        def work() -> list[Ref]:
            machine = self._read(text, path, fresh=fresh)
            self._world.planned[machine.id] = machine
            return [machine_ref(machine)]

        return self._jobs.start(
            call,
            type=IMPORT,
            title="import",
            targets=[],
            work=work,
            lasting=lambda: self._reading.discard(key(text)),
        )

    def validate(self, call: Call) -> dict[str, Cim]:
        """`ValidatePlannedSystem`: a job that fails where something is wrong, and says all of it [V]."""
        machine = self._planned(call.arguments.get("PlannedSystem"))

        def work() -> list[Ref]:
            self._check(machine)
            return []

        return self._jobs.hold(
            call, machine, type=VALIDATE, title="validate", work=work
        )

    def realize(self, call: Call) -> dict[str, Cim]:
        """`RealizePlannedSystem`: a job that validates, and makes a machine that stands [V].

        Where it fails, the planned one is as before [I].
        """
        machine = self._planned(call.arguments.get("PlannedSystem"))

        def work() -> list[Ref]:
            self._check(machine)
            self._realize(machine)
            return [machine_ref(machine)]

        return self._jobs.hold(call, machine, type=REALIZE, title="realize", work=work)

    def destroy(self, call: Call) -> dict[str, Cim]:
        """`DestroySystem` of a planned machine: nothing of it is left, and its disk files are as they were [I].

        Not of one that stands: nobody needs it here, and what becomes of its checkpoints and files no source tells.
        """
        ref = call.arguments.get("AffectedSystem")
        name = meant(ref, COMPUTER, "Name")
        if name is not None and self._world.store.machine(name) is not None:
            raise RefusedError(NOT_SUPPORTED)
        machine = self._planned(ref)

        def work() -> list[Ref]:
            self._world.planned.pop(machine.id)
            return []

        # Which number this `JobType` has is not known [?].
        return self._jobs.hold(call, machine, type=MODIFY, title="destroy", work=work)

    def _planned(self, ref: Cim) -> Machine:
        name = meant(ref, PLANNED, "Name")
        machine = self._world.planned.get(name.upper()) if name else None
        if machine is None:
            raise no_object(self._world)
        return machine

    def _is_folder(self, call: Call) -> bool:
        """Whether `SnapshotFolder` is one. Exports here hold no checkpoints, so nothing is looked for in it."""
        folder = call.arguments.get("SnapshotFolder")
        if not folder:
            return True
        path = self._world.folders.local_path(str(folder))
        return path is not None and path.is_dir()

    def _is_in_use(self, path: str) -> bool:
        """Whether a definition is one of a machine that stands [V: it must not be in use by the host], or is read just now [I]."""
        wanted = self._world.folders.local_path(path)
        return key(path) in self._reading or any(
            wanted == self._files.configuration(machine, kept)
            for machine in self._world.store
            for kept in (None, *machine.checkpoints)
        )

    def _read(self, text: str, path: Path, *, fresh: bool) -> Machine:
        world = self._world
        try:
            found = read_configuration(path)
        except NoDefinitionError as error:
            raise JobFailedError(f"{world.words['no_definition']}: {text}") from error
        guid = world.guid() if fresh else found.id
        taken = world.store.machine(guid) and world.quirks.id_conflict == "import"
        # Two planned ones could not be told apart by their keys [I].
        if taken or guid in world.planned:
            raise JobFailedError(f"{world.words['id_taken']}: {guid}")
        machine = Machine(
            id=guid,
            name=found.name,
            generation=found.generation,
            version=found.version,
            created=moment(world.clock.now()),
            # Where its configuration will be: the host's own choice [I].
            root=self._files.free_folder(found.name),
            controllers=found.controllers,
            enabled=OFF,
            definition=text,
        )
        machine.disks = [
            Disk(*split_location(where), kind, [file], disk_id="", size=0)
            for where, (kind, file) in found.disks.items()
        ]
        return machine

    def _check(self, machine: Machine) -> None:
        found = problems(self._world, machine)
        if found:
            raise JobFailedError("; ".join(found), reasons=found)

    def _realize(self, machine: Machine) -> None:
        """Let it stand: off, and without checkpoints and reference points [I: the definition has none].

        Its disks go on with what the trackers beside their files know, where `tracking_travels`. A file that was copied alone has
        none, so nothing older is known of it: a restored machine begins with a full backup [V].
        """
        world = self._world
        definition = world.folders.local_path(machine.definition)
        text = machine.definition
        machine.definition = ""
        try:
            adopt(self._files, machine, travels=world.quirks.tracking_travels)
            if definition is not None:
                # Runtime and saved state are copied from the import's folder to its own [V].
                for suffix in SUFFIXES[1:]:
                    state = definition.with_suffix(suffix)
                    own = self._files.configuration(machine, None).with_suffix(suffix)
                    if state.is_file() and own.is_file():
                        shutil.copyfile(state, own)
            world.planned.pop(machine.id)
        except BaseException:
            machine.definition = text
            give_up(self._files, world.store, machine)
            raise
