"""A server of S3 in this process (moto), which what asks for one in the environment finds."""

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SECRET = "a-key-that-nobody-may-read"


@contextmanager
def s3_server(port: int = 0) -> Iterator[str]:
    """Starts an empty server; a test that needs it is skipped where it, or its client, is not installed.

    Args:
        port: 0 for one that is free.

    Yields:
        The URL of the server.
    """
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    try:
        # Buckets belong to the process, not to the server that made them.
        urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in access(f"http://{host}:{port}").items():
                patch.setenv(name, value)
            forget_servers()
            yield f"http://{host}:{port}"
    finally:
        running.stop()
        forget_servers()


def access(address: str) -> dict[str, str]:
    """The environment in which a server is found."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def forget_servers() -> None:
    """Lets the next storage that is opened ask the environment."""
    import s3fs

    from apdraw_cli.conversion import sources

    sources._opened.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()
