"""The page that predicts photos, through HTTP on this machine."""

from __future__ import annotations

import base64
import http.client
import io
import json
import pathlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from trainer.config import Config
from trainer.errors import TrainerError
from trainer.results import web
from trainer.results.web import CONTENT_TYPE, MAX_BYTES, ImageServer
from trainer.run.serve import started
from trainer.run.use import predict

Run = tuple[pathlib.Path, dict[str, Any]]


def opened(workdir: pathlib.Path, port: int = 0) -> ImageServer:
    config = Config(stage="serve", workdir=str(workdir), port=port)
    return started(config, frozenset({"stage", "workdir", "port"}))


@pytest.fixture(scope="module")
def server(trained: Run) -> Iterator[ImageServer]:
    with opened(trained[0]) as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def ask(
    server: ImageServer,
    method: str = "POST",
    path: str = "/predict",
    body: bytes | None = None,
    **headers: str,
) -> tuple[int, dict[str, str], bytes]:
    """Returns status, headers and body of the answer."""
    port = server.server_address[1]
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    sent = {"Content-Type": CONTENT_TYPE} if method == "POST" else {}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        client.request(method, path, body, sent)
        answer = client.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        client.close()


def test_a_photo_has_the_probabilities_of_predict(
    server: ImageServer, trained: Run, photos: str, tmp_path: pathlib.Path
) -> None:
    image = pathlib.Path(photos) / "test/sushi/000.jpg"
    output = tmp_path / "p.jsonl"
    config = Config(
        stage="predict",
        workdir=str(trained[0]),
        inputs=str(image),
        output=str(output),
    )
    predict(config, frozenset({"stage", "workdir", "inputs", "output"}))
    expected = json.loads(output.read_text())["predictions"]
    status, headers, body = ask(server, body=image.read_bytes())
    assert status == 200
    assert headers["Content-Type"] == "application/json"
    found = json.loads(body)
    assert set(found) == {"predictions", "map"}
    assert [row["class"] for row in found["predictions"]] == [
        row["class"] for row in expected
    ]
    assert [row["probability"] for row in found["predictions"]] == (
        pytest.approx([row["probability"] for row in expected], abs=1e-5)
    )
    kind, _, data = found["map"].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (32, 32)


def test_the_page_allows_only_its_own_code(server: ImageServer) -> None:
    status, headers, body = ask(server, "GET", "/")
    assert status == 200
    assert b"<script>" in body
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert policy.count("'sha256-") == 2
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers
    assert headers["Server"] == "transfer-trainer"


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        pytest.param("GET", "/../etc/passwd", None, {}, 404, id="path"),
        pytest.param("GET", "/predict", None, {}, 404, id="get"),
        pytest.param("POST", "/", b"x", {}, 404, id="post"),
        pytest.param(
            "GET", "/", None, {"Host": "evil.example"}, 403, id="host"
        ),
        pytest.param(
            "POST", "/predict", b"x", {"Host": "127.0.0.1"}, 403, id="no port"
        ),
        pytest.param(
            "POST",
            "/predict",
            b"x",
            {"Origin": "http://evil.example"},
            403,
            id="origin",
        ),
        pytest.param(
            "POST", "/predict", b"x", {"Origin": "null"}, 403, id="sandbox"
        ),
        pytest.param(
            "POST",
            "/predict",
            b"x",
            {"Content_Type": "text/plain"},
            415,
            id="without preflight",
        ),
        pytest.param(
            "POST",
            "/predict",
            None,
            {"Content_Length": str(MAX_BYTES + 1)},
            413,
            id="large",
        ),
        pytest.param(
            "POST",
            "/predict",
            None,
            {"Content_Length": "-1"},
            411,
            id="negative length",
        ),
        pytest.param(
            "POST",
            "/predict",
            b"<html>not found</html>",
            {},
            400,
            id="no image",
        ),
        pytest.param("POST", "/predict", b"", {}, 400, id="empty"),
        pytest.param("OPTIONS", "/predict", None, {}, 501, id="preflight"),
    ],
)
def test_a_request_is_refused(
    server: ImageServer,
    trained: Run,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
    status: int,
) -> None:
    found, sent, text = ask(server, method, path, body, **headers)
    assert found == status
    assert sent["Content-Type"].startswith("text/plain")
    assert text.count(b"\n") == 1
    assert b"/" not in text.replace(b"application/octet-stream", b"")
    assert str(trained[0]).encode() not in text


def test_a_bad_image_says_why(server: ImageServer, photos: str) -> None:
    good = next(pathlib.Path(photos).glob("test/*/*.jpg")).read_bytes()
    status, _, text = ask(server, body=good[:200])
    assert status == 400
    assert text.startswith(b"a broken, truncated or unsupported JPEG")


def test_the_same_origin_is_answered(server: ImageServer, photos: str) -> None:
    good = next(pathlib.Path(photos).glob("test/*/*.jpg")).read_bytes()
    port = server.server_address[1]
    for name in ("localhost", "127.0.0.1"):
        origin = f"http://{name}:{port}"
        host = f"{name}:{port}"
        assert ask(server, body=good, Origin=origin, Host=host)[0] == 200


def test_an_error_inside_shows_nothing_of_it(
    server: ImageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(encoded: bytes) -> dict[str, Any]:
        raise OSError(2, "No such file", "/home/secret")

    monkeypatch.setattr(server, "answer", fail)
    status, _, text = ask(server, body=b"x")
    assert (status, text) == (500, b"the prediction failed\n")


def test_a_slow_client_is_dropped(
    server: ImageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web._Handler, "timeout", 0.2)
    port = server.server_address[1]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        head = (
            f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Content-Type: {CONTENT_TYPE}\r\nContent-Length: 9\r\n\r\nx"
        )
        client.sendall(head.encode())
        assert client.recv(1 << 16).split(b" ")[1] == b"408"


def test_a_port_that_is_taken_is_one_line(
    server: ImageServer, trained: Run
) -> None:
    port = server.server_address[1]
    with pytest.raises(TrainerError, match=rf"^--port={port}: cannot be used"):
        opened(trained[0], port)
    assert server.server_address[0] == "127.0.0.1"
