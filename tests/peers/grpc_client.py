"""A gRPC client without generated code: grpc_client.py TARGET [CA NAME].

Each command names a method of the peer and gets one answer: the code, the status text, metadata and what came. A call
of both directions is opened, and then sent on and received from one message at a time.
"""

import queue
import sys
import threading

import grpc
from lines import commands, described, numbered, say

SERVICE = "/test.Peer/"
PATIENCE = 15
END = object()


def shown(metadata):
    return [[key, value.hex() if isinstance(value, bytes) else value] for key, value in metadata or ()]


def metadata_of(command):
    pairs = command.get("metadata", [])
    return [(key, bytes.fromhex(value) if key.endswith("-bin") else value) for key, value in pairs]


def message_of(command):
    if "size" in command:
        return numbered(command["size"])
    return command.get("request", "").encode()


def outcome(call, **fields):
    return {
        "code": call.code().name,
        "details": call.details(),
        "initial": shown(call.initial_metadata()),
        "trailing": shown(call.trailing_metadata()),
        **fields,
    }


class Session:
    """A call of both directions."""

    def __init__(self, channel, command):
        self.outgoing = queue.Queue()
        method = channel.stream_stream(SERVICE + command["method"])
        self.call = method(
            iter(self.outgoing.get, END), metadata=metadata_of(command), timeout=command.get("timeout", PATIENCE)
        )

    def receive(self):
        try:
            return described(next(self.call))
        except StopIteration:
            return outcome(self.call)
        except grpc.RpcError:
            return outcome(self.call)


class Client:
    def __init__(self, target, credentials, options):
        self.channel = (
            grpc.secure_channel(target, credentials, options)
            if credentials
            else grpc.insecure_channel(target, options)
        )
        self.session = None

    def unary(self, command):
        method = self.channel.unary_unary(SERVICE + command["method"])
        call = method.future(
            message_of(command), metadata=metadata_of(command), timeout=command.get("timeout", PATIENCE)
        )
        try:
            return outcome(call, response=described(call.result()))
        except grpc.RpcError:
            return outcome(call)

    def many(self, command):
        """So many calls at the same time."""
        method = self.channel.unary_unary(SERVICE + command["method"])
        calls = [
            method.future(str(n).encode(), metadata=metadata_of(command), timeout=PATIENCE)
            for n in range(command["count"])
        ]
        good = sum(call.code() == grpc.StatusCode.OK and call.result() == str(n).encode() for n, call in enumerate(calls))
        return {"good": good, "codes": sorted({call.code().name for call in calls})}

    def server_stream(self, command):
        method = self.channel.unary_stream(SERVICE + command["method"])
        call = method(message_of(command), metadata=metadata_of(command), timeout=command.get("timeout", PATIENCE))
        responses, messages, size = [], 0, 0
        try:
            for response in call:
                messages, size = messages + 1, size + len(response)
                if messages <= 100:
                    responses.append(described(response))
        except grpc.RpcError:
            pass
        return outcome(call, responses=responses, messages=messages, bytes=size)

    def client_stream(self, command):
        method = self.channel.stream_unary(SERVICE + command["method"])
        requests = (message_of(command) for _ in range(command["count"]))
        call = method.future(requests, metadata=metadata_of(command), timeout=command.get("timeout", PATIENCE))
        try:
            return outcome(call, response=described(call.result()))
        except grpc.RpcError:
            return outcome(call)

    def open(self, command):
        self.session = Session(self.channel, command)
        return {}

    def send(self, command):
        self.session.outgoing.put(message_of(command))
        return {}

    def receive(self, _command):
        return self.session.receive()

    def finish(self, _command):
        self.session.outgoing.put(END)
        return self.session.receive()

    def cancel(self, _command):
        self.session.call.cancel()
        self.session.outgoing.put(END)
        return outcome(self.session.call)


def main():
    target = sys.argv[1]
    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 500),
    ]
    credentials = None
    if len(sys.argv) > 2:
        with open(sys.argv[2], "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        options.append(("grpc.ssl_target_name_override", sys.argv[3]))
    client = Client(target, credentials, options)
    for command in commands():
        say(id=command["id"], **getattr(client, command["do"])(command))


main()
