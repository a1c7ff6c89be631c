"""Every call fails at each of its system calls in turn: it says so by OSError or does without, nothing is left, and the loop works on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Those during which nothing but the call itself, in the same thread, calls the system.
CALLS = [
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "create_connection",
    "create_connection_by_name",
    "create_connection_from_an_address",
    "create_connection_with_a_socket",
    "create_connection_with_happy_eyeballs",
    "create_connection_with_tls",
    "create_datagram_endpoint",
    "create_datagram_endpoint_with_a_socket",
    "create_server",
    "create_server_by_names",
    "create_server_with_a_socket",
    "create_subprocess_shell",
    "create_unix_connection",
    "create_unix_server",
    "open_connection",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendto",
    "start_server",
    "start_unix_server",
    "subprocess_exec",
]


@pytest.mark.parametrize("name", CALLS)
def test_failing_at_each_of_its_system_calls(engine: str, name: str) -> None:
    program = [sys.executable, str(Path(__file__).with_name("faults.py")), name, engine]
    done = subprocess.run(program, capture_output=True, text=True, timeout=55, check=True)
    tries = [json.loads(line) for line in done.stdout.splitlines()]
    wrong = [told for told in tries if told["result"] not in ("passed", "refused")]
    assert not wrong, "\n".join(f"{told['failed']}, number {told['at']}: {told['result']}" for told in wrong)
    assert len(tries) > 1
    assert "passed" == tries[-1]["result"]
