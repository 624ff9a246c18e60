"""Only the jars that a lock names are fetched, and only a file with the locked sha256 is kept."""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from jgo.maven import _core

from deploy.install.components.fetch_jars import ATTEMPTS, fetch_all, sha256

JARS = {f"part-{number}": f"jar {number} ".encode() * 5000 for number in range(12)}
BUSY = 503


@dataclass
class Repository:
    """A Maven repository on this machine: the answers to each path in turn, the last one for good."""

    answers: dict[str, list[bytes | int]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    def answer(self, path: str) -> tuple[int, bytes]:
        """Return the status and the body for a path."""
        held = self.answers.get(path, [404])
        found = held[min(self.asked[path], len(held) - 1)]
        self.asked[path] += 1
        return (found, b"") if isinstance(found, int) else (200, found)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        repository = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = repository.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        return Handler


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """A repository in the place of Maven Central, which has every jar."""
    made = Repository({path_of(name): [content] for name, content in JARS.items()})
    with ThreadingHTTPServer(("127.0.0.1", 0), made.handler()) as server:
        monkeypatch.setitem(_core.DEFAULT_REMOTE_REPOS, "central", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        try:
            yield made
        finally:
            server.shutdown()


def path_of(name: str, classifier: str = "") -> str:
    return f"/org/example/{name}/1.0/{name}-1.0{classifier and f'-{classifier}'}.jar"


def lock(folder: Path, *names: str, classifier: str = "", **hashes: str) -> Path:
    """Write the lock of these jars, with the right sha256 or another one."""
    path = folder / "jgo.lock.toml"
    tables = ['[metadata]\njgo_version = "2.0.0"\n']
    for name in names:
        digest = hashes.get(name.replace("-", "_"), hashlib.sha256(JARS[name]).hexdigest())
        fields = {"groupId": "org.example", "artifactId": name, "version": "1.0", "packaging": "jar", "sha256": digest}
        fields |= {"classifier": classifier} if classifier else {}
        tables.append("[[dependencies]]\n" + "".join(f'{key} = "{value}"\n' for key, value in fields.items()))
    path.write_text("\n".join(tables))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_every_jar_of_the_lock_is_fetched_and_nothing_else(repository: Repository, tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    fetch_all(lock(tmp_path, *JARS), folder)

    assert contents(folder) == {f"{name}-1.0.jar": content for name, content in JARS.items()}
    assert [path for path in folder.iterdir() if path.is_dir()] == []
    # Beside a jar, its checksum may be asked for, but no POM.
    assert {path.removesuffix(".sha1") for path in repository.asked} == {path_of(name) for name in JARS}


def test_with_a_name_only_that_jar_is_fetched(repository: Repository, tmp_path: Path) -> None:
    fetch_all(lock(tmp_path, "part-1", "part-2", "part-3"), tmp_path / "jars", "part-2")

    assert contents(tmp_path / "jars") == {"part-2-1.0.jar": JARS["part-2"]}
    assert repository.asked[path_of("part-1")] == 0


def test_a_jar_for_one_kind_of_machine_is_fetched_by_its_classifier(repository: Repository, tmp_path: Path) -> None:
    repository.answers = {path_of("part-1", "linux"): [JARS["part-1"]]}
    fetch_all(lock(tmp_path, "part-1", classifier="linux"), tmp_path / "jars")

    assert contents(tmp_path / "jars") == {"part-1-1.0-linux.jar": JARS["part-1"]}


@pytest.mark.parametrize("first", [BUSY, 404, b"", JARS["part-1"][:-1], b"an error page"])
def test_a_jar_that_did_not_come_right_is_fetched_again(
    first: bytes | int, repository: Repository, tmp_path: Path
) -> None:
    repository.answers[path_of("part-1")] = [*[first] * (ATTEMPTS - 1), JARS["part-1"]]
    fetch_all(lock(tmp_path, "part-1"), tmp_path / "jars")

    assert contents(tmp_path / "jars") == {"part-1-1.0.jar": JARS["part-1"]}
    assert repository.asked[path_of("part-1")] == ATTEMPTS


def test_a_jar_with_another_sha256_than_the_locked_one_is_never_kept(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^part-1 1\.0: sha256 mismatch with the lock$"):
        fetch_all(lock(tmp_path, "part-1", "part-2", part_1="0" * 64), tmp_path / "jars")

    assert "part-1-1.0.jar" not in contents(tmp_path / "jars")
    assert repository.asked[path_of("part-1")] == ATTEMPTS


def test_a_jar_that_the_repository_does_not_have_is_named(repository: Repository, tmp_path: Path) -> None:
    repository.answers.clear()

    with pytest.raises(SystemExit, match=r"^part-1 1\.0: "):
        fetch_all(lock(tmp_path, "part-1"), tmp_path / "jars")
    assert contents(tmp_path / "jars") == {}


def test_a_repository_that_is_away_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(_core.DEFAULT_REMOTE_REPOS, "central", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    with pytest.raises(SystemExit, match=r"^part-1 1\.0: "):
        fetch_all(lock(tmp_path, "part-1"), tmp_path / "jars")


@pytest.mark.parametrize("content", [b"", b"a jar" * 10**6])
def test_the_sha256_is_that_of_the_whole_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jar").write_bytes(content)

    assert sha256(tmp_path / "a.jar") == hashlib.sha256(content).hexdigest()
