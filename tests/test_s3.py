"""Weights travel by an S3 remote: tried against a server on this machine (pip install "moto[server]" dvc-s3)."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from conftest import ENVIRONMENT

pytest.importorskip("dvc_s3")
pytest.importorskip("moto.server")


@pytest.fixture
def endpoint():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert server.poll() is None and time.monotonic() < until
            time.sleep(0.2)
    yield f"http://127.0.0.1:{port}"
    server.kill()
    server.wait()


def test_push_and_pull(endpoint, tmp_path):
    keys = {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/store", method="PUT"))  # the bucket

    def dvc(*words):
        command = [sys.executable, "-m", "dvc", *words]
        here = {"cwd": tmp_path, "env": ENVIRONMENT | keys, "capture_output": True, "text": True}
        done = subprocess.run(command, **here)
        assert done.returncode == 0, done.stderr[-2000:]

    stage = "stages: {a: {cmd: cp source weights, deps: [source], outs: [weights]}}"
    (tmp_path / "source").write_text("w" * 9999)
    (tmp_path / "dvc.yaml").write_text(stage)
    dvc("init", "--no-scm", "-q")
    dvc("remote", "add", "--default", "store", "s3://store/burn")
    dvc("remote", "modify", "store", "endpointurl", endpoint)
    dvc("repro", "-q")
    dvc("push", "-q")
    (tmp_path / "weights").unlink()
    shutil.rmtree(tmp_path / ".dvc" / "cache")
    dvc("pull", "-q")
    assert (tmp_path / "weights").read_text() == "w" * 9999
