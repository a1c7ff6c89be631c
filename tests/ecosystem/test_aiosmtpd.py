"""aiosmtpd: a mail server on a loop of ours in a thread of its own, under the standard library's client."""

import asyncio
import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

import plait
from plait.running import EngineName

import servers

Run = Callable[[Any], Any]


class Inbox:
    def __init__(self) -> None:
        self.mails: list[tuple[list[str], bytes]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        await asyncio.sleep(0)
        self.mails.append((envelope.rcpt_tos, envelope.content))
        return "250 OK"


def mail(text: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = "a@plait.test", "b@plait.test"
    message.set_content(text)
    return message


@contextmanager
def mail_server(engine: EngineName, inbox: Inbox, **options: Any) -> Iterator[tuple[str, int]]:
    class InLoop(Controller):
        def factory(self) -> SMTP:
            return SMTP(inbox, **options)

    loop = plait.new_event_loop(engine=engine)
    # Port 0 is unknown to its own test of being reachable.
    controller = InLoop(inbox, hostname="127.0.0.1", port=servers.free_port(), loop=loop)
    controller.start()
    try:
        yield controller.hostname, controller.port
    finally:
        controller.stop()


def test_a_mail_arrives(engine: EngineName) -> None:
    inbox = Inbox()
    with mail_server(engine, inbox) as address, smtplib.SMTP(*address) as client:
        text = "".join(f"line {n}\n" for n in range(10_000))
        client.send_message(mail(text))
        client.send_message(mail("again"))
    assert [["b@plait.test"]] * 2 == [to for to, _ in inbox.mails]
    assert inbox.mails[0][1].replace(b"\r\n", b"\n").endswith(text.encode())


def test_a_mail_after_starttls(engine: EngineName) -> None:
    """aiosmtpd drives asyncio's SSLProtocol on our stream by itself."""
    authority = trustme.CA()
    served, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(served)
    authority.configure_trust(trusting)
    inbox = Inbox()
    with mail_server(engine, inbox, tls_context=served, require_starttls=True) as address:
        with smtplib.SMTP(*address) as client:
            assert 220 == client.starttls(context=trusting)[0]
            client.send_message(mail("hidden"))
    assert inbox.mails[0][1].rstrip().endswith(b"hidden")
