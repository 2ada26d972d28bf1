"""`python -m dashboards.source`: write the dashboards and rules into `dashboards/`."""

from __future__ import annotations

from pathlib import Path

from dashboards.source.output import files


def main() -> None:
    """Write all files that differ, and name them."""
    directory = Path(__file__).parents[1]
    for name, text in files().items():
        path = directory / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
            print(path)  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
