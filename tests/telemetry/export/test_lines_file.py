from __future__ import annotations

from pathlib import Path

from debbie_otel.telemetry.export.lines_file import LinesFile


def test_rotation_bounds_the_files(tmp_path: Path) -> None:
    file = LinesFile(tmp_path, "traces", max_bytes=100, files=3)
    for number in range(50):
        assert file.append(b'{"line": %06d}\n' % number)  # 17 bytes
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["traces.1.jsonl", "traces.2.jsonl", "traces.jsonl"]
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    newest_last = [tmp_path / name for name in (found[1], found[0], found[2])]
    kept = [int(line[9:15]) for path in newest_last for line in path.read_text().splitlines()]
    assert kept == list(range(kept[0], 50))


def test_rotation_with_one_file(tmp_path: Path) -> None:
    file = LinesFile(tmp_path, "x", max_bytes=10, files=1)
    assert file.append(b"12345678\n")
    assert file.append(b"abcdefgh\n")
    assert file.path.read_bytes() == b"abcdefgh\n"


def test_a_line_larger_than_a_file_is_written(tmp_path: Path) -> None:
    file = LinesFile(tmp_path, "x", max_bytes=10, files=2)
    assert file.append(b"x" * 50 + b"\n")
    assert file.path.stat().st_size == 51
