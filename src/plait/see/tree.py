"""The dump as text: the tasks as a tree of who waits for whom, equal ones together, circles named as what they are."""

import linecache
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from plait.see.model import WaitKind

__all__ = ["circles", "render", "text_of"]

Task = dict[str, Any]
FRAMES_MAX = 12
DEPTH_MAX = 60  # further down a new tree begins
LATE_TOLD_SECONDS = 0.1  # timers that are overdue by so much say how long the loop has not come round
# Styles are names of rich's; text_of() leaves them out.
Piece = tuple[str, str]
Line = list[Piece]

KIND_WORDS = {
    WaitKind.NONE: "",
    WaitKind.DATABASE: "database",
    WaitKind.WEB: "web",
    WaitKind.NETWORK: "network",
    WaitKind.FILE: "file",
    WaitKind.DNS: "DNS",
    WaitKind.PROCESS: "process",
    WaitKind.TIMER: "timer",
    WaitKind.LOCK: "lock",
    WaitKind.TASK: "task",
    WaitKind.THREAD: "thread",
    WaitKind.SIGNAL: "signal",
    WaitKind.DEVICE: "device",
    WaitKind.FUTURE: "future",
}


@dataclass
class Node:
    """Tasks that look the same: one, or many."""

    tasks: list[Task]
    children: "list[Node]" = field(default_factory=list)
    again: bool = False  # told of already, elsewhere in the tree


def text_of(snapshot: dict[str, Any], every: bool = False) -> str:
    """The whole dump without colours."""
    return "\n".join("".join(text for text, _ in line) for line in render(snapshot, every)) + "\n"


def render(snapshot: dict[str, Any], every: bool = False) -> list[Line]:
    """Lines of (text, style). `every`: each task by itself, with all its frames."""
    program = " ".join(snapshot["program"]) or "python"
    lines: list[Line] = [
        [
            (f"process {snapshot['pid']}", "bold"),
            (f"  {program}", ""),
            (f"  Python {snapshot['python']}, plait {snapshot['plait']}", "dim"),
        ]
    ]
    if not snapshot["loops"]:
        lines.append([("no loop of plait is open in it", "dim")])
    for loop in snapshot["loops"]:
        lines += loop_lines(loop, every)
    return lines


def loop_lines(loop: dict[str, Any], every: bool) -> list[Line]:
    tasks = loop["tasks"]
    where = f" in {loop['thread']}" if loop["thread"] else ""
    head: Line = [(f"loop {loop['id'] + 1}{where}", "bold"), (f" on {loop['engine']}: ", "")]
    state = loop["state"]
    current = next((task for task in tasks if task["id"] == loop["current"]), None)
    by = f" by {current['name']} ({current['coroutine']})" if current else ""
    if state == "blocked":
        late = -min((task["due_s"] for task in tasks if "due_s" in task), default=0.0)
        overdue = f"; timers are late by {late:.1f} s" if late >= LATE_TOLD_SECONDS else ""
        head.append((f"BLOCKED{by} for {loop['blocked_s'] * 1000:.0f} ms at least{overdue}", "bold red"))
    elif state == "runs":
        head.append((f"runs{' ' + current['name'] if current else ''}", "green"))
    else:
        head.append(({"waits": "waits, nothing is ready", "stopped": "does not run"}[state], "green"))
    lines = [[("", "")], head, [(f"  {counts(loop)}", "dim")]]
    if loop["stack"] and state in ("blocked", "runs"):
        style = "red" if state == "blocked" else ""
        lines += [[(f"    {show(frame)}", style)] for frame in loop["stack"][-FRAMES_MAX:]]
        source = linecache.getline(*loop["stack"][-1][:2]).strip() if state == "blocked" else ""
        if source:
            lines.append([(f"        {source}", "red")])
    for each in loop["suspicions"]:
        lines += suspicion_lines(each)
    by_id = {task["id"]: task for task in tasks}
    found = circles(tasks)
    for circle in found:
        lines += circle_lines([by_id[each] for each in circle])
    for node in forest(tasks, every, [circle[0] for circle in found]):
        lines += [[("", "")], *node_lines(node, "", "", every)]
    return lines


def suspicion_lines(suspicion: dict[str, Any]) -> list[Line]:
    subject = f"{suspicion['task']} " if suspicion["task"] else ""
    lines: list[Line] = [
        [("", "")],
        [(f"{suspicion['kind'].upper()}: ", "bold yellow"), (f"{subject}{suspicion['text']}", "yellow")],
    ]
    if suspicion["place"]:
        lines.append([(f"      {show(suspicion['place'])}", "dim")])
    return lines


def counts(loop: dict[str, Any]) -> str:
    tasks = loop["tasks"]
    kinds: dict[str, int] = {}
    for task in tasks:
        if task["state"] == "waits":
            word = KIND_WORDS[WaitKind[task["kind"]]]
            kinds[word] = kinds.get(word, 0) + 1
    waiting = sum(kinds.values())
    parts = [f"{len(tasks)} {'task' if len(tasks) == 1 else 'tasks'}"]
    for state in ("runs", "ready"):
        number = sum(task["state"] == state for task in tasks)
        if number:
            parts.append(f"{number} {state}" if state == "ready" or number > 1 else "1 runs")
    if waiting:
        told = ", ".join(f"{number} {word}" for word, number in sorted(kinds.items(), key=lambda each: -each[1]))
        parts.append(f"{waiting} {'waits' if waiting == 1 else 'wait'} ({told})")
    parts.append(f"{loop['timers']} {'timer' if loop['timers'] == 1 else 'timers'}")
    executor = loop["executor"]
    if executor:
        parts.append(f"executor {executor['threads']}/{executor['threads_max']} threads, {executor['queued']} queued")
    return "; ".join(parts)


def show(frame: Sequence[Any]) -> str:
    file, line, function = frame
    return f"{short(file)}:{line} in {function}"


def short(file: str) -> str:
    """From the folder of installed packages, or of the standard library, on; else the last three parts."""
    for mark in ("/site-packages/", "/dist-packages/"):
        if mark in file:
            return file.split(mark)[-1]
    parts = file.split("/")
    for index, part in enumerate(parts):
        if part.startswith("python3."):
            return "/".join(parts[index + 1 :]) or file
    return file if len(parts) <= 4 else "/".join(["…", *parts[-3:]])


def circles(tasks: Iterable[Task]) -> list[list[int]]:
    """Tasks that wait for each other in a circle: every one for the next. Each is told of in one circle only.

    Those that any of several could wake are left out.
    """
    edges = {task["id"]: task["on"] for task in tasks if not task.get("any_of") and task["state"] == "waits"}
    found: list[list[int]] = []
    told: set[int] = set()
    seen: set[int] = set()
    for start in edges:
        path: dict[int, int] = {}
        stack = [(start, iter(edges[start]))]
        if start in seen:
            continue
        path[start] = 0
        seen.add(start)
        while stack:
            node, following = stack[-1]
            after = next(following, None)
            if after is None:
                stack.pop()
                del path[node]
            elif after in path:
                circle = list(path)[path[after] :]
                if not told.intersection(circle):
                    found.append(circle)
                    told.update(circle)
            elif after in edges and after not in seen:
                seen.add(after)
                path[after] = len(path)
                stack.append((after, iter(edges[after])))
    return found


def circle_lines(circle: list[Task]) -> list[Line]:
    ends = min((task["timeout_s"] for task in circle if "timeout_s" in task), default=None)
    if ends is not None:
        head = f"circle of {len(circle)} tasks, which a timeout ends in {ends:.1f} s"
    elif len(circle) == 1:
        head = "DEADLOCK: a task waits for itself"
    else:
        head = f"DEADLOCK: {len(circle)} tasks wait for each other"
    lines: list[Line] = [[("", "")], [(head, "bold red")]]
    for task in circle:
        lines.append([(f"  {task['name']} ({task['coroutine']}) waits for {what(task)}", "red")])
        if task["place"]:
            lines.append([(f"      {show(task['place'])}", "dim")])
    return lines


def what(task: Task) -> str:
    return task["text"] or "the next one"


def forest(tasks: list[Task], every: bool, also: Iterable[int] = ()) -> list[Node]:
    """The trees: at the roots those that nobody waits for, and one of each circle."""
    by_id = {task["id"]: task for task in tasks}
    order = {task["id"]: index for index, task in enumerate(tasks)}
    awaited = {each for task in tasks for each in task["on"]}
    roots = [task for task in tasks if task["id"] not in awaited]
    told: set[int] = set()

    def build(members: list[Task], depth: int = 0) -> list[Node]:
        fresh = [task for task in members if task["id"] not in told]
        nodes = [Node([task], again=True) for task in members if task["id"] in told]
        told.update(task["id"] for task in fresh)
        for group in together(fresh, every):
            node = Node(group)
            on = sorted({each for task in group for each in task["on"] if each in by_id}, key=lambda each: order[each])
            if depth < DEPTH_MAX:
                node.children = build([by_id[each] for each in on], depth + 1)
            nodes.append(node)
        return nodes

    trees = build(roots)
    for each in also:
        trees += build([by_id[each]] if each not in told else [])
    while left := [task for task in tasks if task["id"] not in told]:
        trees += build(left[:1])  # in a circle with those above, or deeper than a tree goes
    return trees


def together(tasks: list[Task], every: bool) -> list[list[Task]]:
    """Those that stand at the same place and wait for the same kind of thing."""
    groups: dict[Any, list[Task]] = {}
    for task in tasks:
        stack = tuple(map(tuple, task["stack"]))
        key = task["id"] if every else (task["coroutine"], task["state"], task["kind"], stack, bool(task["on"]))
        groups.setdefault(key, []).append(task)
    return list(groups.values())


def node_lines(node: Node, first: str, rest: str, every: bool) -> list[Line]:
    task = node.tasks[0]
    line: Line = [(first, "dim"), (title(node.tasks), "bold")]
    if node.again:
        return [[*line, ("  (see above)", "dim")]]
    line += [(f"  {task['coroutine']}", "cyan"), *state_of(node.tasks)]
    lines = [line]
    bar = "│ " if node.children else "  "
    shown = task["stack"] if every else task["stack"][-FRAMES_MAX:]
    lines += [[(f"{rest}{bar}  ", "dim"), (show(frame), "dim")] for frame in shown]
    for index, child in enumerate(node.children):
        last = index == len(node.children) - 1
        lines += node_lines(child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "), every)
    return lines


def title(tasks: list[Task]) -> str:
    if len(tasks) == 1:
        return str(tasks[0]["name"])
    names = ", ".join(task["name"] for task in tasks[:3])
    return f"{len(tasks)} x {names}{', …' if len(tasks) > 3 else ''}"


def state_of(tasks: list[Task]) -> Line:
    task = tasks[0]
    if task["state"] == "runs":
        return [("  runs", "green")]
    if task["state"] == "ready":
        return [("  ready to run", "yellow")]
    texts = list(dict.fromkeys(each["text"] for each in tasks if each["text"]))
    text = texts[0] if len(texts) == 1 else f"{texts[0]}, …" if texts else ""
    due = [each["due_s"] for each in tasks if "due_s" in each]
    if due and min(due) <= -LATE_TOLD_SECONDS:
        text += f", late by {-min(due):.1f} s"
    elif due:
        first, last = f"{max(min(due), 0.0):.1f}", f"{max(max(due), 0.0):.1f}"
        text += f", {first if first == last else f'{first} to {last}'} s to go"
    word = KIND_WORDS[WaitKind[task["kind"]]]
    line: Line = [(f"  waits: {word}", "magenta")]
    if text and text != word:
        line.append((f" {text}", ""))
    if task.get("since_s") is not None:
        line.append((f", {task['since_s']:.1f} s so far", "dim"))
    if any(each["cancelling"] for each in tasks):
        line.append(("  was asked to cancel", "yellow"))
    return line
