"""Does a server answer as `predict` does, whatever is sent to it, and does its page work in a browser?"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli import PROGRAM, classes_rows, environment, run_cli, write_csv
from mlptrain.runs.model import open_model
from mlptrain.serving.answers import Answerer
from mlptrain.serving.app import Limits, make_app
from mlptrain.serving.page import page
from mlptrain.serving.schema import schema

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

JSON, CSV = {"Content-Type": "application/json"}, {"Content-Type": "text/csv; charset=utf-8"}
EVIL = "</script><b>colour\u202e & \"'"
HEADER = ["x1", "x2", EVIL]


class Reply(NamedTuple):
    status: int
    text: str
    headers: Mapping[str, str]

    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json; charset=utf-8"
        return json.loads(self.text, parse_constant=pytest.fail)

    def refused(self, status: int, *fragments: str) -> None:
        error = self.json()["error"]
        assert self.status == status, self.text
        assert "Traceback" not in error
        for fragment in fragments:
            assert fragment in error


class Server(NamedTuple):
    home: Path
    address: tuple[str, int]
    process: subprocess.Popen[str]

    def ask(self, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] = JSON) -> Reply:
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        try:
            connection.request(method, path, body, dict(headers) if body is not None else {})
            response = connection.getresponse()
            return Reply(response.status, response.read().decode(), {k.lower(): v for k, v in response.getheaders()})
        finally:
            connection.close()

    def post(self, path: str, document: Any) -> Reply:
        return self.ask("POST", path, json.dumps(document))

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.address)


@contextmanager
def running(home: Path, *options: str) -> Iterator[Server]:
    command = [*PROGRAM.split(), "serve", "run", "--port", "0", *options]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=home, env=environment(), stdout=pipe, stderr=pipe, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"http://(127\.0\.0\.1):(\d+)\n", line)
        assert found, line or process.communicate()[1]
        yield Server(home, (found[1], int(found[2])), process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    rows = [(a, b, f'"{c}"', d) for a, b, c, d in classes_rows()]
    quoted = '"' + EVIL.replace('"', '""') + '"'
    body = "\n".join(",".join(map(str, one)) for one in rows)
    (folder / "t.csv").write_text(f"x1,x2,{quoted},answer\n{body}\n", encoding="utf8")
    line = ("fit", "t.csv", "--target", "answer", "--set", "training.epochs=3", "--set", "ensemble={members: 3}")
    run_cli(*line, "--out", "run", "-q", folder=folder).succeeded()
    return folder


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Server]:
    with running(home) as found:
        yield found


def row(**changes: Any) -> dict[str, Any]:
    return {"x1": 0.5, "x2": -0.25, EVIL: "red"} | changes


def table(home: Path) -> str:
    return (home / "t.csv").read_text(encoding="utf8")


def rows_of_table() -> list[dict[str, Any]]:
    return [{"x1": float(str(a)), "x2": b, EVIL: c} for a, b, c, _ in classes_rows()]


def test_a_csv_is_answered_as_by_predict_to_the_byte(server: Server) -> None:
    whole = run_cli("predict", "run", "t.csv", "-q", folder=server.home).succeeded().out
    reply = server.ask("POST", "/predict", table(server.home).encode(), CSV)
    assert (reply.status, reply.text) == (200, whole)
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"


def test_json_is_answered_as_by_a_stream_to_the_byte(server: Server) -> None:
    rows = rows_of_table()
    lines = "".join(json.dumps(one) + "\n" for one in rows).encode()
    whole = run_cli("predict", "run", "-", "--stream", folder=server.home, stdin=lines).succeeded().out
    joined = f'{{"predictions":[{",".join(whole.splitlines())}]}}'
    assert server.post("/predict", {"rows": rows}).text == joined
    alone = [server.post("/predict", {"rows": [one]}).json()["predictions"][0] for one in rows[:5]]
    assert alone == json.loads(joined)["predictions"][:5]


def test_clients_of_mlflow_get_the_same(server: Server) -> None:
    rows = rows_of_table()
    whole = server.post("/predict", {"rows": rows}).text
    data = [[one["x1"], one["x2"], one[EVIL]] for one in rows]
    split = {"columns": HEADER, "data": data}
    assert server.post("/invocations", {"dataframe_records": rows}).text == whole
    assert server.post("/invocations", {"dataframe_split": split, "params": {}}).text == whole
    assert server.post("/invocations", {"dataframe_split": split | {"index": list(range(40))}}).text == whole
    assert server.ask("POST", "/invocations", table(server.home).encode(), CSV).text == whole
    pandas = server.post("/invocations", {"dataframe_records": [row(x1=float("nan"))]})
    assert pandas.json() == server.post("/predict", {"rows": [row(x1=None)]}).json()


def test_the_schema_says_what_a_row_is(server: Server) -> None:
    found = server.ask("GET", "/schema").json()
    numbers = [float(str(one[0])) for one in classes_rows()]
    first, _, words = found["columns"]
    assert first | {"typical": 0} == {
        "name": "x1",
        "kind": "number",
        "form": "number",
        "typical": 0,
        "missing": True,
        "low": first["low"],
        "high": first["high"],
    }
    assert min(numbers) <= first["low"] < first["typical"] < first["high"] <= max(numbers)
    assert (words["name"], words["levels"]) == (EVIL, ["blue", "green", "red"])
    assert {one["name"]: one["kind"] for one in found["outputs"]} == {
        "answer": "label",
        "probability_no": "probability",
        "probability_yes": "probability",
    }
    typical = {one["name"]: one["typical"] for one in found["columns"]}
    assert server.post("/predict", {"rows": [typical]}).status == 200
    health = server.ask("GET", "/health").json()
    assert (health["status"], health["model"]) == ("ok", "t")
    assert server.ask("GET", "/ping").json() == health


REFUSED: list[tuple[str, bytes, Mapping[str, str], int, str]] = [
    ("/predict", b"", JSON, 400, "the body is empty"),
    ("/predict", b"{", JSON, 400, "not JSON"),
    ("/predict", b"\xff", JSON, 400, "not UTF-8 at byte offset 0"),
    ("/predict", b"[1]", JSON, 400, "the body must be an object"),
    ("/predict", b"[" * 100_000, JSON, 400, "nested too deeply"),
    ("/predict", b"{}", JSON, 400, "the body must have the key 'rows'"),
    ("/predict", b'{"row": []}', JSON, 400, "unknown key 'row'; did you mean 'rows'?"),
    ("/predict", b'{"rows": [], "rows": []}', JSON, 400, "the key 'rows' is there twice"),
    ("/predict", b'{"rows": {}}', JSON, 400, "'rows' must be a list of objects"),
    ("/predict", b'{"rows": [{}, 1]}', JSON, 400, "'rows'[1]: a row is an object"),
    ("/predict", b'{"rows": []}', JSON, 422, "there are no rows"),
    ("/predict", b'{"rows": [{"x1": NaN}]}', JSON, 400, "NaN is not JSON"),
    ("/predict", b'{"rows": [{"x1": 1}]}', JSON, 422, "1 of 1 rows cannot be predicted; row 1: no 'x2'"),
    ("/predict", b"x1,x2\n1,2\n", CSV, 422, "body: columns that the model needs are missing"),
    ("/predict", b"x1\n1,2\n", CSV, 422, "body: "),
    ("/predict", b"\xff\xfe", CSV, 422, "body: "),
    ("/predict", b"{}", {"Content-Type": "text/plain"}, 415, "the content type must be application/json or text/csv"),
    ("/invocations", b'{"instances": []}', JSON, 400, "the key is 'dataframe_split' or 'dataframe_records'"),
    ("/invocations", b'{"dataframe_split": {"columns": ["x1"]}}', JSON, 400, "'columns' and 'data'"),
    ("/invocations", b'{"dataframe_split": {"columns": ["a", "a"], "data": []}}', JSON, 400, "names a column twice"),
    ("/invocations", b'{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}', JSON, 400, "'data'[0] has 2 cells"),
    ("/invocations", b'{"dataframe_split": {"columns": [1], "data": []}}', JSON, 400, "a list of names"),
    ("/invocations", b'{"dataframe_split": {"columns": ["a"], "data": [1]}}', JSON, 400, "a list of rows"),
    ("/invocations", b'{"dataframe_records": [{"x1": Infinity}]}', JSON, 400, "Infinity is not JSON"),
    ("/nowhere", b"{}", JSON, 404, "there is no such page; there are: GET /"),
    ("/schema", b"{}", JSON, 405, "/schema does not take POST"),
]


@pytest.mark.parametrize(("path", "body", "headers", "status", "message"), REFUSED)
def test_what_is_refused(
    server: Server, path: str, body: bytes, headers: Mapping[str, str], status: int, message: str
) -> None:
    server.ask("POST", path, body, headers).refused(status, message)


def test_each_bad_row_is_told_of(server: Server) -> None:
    reply = server.post("/predict", {"rows": [row(), row(x1="much"), row(x2={}), row()]})
    reply.refused(422, "2 of 4 rows cannot be predicted; row 2: column 'x1' must be numeric")
    assert [one["row"] for one in reply.json()["rows"]] == [2, 3]


def test_methods_and_headers(server: Server) -> None:
    reply = server.ask("GET", "/predict")
    reply.refused(405, "/predict does not take GET")
    assert reply.headers["allow"] == "POST"
    found = server.ask("GET", "/")
    assert "script-src 'sha256-" in found.headers["content-security-policy"]
    assert found.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in found.headers
    assert "server" not in found.headers


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["/predict", "/invocations"]), st.sampled_from([JSON, CSV]))
def test_whatever_is_sent_is_answered(server: Server, body: bytes, path: str, headers: Mapping[str, str]) -> None:
    assert server.ask("POST", path, body, headers).status in (400, 422)


def test_many_at_once_get_their_own_answers(server: Server) -> None:
    expected = {i: server.post("/predict", {"rows": [row(x1=i / 7)]}).text for i in range(16)}
    assert len(set(expected.values())) == 16
    wrong: list[int] = []

    def ask(i: int) -> None:
        for _ in range(5):
            if server.post("/predict", {"rows": [row(x1=i / 7)]}).text != expected[i]:
                wrong.append(i)

    threads = [threading.Thread(target=ask, args=(i,)) for i in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def test_bodies_that_are_too_large_or_too_slow(home: Path) -> None:
    with running(home, "--max-megabytes", "0.001", "--timeout", "1") as server:
        server.ask("POST", "/predict", b" " * 1001).refused(413, "larger than 1,000 bytes")
        chunks = (
            b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"300\r\n"
            + b" " * 0x300
            + b"\r\n"
        )
        slow = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
        with socket.create_connection(server.address) as waiting, socket.create_connection(server.address) as growing:
            waiting.sendall(slow)
            growing.sendall(chunks + b"300\r\n" + b" " * 0x300 + b"\r\n")
            assert server.post("/predict", {"rows": [row()]}).status == 200  # nobody waits for them
            assert b" 413 " in growing.recv(100)
            assert b" 408 " in waiting.recv(100)
        with socket.create_connection(server.address) as gone:
            gone.sendall(slow)  # and leaves
        assert server.ask("GET", "/health").status == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert server.process.communicate()[1].splitlines() == ["Ctrl-C ends it", "stopped"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_the_answers_under_way(home: Path, number: int) -> None:
    with running(home) as server:
        body = json.dumps({"rows": [row()]}).encode()
        with socket.create_connection(server.address) as client:
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
            client.sendall(head.encode())
            assert b" 100 " in client.recv(100)  # the request is under way
            client.sendall(body[:5])
            server.process.send_signal(number)
            time.sleep(0.3)
            client.sendall(body[5:])
            assert b" 200 " in client.recv(100)
        assert server.process.wait(30) == 0
        assert server.process.communicate()[1].splitlines() == ["Ctrl-C ends it", "stopped"]


def test_a_port_in_use_is_named(server: Server) -> None:
    port = server.address[1]
    run_cli("serve", "run", "--port", port, folder=server.home).refused(
        5, f"port {port} is in use; choose another with --port, or a free one with --port 0"
    )


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--host", "no.such.host.invalid"), 5, "--host no.such.host.invalid: no such address"),
        (("--host", "203.0.113.7"), 5, "203.0.113.7 is not an address of this machine"),
        (("--port", "70000"), 2, "invalid value for '--port'"),
        (("--timeout", "0"), 2, "--timeout in 0 to 3600"),
        (("--max-megabytes", "nan"), 2, "--max-megabytes must be"),
    ],
)
def test_options_that_cannot_be(home: Path, options: Sequence[str], code: int, message: str) -> None:
    run_cli("serve", "run", "--port", "0", *options, folder=home).refused(code, message)


def test_what_is_no_model_is_refused(home: Path) -> None:
    run_cli("serve", "t.csv", folder=home).refused(2, "is a table")
    run_cli("serve", "nowhere", folder=home).refused(4)


def test_a_model_whose_plugin_is_absent_is_refused(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x1,x2,colour,answer", classes_rows())
    (tmp_path / "s.yaml").write_text(
        "preset: plain\ndata: {path: t.csv, target: answer}\nnetwork: {activation: own_relu}\ntraining: {epochs: 1}\n"
    )
    (tmp_path / "own.py").write_text(
        "from typing import Literal\nfrom mlptrain.nn.activations import ReLU\n\n\n"
        'class OwnReLU(ReLU):\n    """As relu."""\n\n    kind: Literal["own_relu"] = "own_relu"\n'
    )
    command = [*PROGRAM.split(), "fit", "s.yaml", "--out", "run", "-q", "--plugin", "own.py"]
    subprocess.run(command, cwd=tmp_path, env=environment(), check=True, capture_output=True, timeout=60)
    for line in (("serve", "run"), ("predict", "run", "-", "--stream")):
        run_cli(*line, folder=tmp_path).refused(4, "own_relu")


def test_without_its_packages_the_line_that_installs_them_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == "starlette"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    run_cli("serve", "run", "--port", "0", folder=home).refused(5, 'pip install "mlptrain[serve]"')


def test_a_bug_is_an_answer_and_a_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answerer, said, sent = Answerer(open_model(home / "run")), list[str](), list[Any]()
    app = make_app(answerer, Limits(), said.append)
    monkeypatch.setattr(Answerer, "answers", lambda *_: 1 / 0)
    body = json.dumps({"rows": [row()]}).encode()

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": [], "query_string": b""}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 500
    assert json.loads(sent[1]["body"])["error"] == "a bug in mlptrain; the server says more about it"
    assert said == ["a bug in mlptrain: ZeroDivisionError: division by zero"]


def test_nothing_of_a_table_is_html_of_the_page(home: Path) -> None:
    text = page(schema(Answerer(open_model(home / "run"))))
    assert text.count("</script>") == 2
    assert "<b>colour" not in text
    data = re.search(r'id="schema">(.*?)</script>', text)
    assert data and json.loads(data[1])["columns"][2]["name"] == EVIL
    assert not re.search(r"(src|href)=\"?(https?:)?//", text)


class Browser:
    """A headless Chromium, told what to do over the protocol of WebDriver."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        null = subprocess.DEVNULL
        self._driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=null, stderr=null)
        self._base = f"http://127.0.0.1:{port}"
        self._wait_for_driver()
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        arguments.append(f"--user-data-dir={folder}")
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        session = self._send("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._base += f"/session/{session['sessionId']}"

    def _wait_for_driver(self) -> None:
        for _ in range(200):
            try:
                if self._send("GET", "/status")["ready"]:
                    return
            except OSError:
                time.sleep(0.05)
        pytest.fail("chromedriver does not start")

    def _send(self, method: str, path: str, document: Any = None) -> Any:
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(self._base + path, data, JSON, method=method)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)["value"]

    def open(self, url: str) -> None:
        self._send("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        return self._send("POST", "/execute/sync", {"script": script, "args": arguments})

    def type(self, selector: str, text: str) -> None:
        (element,) = self._send("POST", "/element", {"using": "css selector", "value": selector}).values()
        self._send("POST", f"/element/{element}/clear", {})
        self._send("POST", f"/element/{element}/value", {"text": text})

    def wait(self, script: str) -> Any:
        for _ in range(200):
            if found := self.run(script):
                return found
            time.sleep(0.05)
        return pytest.fail(f"waited too long for {script}: {self.run('return document.body.innerText')}")

    def errors(self) -> list[str]:
        return [str(entry["message"]) for entry in self._send("POST", "/se/log", {"type": "browser"})]

    def picture(self) -> bytes:
        return base64.b64decode(self._send("GET", "/screenshot"))

    def close(self) -> None:
        try:
            self._send("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait(30)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    if shutil.which("chromedriver") is None or not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("needs chromium and chromedriver")
    found = Browser(tmp_path)
    yield found
    found.close()


def test_the_page_predicts_as_you_type(server: Server, browser: Browser) -> None:
    browser.open(server.url)
    typical = {one["name"]: one["typical"] for one in server.ask("GET", "/schema").json()["columns"]}

    def shown(expected: dict[str, Any]) -> None:
        (answer,) = server.post("/predict", {"rows": [expected]}).json()["predictions"]
        cell = f"{answer['probability_yes']:.4f}"
        script = f"return document.getElementById('outputs').innerText.includes('{cell}')"
        browser.wait(f"{script} && document.getElementById('error').textContent === ''")
        assert browser.run("return document.getElementById('label').textContent") == answer["answer"]

    shown(typical)
    browser.type("#c0", "1.25")
    shown(typical | {"x1": 1.25})
    browser.type("#c1", "-9")
    shown(typical | {"x1": 1.25, "x2": -9})
    assert "outside of training" in browser.run("return document.getElementById('c1n').textContent")
    browser.run(
        "const s = document.getElementById('c2'); s.value = ''; s.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    shown(typical | {"x1": 1.25, "x2": -9, EVIL: None})
    browser.type("#c0", "much")
    problem = browser.wait("return document.getElementById('error').textContent")
    assert problem.startswith("column 'x1' must be numeric")
    assert browser.run("return document.querySelector('label[for=c2]').textContent") == EVIL
    assert browser.run("return document.querySelectorAll('b').length") == 0
    assert all("422" in error for error in browser.errors())  # the row with a mistake


def test_the_page_is_accessible_and_follows_light_and_dark(server: Server, browser: Browser) -> None:
    browser.open(server.url)
    browser.wait("return document.getElementById('label').textContent")
    fields = browser.run("return [...document.querySelectorAll('input,select')].map(f => [f.id, f.labels.length])")
    assert fields == [["c0", 1], ["c1", 1], ["c2", 1]]
    assert browser.run("return document.documentElement.lang") == "en"
    assert browser.run("return document.getElementById('answer').getAttribute('aria-live')") == "polite"
    assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
    rules = browser.run("return [...document.styleSheets[0].cssRules].map(r => r.conditionText || '')")
    assert "(prefers-color-scheme: dark)" in rules
    assert browser.picture()[:4] == b"\x89PNG"
    assert browser.errors() == []
