"""The HTTP session in which spans are sent."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import requests


class Session(requests.Session):
    """A session that does not read the bodies of answers, which may have any size, and follows no redirect.

    Raises:
        ValueError: the URL or a header is not valid. The message quotes neither, since they may hold a password.
    """

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        try:
            answer = super().request(*arguments, **{**options, "stream": True})
        except ValueError as error:
            raise ValueError(f"the endpoint or a header is not valid ({type(error).__name__})") from None
        answer.close()
        answer.raw = BytesIO()  # what the exporter would show of a body
        return answer

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: the body of an answer that leads elsewhere is read even if nobody goes there."""
