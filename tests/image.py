"""Builds the container's image and runs it, with neither a Docker engine nor a registry of images.

Debian's buildah builds the Dockerfile on a base of the same name that debootstrap makes. What is built is started as an
engine would: in its own root and process namespace, with the user, environment and entry point that the image names.

It is a script and not a test of ``make test`` because it needs root and minutes: ``make image-test``.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
UNSHARE = ["unshare", "--pid", "--fork", "--kill-child"]
_MOST_ADDED = 50  # megabytes of the compressed image besides its base
LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the environment's proxy does not lead here


def run(*command: str | Path, **options: Any) -> str:
    """Run a command and return its output, which is shown when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        said = f"{done.stdout}\n{done.stderr}"
        raise SystemExit(f"{' '.join(map(str, command))}\n{said}\nended with exit code {done.returncode}")
    return done.stdout.strip()


class Buildah:
    """Buildah with its storage in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self._storage = ("--root", directory / "storage", "--runroot", directory / "run", "--storage-driver", "vfs")
        (directory / "tmp").mkdir()
        self._environ = os.environ | {"TMPDIR": str(directory / "tmp")}

    def __call__(self, *arguments: str | Path) -> str:
        return run("buildah", *self._storage, *arguments, env=self._environ)


def mirror() -> list[str]:
    """Return the mirror of Debian that this machine uses; without one debootstrap takes its own."""
    apt = Path("/etc/apt")
    files = [*apt.glob("sources.list"), *apt.glob("sources.list.d/*.list"), *apt.glob("sources.list.d/*.sources")]
    found = re.search(r"^(?:deb|URIs:)\s.*?(https?://\S+/debian)/?\s", "\n".join(f.read_text() for f in files), re.M)
    return [found[1]] if found else []


def base_image() -> str:
    """Return the name of the image that the Dockerfile builds on."""
    found = re.search(r"^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.M)
    assert found
    return found[1]


def make_base(buildah: Buildah) -> None:
    """Make an image of the name that the Dockerfile builds on, with Debian's own Python."""
    name = base_image()
    say(f"making {name} of Debian's packages")
    container = buildah("from", "scratch")
    root = Path(buildah("mount", container))
    suite = name.rpartition("-")[2]
    run("debootstrap", "--variant=minbase", "--include=python3,python3-venv", suite, root, *mirror())
    for left in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
        shutil.rmtree(root / left)  # every layer is a full copy of it
    buildah("config", "--env", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
    buildah("commit", "--quiet", "--format", "docker", "--rm", container, name)


def build(buildah: Buildah, directory: Path) -> dict[str, Any]:
    """Build the image and return its configuration."""
    say("building")
    # This machine's pip fetches what the build needs, so that its settings need not be known in there.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = re.search(r"'\.\[([\w,]+)\]'", (ROOT / "Dockerfile").read_text())
    assert extras
    of_extras = (one for name in extras[1].split(",") for one in project["project"]["optional-dependencies"][name])
    needed = [*project["build-system"]["requires"], *project["project"]["dependencies"], *of_extras]
    needed.append("async-timeout")  # which redis needs with Debian's Python, older than this one may be
    chosen = ("--quiet", "--only-binary=:all:", "--python-version=3.11", "--dest", directory / "wheels")
    run(sys.executable, "-m", "pip", "download", *chosen, *needed)
    settings = directory / "pip.conf"
    settings.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    volumes = ("--volume", f"{directory}/wheels:/wheels:ro", "--volume", f"{settings}:/etc/pip.conf:ro")
    how = ("--isolation", "chroot", "--format", "docker", "--pull-never")  # the format that has health checks
    buildah("build", *how, *volumes, "--tag", "fastmock", ROOT)
    return json.loads(buildah("inspect", "--type", "image", "fastmock"))["Docker"]["config"]


def compressed(buildah: Buildah, image: str, directory: Path) -> float:
    """Return the compressed size of an image in megabytes."""
    at = directory / f"{image.replace(':', '-')}.oci"
    buildah("push", "--quiet", image, f"oci:{at}")
    return sum(file.stat().st_size for file in (at / "blobs/sha256").iterdir()) / 1e6


class Container:
    """The image, running. Files are mounted into it at the paths given, read-only."""

    def __init__(self, buildah: Buildah, image: dict[str, Any], mounted: dict[str, Path]) -> None:
        """Start it; it must listen within a second on a quiet machine, and does within 20 on any other."""
        self._image = image
        self._root = Path(buildah("mount", buildah("from", "--pull-never", "fastmock")))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        for inside, file in mounted.items():
            at = self._root / inside.lstrip("/")
            at.mkdir(parents=True) if file.is_dir() else at.touch()
            run("mount", "--bind", "-o", "ro", file, at)
        run("mount", "-t", "proc", "proc", self._root / "proc")
        start = time.monotonic()
        self._parent = subprocess.Popen([*UNSHARE, *self._inside(*image["Entrypoint"])])
        self._wait()
        say(f"it listens after {time.monotonic() - start:.2f} s")
        children = Path(f"/proc/{self._parent.pid}/task/{self._parent.pid}/children").read_text()
        self.pid = int(children)

    def _inside(self, *command: str) -> list[str | Path]:
        """Return the command that runs a command in the container."""
        user = self._image["User"]
        environ = [*self._image["Env"], f"FASTMOCK_PORT={self.port}"]
        chroot = ["chroot", f"--userspec={user}:{user}", "--groups=", self._root]
        return [*chroot, "env", "--ignore-environment", f"--chdir={self._image['WorkingDir']}", *environ, *command]

    def _wait(self) -> None:
        deadline = time.monotonic() + 20
        while self._parent.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                time.sleep(0.05)
            else:
                return
        raise SystemExit("the container did not start")

    def run(self, *command: str) -> str:
        """Run a command in it, next to the server."""
        return run(*self._inside(*command))

    def request(self, path: str, body: Any = None) -> Any:
        """Ask the server, from outside."""
        headers = {"Authorization": "Bearer sk-test", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        # Not 127.0.0.1: this address answers only when it listens on all of them.
        request = urllib.request.Request(f"http://127.0.0.2:{self.port}{path}", data, headers)
        with LOCAL.open(request, timeout=10) as response:
            return json.load(response)

    def chat(self, message: str) -> str:
        """Return the answer to a message."""
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": message}]}
        return self.request("/v1/chat/completions", body)["choices"][0]["message"]["content"]

    def processes(self) -> list[Path]:
        """Return the directories in /proc of the server and its workers."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [Path("/proc", pid) for pid in (str(self.pid), *children.split())]

    def stop(self) -> tuple[int, float]:
        """Stop it and return its exit code and the seconds it took."""
        start = time.monotonic()
        os.kill(self.pid, signal.SIGTERM)
        return self._parent.wait(60), time.monotonic() - start


def field(process: Path, name: str) -> list[str]:
    """Return a field of a process's status."""
    found = re.search(rf"^{name}:(.*)$", (process / "status").read_text(), re.M)
    assert found
    return found[1].split()


def say(text: str) -> None:
    """Print at once."""
    print(f"image: {text}", flush=True)


def check(buildah: Buildah, image: dict[str, Any]) -> None:
    """Check all that the image promises."""
    assert "8080/tcp" in image["ExposedPorts"], image
    how, *health = image["Healthcheck"]["Test"]
    assert how == "CMD", image

    say("running it as it is")
    container = Container(buildah, image, {})
    assert container.request("/health")["status"] == "ok"
    assert container.chat("Hello")
    server, *workers = container.processes()
    assert field(server, "NSpid")[-1] == "1"
    assert workers
    for process in (server, *workers):
        assert set(field(process, "Uid")) == {image["User"]} != {"0"}
        assert "libmimalloc" in (process / "maps").read_text()
    container.run(*health)
    code, seconds = container.stop()
    assert code == 0, code
    assert seconds < 1, seconds
    say(f"stopped in {seconds:.2f} s")

    say("running it with config.json and responses/ mounted")
    container = Container(buildah, image, {f"/app/{name}": ROOT / name for name in ("config.json", "responses")})
    assert container.chat("ping") == "pong"
    assert "sample configuration" in container.chat("anything else")
    code, _ = container.stop()
    assert code == 0, code
    say("all is as it should be")


def main() -> int:
    """Run the checks where what they leave can be removed."""
    if len(sys.argv) > 1:
        directory = Path(sys.argv[1])
        buildah = Buildah(directory)
        make_base(buildah)
        image = build(buildah, directory)
        whole, below = (compressed(buildah, name, directory) for name in ("fastmock", base_image()))
        say(f"{whole:.0f} MB compressed, {below:.0f} of them the base")
        assert whole - below < _MOST_ADDED
        check(buildah, image)
        return 0
    missing = [tool for tool in ("buildah", "debootstrap", "unshare") if not shutil.which(tool)]
    if os.getuid() or missing:
        print(f"image: cannot be tested without {' and '.join(missing) or 'root'}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="fastmock-image-", ignore_cleanup_errors=True) as directory:
        # Mounts and processes end with their namespaces, whatever happens in there: only files are left.
        return subprocess.run([*UNSHARE, "--mount", "--mount-proc", sys.executable, __file__, directory]).returncode


if __name__ == "__main__":
    sys.exit(main())
