"""The handler, with queues and topics of this process: `python3 -m unittest`."""

import asyncio
import unittest

from app import handle
from linger import HTTPError, Request, Response


class Post:
    """A method as the bindings have it."""


class Get:
    """Another."""


def send(method: object, target: str, data: bytes = b"", kind: str | None = None) -> Response:
    async def read(limit: int) -> bytes:
        return data

    def header(name: str) -> list[bytes]:
        return [kind.encode()] if kind and name == "content-type" else []

    return asyncio.run(handle(Request(method, target, header, read)))


class Test(unittest.TestCase):
    def test_event_is_for_one_poll(self) -> None:
        self.assertEqual(send(Post(), "/push/q", b"hello", "text/plain").status, 202)
        answer = send(Get(), "/poll/q?wait=1")
        self.assertEqual((answer.status, answer.body, answer.headers["content-type"]), (200, b"hello", "text/plain"))
        self.assertEqual(send(Get(), "/poll/q?wait=1").status, 204)

    def test_event_is_for_all_who_follow(self) -> None:
        cursor = send(Get(), "/follow/t?after=now").headers["event-cursor"]
        send(Post(), "/publish/t", b"news")
        for _ in range(2):
            answer = send(Get(), f"/follow/t?after={cursor}")
            self.assertEqual((answer.status, answer.body), (200, b"news"))
        self.assertEqual(send(Get(), f"/follow/t?after={answer.headers['event-cursor']}").status, 204)

    def test_time_over_the_limit_is_400(self) -> None:
        for wrong in ["61", "-1", "1.5", "", "soon"]:
            with self.assertRaises(HTTPError) as raised:
                send(Get(), f"/poll/q?wait={wrong}")
            self.assertEqual(raised.exception.response.status, 400)


if __name__ == "__main__":
    unittest.main()
