"""Two classics of object-oriented benchmarks: Richards, an operating system, and DeltaBlue, a constraint solver.

Martin Richards' program and John Maloney's and Mario Wolczko's, written anew and short. Each checks its result.
"""

from collections.abc import Iterable
from enum import IntEnum
from itertools import pairwise
from typing import Literal

# ---- Richards ----

_IDLE, _WORKER, _HANDLER_A, _HANDLER_B, _DEVICE_A, _DEVICE_B = range(6)
_BUFFER = 4
_RESULT = (23_246, 9_297)  # packets queued and tasks held, of the original
_TURNS = 10_000


class _Packet:
    def __init__(self, link: "_Packet | None", task: int, *, is_work: bool) -> None:
        self.link = link
        self.task = task
        self.is_work = is_work
        self.datum = 0
        self.buffer = [0] * _BUFFER

    def after(self, queue: "_Packet | None") -> "_Packet":
        """The queue with this packet at its end."""
        self.link = None
        if queue is None:
            return self
        last = queue
        while last.link is not None:
            last = last.link
        last.link = self
        return queue


class _System:
    def __init__(self) -> None:
        self.tasks: dict[int, _Task] = {}
        self.first: _Task | None = None
        self.queued = self.held = 0

    def schedule(self) -> None:
        task = self.first
        while task is not None:
            if task.is_held or (task.is_waiting and task.packets is None):
                task = task.link
            else:
                task = task.take_turn()


class _Task:
    def __init__(self, system: _System, number: int, packets: _Packet | None = None) -> None:
        self.system = system
        self.number = number
        self.packets = packets
        self.is_waiting = number != _IDLE
        self.is_held = False
        self.link = system.first
        system.first = system.tasks[number] = self

    def take_turn(self) -> "_Task | None":
        packet = self.packets if self.is_waiting else None
        if packet is not None:
            self.packets = packet.link
        self.is_waiting = False
        return self.run(packet)

    def run(self, packet: _Packet | None) -> "_Task | None":
        raise NotImplementedError

    def wait(self) -> "_Task":
        self.is_waiting = True
        return self

    def hold(self) -> "_Task | None":
        self.system.held += 1
        self.is_held = True
        return self.link

    def release(self, number: int) -> "_Task":
        task = self.system.tasks[number]
        task.is_held = False
        return max(self, task, key=_number)

    def send(self, packet: _Packet) -> "_Task":
        task = self.system.tasks[packet.task]
        self.system.queued += 1
        packet.task = self.number
        is_first = task.packets is None
        task.packets = packet.after(task.packets)
        return max(self, task, key=_number) if is_first else self


def _number(task: _Task) -> int:
    return task.number


class _Idle(_Task):
    control, count = 1, _TURNS

    def run(self, packet: _Packet | None) -> _Task | None:
        del packet
        self.count -= 1
        if self.count == 0:
            return self.hold()
        is_odd = self.control & 1
        self.control = self.control >> 1 ^ (0xD008 if is_odd else 0)
        return self.release(_DEVICE_B if is_odd else _DEVICE_A)


class _Worker(_Task):
    handler, letter = _HANDLER_A, 0

    def run(self, packet: _Packet | None) -> _Task | None:
        if packet is None:
            return self.wait()
        self.handler = _HANDLER_B if self.handler == _HANDLER_A else _HANDLER_A
        packet.task, packet.datum = self.handler, 0
        for place in range(_BUFFER):
            self.letter = self.letter % 26 + 1
            packet.buffer[place] = ord("A") + self.letter - 1
        return self.send(packet)


class _Handler(_Task):
    work: _Packet | None = None
    devices: _Packet | None = None

    def run(self, packet: _Packet | None) -> _Task | None:
        if packet is not None and packet.is_work:
            self.work = packet.after(self.work)
        elif packet is not None:
            self.devices = packet.after(self.devices)
        work, device = self.work, self.devices
        if work is None:
            return self.wait()
        if work.datum >= _BUFFER:
            self.work = work.link
            return self.send(work)
        if device is None:
            return self.wait()
        self.devices = device.link
        device.datum = work.buffer[work.datum]
        work.datum += 1
        return self.send(device)


class _Device(_Task):
    pending: _Packet | None = None

    def run(self, packet: _Packet | None) -> _Task | None:
        if packet is not None:
            self.pending = packet
            return self.hold()
        packet, self.pending = self.pending, None
        return self.wait() if packet is None else self.send(packet)


def richards() -> None:
    """Run the operating system until it is idle."""
    system = _System()
    _Idle(system, _IDLE)
    _Worker(system, _WORKER, _packets(_WORKER, 2, is_work=True))
    _Handler(system, _HANDLER_A, _packets(_DEVICE_A, 3, is_work=False))
    _Handler(system, _HANDLER_B, _packets(_DEVICE_B, 3, is_work=False))
    _Device(system, _DEVICE_A)
    _Device(system, _DEVICE_B)
    system.schedule()
    if (system.queued, system.held) != _RESULT:
        raise RuntimeError(f"richards: {system.queued} and {system.held}, not {_RESULT}")


def _packets(task: int, count: int, *, is_work: bool) -> _Packet | None:
    queue: _Packet | None = None
    for _ in range(count):
        queue = _Packet(queue, task, is_work=is_work)
    return queue


# ---- DeltaBlue ----


class _Strength(IntEnum):
    """The smaller the stronger."""

    REQUIRED = 0
    PREFERRED = 2
    STRONG_DEFAULT = 3
    NORMAL = 4
    WEAKEST = 6


class _Variable:
    def __init__(self, value: int = 0) -> None:
        self.value = value
        self.constraints: list[_Constraint] = []
        self.determined_by: _Constraint | None = None
        self.mark = 0
        self.strength = _Strength.WEAKEST
        self.stays = True


class _Constraint:
    """Between `inputs` and `output`; what is which is chosen when it is satisfied. Alone, its variable stays."""

    is_input = False

    def __init__(self, planner: "_Planner", strength: _Strength, *variables: _Variable) -> None:
        self.planner = planner
        self.strength = strength
        self.variables = variables
        self.output: _Variable | None = None
        for variable in variables:
            variable.constraints.append(self)
        planner.add(self)

    def inputs(self) -> Iterable[_Variable]:
        return [variable for variable in self.variables if variable is not self.output]

    def choose(self, mark: int) -> None:
        """Let it determine the weaker of its two ends, if it is stronger than that."""
        ends = [end for end in (self.variables[0], self.variables[-1]) if end.mark != mark]
        weakest = max(ends, key=_strength, default=None)
        is_stronger = weakest is not None and self.strength < weakest.strength
        self.output = weakest if is_stronger else None

    def satisfy(self, mark: int) -> "_Constraint | None":
        self.choose(mark)
        if self.output is None:
            if self.strength is _Strength.REQUIRED:
                raise RuntimeError("deltablue: a required constraint cannot be satisfied")
            return None
        for variable in self.inputs():
            variable.mark = mark
        overridden = self.output.determined_by
        if overridden is not None:
            overridden.output = None
        self.output.determined_by = self
        self.planner.propagate(self, mark)
        self.output.mark = mark
        return overridden

    def recalculate(self) -> None:
        output, inputs = _known(self.output), self.inputs()
        output.strength = max([self.strength, *(variable.strength for variable in inputs)])
        output.stays = not self.is_input and all(variable.stays for variable in inputs)
        if output.stays:
            self.execute()

    def execute(self) -> None:
        """Compute the output; one that stays is what it is."""


class _Edit(_Constraint):
    is_input = True


class _Equal(_Constraint):
    def execute(self) -> None:
        first, second = self.variables
        if self.output is second:
            second.value = first.value
        else:
            first.value = second.value


class _Scale(_Constraint):
    """The last variable is the first times the second and the third."""

    def execute(self) -> None:
        source, scale, offset, result = self.variables
        if self.output is result:
            result.value = source.value * scale.value + offset.value
        else:
            source.value = (result.value - offset.value) // scale.value


class _Planner:
    def __init__(self) -> None:
        self._mark = 0

    def add(self, constraint: _Constraint) -> None:
        self._mark += 1
        overridden = constraint.satisfy(self._mark)
        while overridden is not None:
            overridden = overridden.satisfy(self._mark)

    def remove(self, constraint: _Constraint) -> None:
        output = _known(constraint.output)
        constraint.output = None
        for variable in constraint.variables:
            variable.constraints.remove(constraint)
        for unsatisfied in self._without(output):
            self.add(unsatisfied)

    def _without(self, output: _Variable) -> list[_Constraint]:
        """Let `output` be determined by nothing; what may be satisfied instead, strongest first."""
        output.determined_by, output.strength, output.stays = None, _Strength.WEAKEST, True
        unsatisfied: list[_Constraint] = []
        todo = [output]
        while todo:
            variable = todo.pop()
            unsatisfied += [c for c in variable.constraints if c.output is None]
            for constraint in _consuming(variable):
                constraint.recalculate()
                todo.append(_known(constraint.output))
        return sorted(unsatisfied, key=_strength)

    def propagate(self, constraint: _Constraint, mark: int) -> None:
        todo = [constraint]
        while todo:
            downstream = todo.pop()
            output = _known(downstream.output)
            if output.mark == mark:
                raise RuntimeError("deltablue: there is a cycle")
            downstream.recalculate()
            todo += _consuming(output)

    def plan(self, edit: _Constraint) -> list[_Constraint]:
        """What is to be executed, in order, when the variable of `edit` changes."""
        self._mark += 1
        mark = self._mark
        plan: list[_Constraint] = []
        todo = [edit]
        while todo:
            constraint = todo.pop()
            output = _known(constraint.output)
            is_known = all(v.mark == mark or v.stays for v in constraint.inputs())
            if output.mark != mark and is_known:
                plan.append(constraint)
                output.mark = mark
                todo += _consuming(output)
        return plan

    def change(self, variable: _Variable, values: Iterable[int]) -> None:
        edit = _Edit(self, _Strength.PREFERRED, variable)
        plan = self.plan(edit)
        for value in values:
            variable.value = value
            for constraint in plan:
                constraint.execute()
        self.remove(edit)


def _strength(of: _Variable | _Constraint) -> _Strength:
    return of.strength


def _known(output: _Variable | None) -> _Variable:
    if output is None:
        raise RuntimeError("deltablue: the constraint is not satisfied")
    return output


def _consuming(variable: _Variable) -> list[_Constraint]:
    return [
        constraint
        for constraint in variable.constraints
        if constraint is not variable.determined_by and constraint.output is not None
    ]


def deltablue(size: int = 100) -> None:
    """Solve a chain of equalities, and a set of scaled points."""
    planner = _Planner()
    chain = [_Variable() for _ in range(size + 1)]
    for one, other in pairwise(chain):
        _Equal(planner, _Strength.REQUIRED, one, other)
    _Constraint(planner, _Strength.STRONG_DEFAULT, chain[-1])
    planner.change(chain[0], range(size))
    _check("chain", [chain[-1].value], [size - 1])

    planner = _Planner()
    scale, offset = _Variable(10), _Variable(1000)
    sources, results = ([_Variable(i) for i in range(size)] for _ in range(2))
    for source, result in zip(sources, results, strict=True):
        _Constraint(planner, _Strength.NORMAL, source)
        _Scale(planner, _Strength.REQUIRED, source, scale, offset, result)
    planner.change(sources[0], [17] * 10)
    planner.change(results[1], [1050] * 10)
    _check("points", [results[0].value, sources[1].value], [1170, 5])
    planner.change(scale, [5] * 10)
    planner.change(offset, [2000] * 10)
    _check("scaled", [v.value for v in results], [v.value * 5 + 2000 for v in sources])


def _check(what: Literal["chain", "points", "scaled"], found: list[int], right: list[int]) -> None:
    if found != right:
        raise RuntimeError(f"deltablue: {what} is {found}, not {right}")
