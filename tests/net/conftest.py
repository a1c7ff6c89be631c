"""What several modules of net's tests share."""

import ssl

import pytest
import trustme


@pytest.fixture(scope="module")
def contexts():
    """(server's, client's) context of a certificate authority made for these tests."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client
