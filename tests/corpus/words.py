"""What people and agents say, and the tools that agents use."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

_MODULES = (
    "auth",
    "session",
    "parser",
    "config",
    "router",
    "scheduler",
    "cache",
    "storage",
    "billing",
    "invoice",
    "report",
    "search",
    "index",
    "metrics",
    "export",
    "import_job",
    "webhook",
    "queue",
    "worker",
    "retry",
    "user",
    "account",
    "profile",
    "theme",
    "layout",
    "table",
    "chart",
    "editor",
    "plugin",
    "loader",
    "migration",
    "schema",
    "validator",
    "tokenizer",
    "lexer",
    "planner",
    "executor",
)
_FOLDERS = ("src", "src/core", "lib", "app", "app/services", "tests", "packages/api", "internal")
_ENDINGS = (".py", ".ts", ".go", ".rs", "_test.py", ".tsx", ".md", ".toml")
_SUBJECTS = (
    "The parser",
    "The cache",
    "This module",
    "The handler",
    "That function",
    "The client",
    "The scheduler",
    "Our schema",
    "The worker",
    "The first test",
    "The export",
    "The validator",
    "The login page",
    "The migration",
)
_VERBS = (
    "reads",
    "keeps",
    "drops",
    "validates",
    "rejects",
    "calls",
    "returns",
    "ignores",
    "copies",
    "renames",
    "flushes",
    "updates",
    "serialises",
    "awaits",
)
_OBJECTS = (
    "the header",
    "an empty list",
    "stale entries",
    "the request body",
    "every second row",
    "its own lock",
    "the user's settings",
    "a temporary file",
    "the last offset",
    "all pending jobs",
    "the wrong column",
    "two optional fields",
    "the error message",
    "a plain dictionary",
)
_ENDS = (
    "before the connection is closed",
    "when the limit is reached",
    "on every call",
    "as the tests expect",
    "which explains the failure",
    "so that nothing is lost",
    "although it should not",
    "in the fast path",
    "after the refactoring",
    "if the flag is set",
    "only on startup",
    "and then returns early",
)
_WISHES = (
    "Fix the failing test in {f}",
    "Add a docstring to every function in {f}",
    "Why does {f} leak memory?",
    "Rename the class in {f}",
    "Please review {f}",
    "Write a test for {f}",
    "What does {f} do?",
    "Make {f} faster",
    "Split {f} into two modules",
    "Update the README for {f}",
    "Port {f} to the new API",
    "Find where {f} is used",
    "Remove dead code from {f}",
)


class Use(msgspec.Struct, frozen=True):
    """A tool and the arguments it is called with; `kind` as in ACP."""

    name: str
    arguments: dict[str, Any]
    kind: str = "other"

    @property
    def title(self) -> str:
        """What a user interface would show."""
        what = next((v for v in self.arguments.values() if isinstance(v, str)), "")
        return what if self.kind == "execute" else f"{self.name} {what}".strip()


def a_file(rng: Random) -> str:
    """Return a path."""
    return f"{rng.choice(_FOLDERS)}/{rng.choice(_MODULES)}{rng.choice(_ENDINGS)}"


def files(rng: Random, count: int) -> list[str]:
    """Return different paths."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[a_file(rng)] = None
    return list(found)


def wish(rng: Random) -> str:
    """Return what a user asks for."""
    return rng.choice(_WISHES).format(f=a_file(rng))


def sentence(rng: Random) -> str:
    """Return a sentence of an agent."""
    parts = (_SUBJECTS, _VERBS, _OBJECTS, _ENDS)
    return " ".join(rng.choice(words) for words in parts) + "."


def text(rng: Random, sentences: int) -> str:
    """Return some sentences, none twice."""
    found: dict[str, None] = {}
    while len(found) < sentences:
        found[sentence(rng)] = None
    return " ".join(found)


def chunks(rng: Random, whole: str) -> list[str]:
    """Cut a text as models stream it: a few words at a time."""
    words = whole.split(" ")
    cut: list[str] = []
    while words:
        count = rng.randint(1, 6)
        cut.append(" ".join(words[:count]) + (" " if len(words) > count else ""))
        del words[:count]
    return cut


def hexadecimal(rng: Random, digits: int) -> str:
    """Return a random hexadecimal number."""
    return f"{rng.getrandbits(4 * digits):0{digits}x}"


def uuid(rng: Random) -> str:
    """Return a random UUID."""
    h = hexadecimal(rng, 32)
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:]}"


def read(path: str) -> Use:
    """Read a file."""
    return Use("read_file", {"path": path}, "read")


def edit(rng: Random, path: str) -> Use:
    """Change a file, somehow."""
    old, new = sentence(rng), sentence(rng)
    return Use("edit_file", {"path": path, "old_text": old, "new_text": new}, "edit")


def grep(rng: Random) -> Use:
    """Search in files."""
    pattern = f"{rng.choice(_MODULES)}_{rng.choice(_VERBS)}"
    return Use("search_files", {"pattern": pattern, "path": rng.choice(_FOLDERS)}, "search")


def run(command: str) -> Use:
    """Run a command in a shell."""
    return Use("run_command", {"command": command}, "execute")


def any_use(rng: Random) -> Use:
    """Return some ordinary use of a tool."""
    path = a_file(rng)
    return rng.choice(
        (
            read(path),
            grep(rng),
            edit(rng, path),
            run(f"git log -{rng.randint(1, 90)} --oneline -- {path}"),
            run(f"wc -l {path}"),
            Use("list_directory", {"path": path.rsplit("/", 1)[0], "depth": rng.randint(1, 9)}),
            Use("fetch_url", {"url": f"https://example.org/docs/{path}"}, "fetch"),
        )
    )


def output(rng: Random) -> str:
    """Return what a tool prints."""
    return "\n".join(f"{rng.randint(1, 900)}: {sentence(rng)}" for _ in range(rng.randint(1, 5)))


BUILDS = (
    "cargo build --release",
    "npm install",
    "pytest -q",
    "make -j4 all",
    "docker build -t app .",
    "pip install -r requirements.txt",
    "go test ./...",
    "mvn -q package",
    "npm run build",
    "cargo test --workspace",
)
"""Commands that are known to take minutes, often without a word."""

SHORT_COMMANDS = (
    "cat config/settings.toml",
    "git status --short",
    "ls -la src",
    "grep -rn TODO src",
    "python scripts/show_version.py",
    "curl -s http://localhost:8080/health",
    "sed -n 1,80p README.md",
)
"""Commands that should be done in a moment."""
