"""Agents that use tools in ways that look like a loop or like trouble, and are fine."""

from __future__ import annotations

from tests.corpus import words
from tests.corpus.case import Expected
from tests.corpus.scene import TURNS, VISIBLE, Recipe, Scene
from tests.corpus.words import Use

ALL = ("aiwhisperer", *VISIBLE)
FINE: tuple[Expected, ...] = ()


def polling(scene: Scene) -> tuple[Expected, ...]:
    """The same call again and again; what it says changes, and in the end it is done."""
    speaker, rng = scene.task("Deploy it and tell me when it is up."), scene.rng
    command = rng.choice(
        ("kubectl get pods", "gh run view 8123", "docker ps", "tail -1 deploy.log")
    )
    use = rng.choice((words.run(command), Use("list_jobs", {"queue": "deploy"})))
    gap, count = rng.uniform(1.0, 12.0), rng.randint(6, 16)
    for number in range(count):
        done = number * 100 // (count - 1)
        speaker.tool(use, 0.3, f"deploy: {done}% done, {rng.randint(1, 9)} of 9 pods are ready")
        scene.wire.about(gap)
    speaker.answer()
    return FINE


def polling_tool(scene: Scene) -> tuple[Expected, ...]:
    """A tool that is there to be polled, and says the same until something happens."""
    speaker, rng = scene.task("Start the job and wait for it."), scene.rng
    name = rng.choice(("get_status", "wait", "check_job_status", "poll_task", "wait_for_build"))
    use = Use(name, {"job_id": f"job-{rng.randint(100, 999)}"})
    gap, count = rng.uniform(1.0, 10.0), rng.randint(6, 20)
    for number in range(count):
        speaker.tool(use, 0.3, '{"state": "%s"}' % ("running" if number < count - 1 else "done"))
        scene.wire.about(gap)
    speaker.answer()
    return FINE


def pagination(scene: Scene) -> tuple[Expected, ...]:
    """One tool, page after page."""
    speaker, rng = scene.task("Read all of it."), scene.rng
    path, step = words.a_file(rng), rng.choice((50, 100, 500))
    way = rng.choice(("offset", "page", "cursor"))
    for number in range(rng.randint(6, 25)):
        if way == "offset":
            use = Use("read_file", {"path": path, "offset": number * step, "limit": step}, "read")
        elif way == "page":
            use = Use("list_issues", {"repo": "team/app", "state": "open", "page": number + 1})
        else:
            use = Use("list_rows", {"table": "orders", "cursor": words.hexadecimal(rng, 12)})
        speaker.tool(use, 0.2)
    speaker.answer()
    return FINE


def batch(scene: Scene) -> tuple[Expected, ...]:
    """The same small change, or the same look, in many files; often the same result."""
    speaker, rng = scene.task("Do this in every module."), scene.rng
    kind = rng.choice(("edit", "read", "write"))
    for path in words.files(rng, rng.randint(6, 30)):
        if kind == "edit":
            arguments = {"path": path, "old_text": "import os", "new_text": "import pathlib"}
            speaker.tool(Use("edit_file", arguments, "edit"), 0.15, "1 replacement made")
        elif kind == "write":
            arguments = {"path": path, "content": words.text(rng, 3)}
            speaker.tool(Use("write_file", arguments, "edit"), 0.15, "ok")
        else:
            speaker.tool(words.read(path), 0.1)
    speaker.answer()
    return FINE


def rounds_of_tests(scene: Scene) -> tuple[Expected, ...]:
    """Edit, run the tests, edit, run the tests; fewer fail each time."""
    speaker, rng = scene.task("Make the tests pass."), scene.rng
    path, command = words.a_file(rng), rng.choice(("pytest -q", "npm test", "go test ./..."))
    rounds = rng.randint(5, 9)
    for left in reversed(range(rounds)):
        for _ in range(rng.randint(0, 2)):
            speaker.tool(words.read(words.a_file(rng)), 0.1)
        speaker.tool(words.edit(rng, path), 0.2, f"applied to {path}")
        result = f"{left} failed, {90 - left} passed in {rng.uniform(2, 9):.2f}s\n"
        result += words.output(rng) if left else ""
        speaker.tool(words.run(command), rng.uniform(2.0, 9.0), result)
    speaker.answer()
    return FINE


def retries_that_help(scene: Scene) -> tuple[Expected, ...]:
    """Now and then something fails; the same call, made again, succeeds."""
    speaker, rng = scene.task(), scene.rng
    for _ in range(rng.randint(2, 3)):
        for _ in range(rng.randint(4, 8)):
            speaker.tool(words.any_use(rng), 0.3)
        use = words.any_use(rng)
        speaker.tool(use, 0.3, "connection reset by peer", failed=True)
        speaker.tool(use, 0.3)
    speaker.answer()
    return FINE


def few_errors(scene: Scene) -> tuple[Expected, ...]:
    """Some things fail for good, as they do: one in a dozen."""
    speaker, rng = scene.task(), scene.rng
    for _ in range(rng.randint(3, 6)):
        for _ in range(rng.randint(9, 14)):
            speaker.tool(words.any_use(rng), 0.2)
        path = words.a_file(rng)
        speaker.tool(words.read(path), 0.1, f"{path}: no such file", failed=True)
    speaker.answer()
    return FINE


def probing(scene: Scene) -> tuple[Expected, ...]:
    """A client tries what the server may have; two methods it has not."""
    speaker, rng = scene.open(turns=0), scene.rng
    for method in rng.sample(("resources/templates", "models/list", "ui/theme", "hooks/list"), 2):
        number = speaker.request(method)
        scene.wire.about(0.02)
        speaker.error(number, -32601, "Method not found")
    for _ in range(rng.randint(1, 3)):
        speaker.turn()
        scene.wire.pause(3.0, 30.0)
    return FINE


def burst(scene: Scene) -> tuple[Expected, ...]:
    """Fifty quick calls at once."""
    speaker, rng = scene.task(), scene.rng
    keys = []
    for path in words.files(rng, 50):
        keys.append(speaker.start(words.read(path)))
        scene.wire.pause(0.0, 0.01)
    rng.shuffle(keys)
    for key in keys:
        scene.wire.pause(0.001, 0.03)
        speaker.end(key, words.output(rng))
    speaker.answer()
    return FINE


def four_times(scene: Scene) -> tuple[Expected, ...]:
    """The same call, but not often enough to be a loop; then something else."""
    speaker, rng = scene.open(), scene.rng
    for _ in range(rng.randint(1, 3)):
        speaker.begin(words.wish(rng))
        scene.wire.about(1.5)
        use, result = words.any_use(rng), words.output(rng)
        for _ in range(rng.randint(2, scene.defaults.loop - 2)):
            speaker.tool(use, 0.2, result)
        for _ in range(rng.randint(1, 4)):
            speaker.tool(words.any_use(rng), 0.2)
        speaker.answer()
        scene.wire.pause(5.0, 60.0)
    return FINE


def same_question(scene: Scene) -> tuple[Expected, ...]:
    """It is the user who repeats himself."""
    speaker, rng = scene.open(), scene.rng
    question, use = words.wish(rng), words.any_use(rng)
    result, answer = words.output(rng), words.text(rng, 3)
    for _ in range(6):
        speaker.begin(question)
        scene.wire.about(1.5)
        speaker.tool(use, 0.3, result)
        speaker.say(words.chunks(rng, answer))
        speaker.finish()
        scene.wire.pause(3.0, 40.0)
    return FINE


def structured_answer(scene: Scene) -> tuple[Expected, ...]:
    """Tables, lists and code repeat themselves by nature."""
    speaker, rng = scene.task("Show me all of them in a table."), scene.rng
    kind, count = rng.choice(("table", "list", "code")), rng.randint(15, 40)
    if kind == "table":
        rows = [
            f"| {name} | passed | 0 failures | no warnings |" for name in words.files(rng, count)
        ]
        lines = ["| file | state | failures | warnings |", "| --- | --- | --- | --- |", *rows]
    elif kind == "list":
        lines = [f"- [x] `{name}`: reviewed, no changes needed" for name in words.files(rng, count)]
    else:
        lines = ["```python", *(['    assert response.status_code == 200, "unexpected"'] * count)]
        lines.append("```")
    speaker.say([piece for line in lines for piece in words.chunks(rng, line + "\n")], 0.05)
    speaker.finish()
    return FINE


RECIPES = (
    Recipe(polling, VISIBLE, 24),
    Recipe(polling_tool, ("aiwhisperer", "codex", "mcp"), 18),
    Recipe(pagination, ALL, 24),
    Recipe(batch, ALL, 24),
    Recipe(rounds_of_tests, VISIBLE, 18),
    Recipe(retries_that_help, VISIBLE, 18),
    Recipe(few_errors, VISIBLE, 12),
    Recipe(probing, ("aiwhisperer", "acp", "codex", "mcp", "generic"), 15),
    Recipe(burst, ("acp", "codex", "mcp", "generic"), 16),
    Recipe(four_times, ALL, 16),
    Recipe(same_question, TURNS, 18),
    Recipe(structured_answer, TURNS, 15),
)
