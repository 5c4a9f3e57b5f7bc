"""A gRPC server without generated code: grpc_server.py [CERTIFICATE KEY]. What a call does stands in its metadata.

Says {"port"} first, then {"event": "call"} for each call and {"event": "ended"} for each that ended. Knows the commands
{"do": "restart"} (GOAWAY, then a new server on the same port) and {"do": "stop"}.
"""

import json
import sys
import threading
import time
from concurrent import futures

import grpc
from lines import commands, described, numbered, say

ADDRESS = "127.0.0.1"
CODES = {code.value[0]: code for code in grpc.StatusCode}


def shown(metadata):
    return [[key, value.hex() if isinstance(value, bytes) else value] for key, value in metadata]


def begin(path, context):
    """What every call does first; gives its metadata."""
    metadata = context.invocation_metadata()
    wanted = {key: value for key, value in metadata}
    say(event="call", path=path, peer=context.peer(), metadata=shown(metadata))
    ended = threading.Event()

    def end():
        ended.set()
        say(event="ended", path=path)

    context.add_callback(end)
    initial = [(key, value) for key, value in metadata if key.startswith("x-initial-")]
    if initial:
        context.send_initial_metadata(initial)
    context.set_trailing_metadata(
        [(key, value) for key, value in metadata if key.startswith("x-trailing-") or key == "grpc-status-details-bin"]
    )
    if "x-delay-ms" in wanted:
        ended.wait(int(wanted["x-delay-ms"]) / 1000)
    if "x-code" in wanted:
        context.abort(CODES[int(wanted["x-code"])], wanted.get("x-details", ""))
    return ended


def unary(request, context):
    begin("Unary", context)
    return request


def big(request, context):
    begin("Big", context)
    return numbered(int(request))


def count(request, context):
    ended = begin("Count", context)
    order = json.loads(request)
    for number in range(order["count"]):
        if number and ended.wait(order.get("every_ms", 0) / 1000):
            return
        yield numbered(order["size"]) if "size" in order else str(number).encode()


def total(requests, context):
    begin("Sum", context)
    messages = size = 0
    for request in requests:
        messages, size = messages + 1, size + len(request)
    return json.dumps({"messages": messages, "bytes": size}).encode()


def chat(requests, context):
    begin("Chat", context)
    for request in requests:
        yield request


def hang(requests, context):
    """Answers the first message and then nothing until the call is over."""
    ended = begin("Hang", context)
    yield next(requests)
    ended.wait(60)


METHODS = grpc.method_handlers_generic_handler(
    "test.Peer",
    {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Big": grpc.unary_unary_rpc_method_handler(big),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Sum": grpc.stream_unary_rpc_method_handler(total),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Hang": grpc.stream_stream_rpc_method_handler(hang),
    },
)


def serve(port, credentials):
    server = grpc.server(
        futures.ThreadPoolExecutor(256),
        handlers=[METHODS],
        options=[
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ],
    )
    address = f"{ADDRESS}:{port}"
    bound = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    return server, bound


def main():
    credentials = None
    if len(sys.argv) > 1:
        certificate, key = (open(path, "rb").read() for path in sys.argv[1:3])
        credentials = grpc.ssl_server_credentials([(key, certificate)])
    server, port = serve(0, credentials)
    say(port=port)
    for command in commands():
        server.stop(grace=5).wait()
        if command["do"] == "restart":
            for _ in range(100):
                try:
                    server, _ = serve(port, credentials)
                    break
                except RuntimeError:
                    time.sleep(0.05)
        say(id=command["id"])


main()
