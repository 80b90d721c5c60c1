"""Files that configuration changes name: valid ones, broken ones, and endless ones."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from fastmock.config.control import Admin

MANAGERS = {
    "raises_exit": "raise SystemExit(7)",
    "raises_interrupt": "raise KeyboardInterrupt",
    "raises_base": "class E(BaseException): ...\nraise E",
    "exits": "import os\nos._exit(3)",
    "is_no_python": "def (:",
    "has_no_class": "Other = 1",
    "is_no_manager": "class Manager: ...",
    "recurses": "def f(): return f()\nf()",
    "fails_to_construct": (
        "from fastmock.responses import ResponseManager\n"
        "class Manager(ResponseManager):\n    def __init__(self): raise SystemExit"
    ),
    "kills_itself": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "crashes": "import ctypes\nctypes.string_at(0)",
}
COSTLY_MANAGERS = {
    "loops": "while True: pass",
    "sleeps": "import time\ntime.sleep(3600)",
    "ignores_signals": "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)",
    "allocates": "a = []\nfor _ in range(24): a.append(b'x' * (64 << 20))\nraise MemoryError",
}


def base_config(reload: str) -> dict[str, Any]:
    """Return a configuration whose reply to ``reload probe`` identifies it."""
    patterns = [
        {"match": {"content": "reload probe"}, "content": reload, "priority": 1000},
        {"match": {"content": "ping"}, "content": "pong", "priority": 1000},
    ]
    may_name_files = {"admin": {"files": True}} if "files" in Admin.model_fields else {}
    return may_name_files | {
        "server": {"shutdown_timeout": 2},
        "journal": {"enabled": True, "size": 50},
        "responses": {"chat_completions": {"patterns": patterns}},
    }


def prepare_directory(directory: Path) -> None:
    """Write the files that changes name: valid ones, broken ones, and endless ones."""
    answer = {"choices": [{"message": {"role": "assistant", "content": "from a file"}}]}
    (directory / "good.json").write_bytes(orjson.dumps(answer))
    (directory / "truncated.json").write_bytes(orjson.dumps(answer)[:-9])
    (directory / "broken.yaml").write_text("a: [1\n b: }")
    (directory / "list.json").write_text("[1, 2]")
    (directory / "empty.json").write_text("")
    (directory / "latin.json").write_bytes(b'{"a": "\xff\xfe"}')
    (directory / "deep.json").write_text("[" * 5000 + "]" * 5000)
    (directory / "deep.yaml").write_text("[" * 2000 + "]" * 2000)
    (directory / "bomb.yaml").write_text(alias_bomb())
    (directory / "unreadable.json").write_text("{}")
    (directory / "unreadable.json").chmod(0)
    (directory / "a_directory.json").mkdir()
    (directory / "loop.json").symlink_to("loop.json")
    (directory / "locked").mkdir(mode=0)
    os.mkfifo(directory / "fifo.json")
    (directory / "zero.json").symlink_to("/dev/zero")
    for name, code in (MANAGERS | COSTLY_MANAGERS).items():
        (directory / f"{name}.py").write_text(code)


REFUSED_FILES: tuple[str, ...] = (
    "truncated.json",
    "broken.yaml",
    "empty.json",
    "latin.json",
    "deep.json",
    "missing.json",
    "loop.json",
)
REFUSED_FILES += (
    "a_directory.json",
    "good.json/x",
    "x" * 300 + ".json",
    "a\0b.json",
    "",
    "\ud7ff",
    "../" * 2000,
    "good.py",
)
EITHER_FILES = ("list.json", "deep.yaml", "bomb.yaml", "unreadable.json", "locked/x.json")
COSTLY_FILES = ("fifo.json", "zero.json", "/dev/zero")


def alias_bomb() -> str:
    """Return YAML of 400 bytes whose aliases expand to a billion values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 9)]
    return "\n".join([*lines, "faults: *a8"])


def dumped(value: Any) -> bytes:
    """Serialize a value, even if it is nested too deeply for orjson."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value).encode()


def writes(text: bytes) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        remove(file)
        file.write_bytes(text)

    return write


def replaces(name: str) -> Callable[[Path], None]:
    """Return a function that replaces the configuration by something other than a regular file."""

    def write(file: Path) -> None:
        remove(file)
        if name == "directory":
            file.mkdir()
        elif name == "loop of links":
            file.symlink_to(file.name)
        elif name == "fifo":
            os.mkfifo(file)
        elif name == "device":
            file.symlink_to("/dev/zero")

    return write


def remove(file: Path) -> None:
    """Remove the configuration file, whatever its type."""
    if file.is_dir() and not file.is_symlink():
        file.rmdir()
    else:
        file.unlink(missing_ok=True)
