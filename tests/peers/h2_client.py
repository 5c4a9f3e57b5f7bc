"""An HTTP/2 client that shows frames: h2_client.py PORT [CA NAME]. Over TLS when it has a CA, else by prior knowledge.

A request gets all of its answer; a stream that is opened is sent on and received from piece by piece.
"""

import collections
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings
from lines import commands, say

PATIENCE = 15


class Stream:
    def __init__(self):
        self.blocks = []
        self.pieces = collections.deque()
        self.ended = False
        self.ended_by_fields = False
        self.reset = None

    @property
    def over(self):
        return self.ended or self.reset is not None


class Client:
    def __init__(self, port, ca=None, name=None):
        self.socket = socket.create_connection(("127.0.0.1", int(port)), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if ca:
            context = ssl.create_default_context(cafile=ca)
            context.set_alpn_protocols(["h2"])
            self.socket = context.wrap_socket(self.socket, server_hostname=name)
            assert self.socket.selected_alpn_protocol() == "h2"
        self.scheme = "https" if ca else "http"
        self.authority = name or "localhost"
        # What is sent is the test's business, whether it is allowed or not.
        config = h2.config.H2Configuration(
            header_encoding="latin-1", validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.streams = {}
        self.settled = False
        self.gone = None
        self.flush()

    def flush(self):
        self.socket.sendall(self.connection.data_to_send())

    def pump(self, condition):
        """Reads until the condition holds."""
        while not condition():
            data = self.socket.recv(65536)
            if not data:
                for stream in self.streams.values():
                    stream.reset = "connection closed" if not stream.over else stream.reset
                self.gone = self.gone or "closed"
                return
            for event in self.connection.receive_data(data):
                self.take(event)
            self.flush()

    def take(self, event):
        stream = self.streams.get(getattr(event, "stream_id", None))
        match event:
            case h2.events.RemoteSettingsChanged():
                self.settled = True
            case h2.events.ConnectionTerminated():
                self.gone = int(event.error_code)
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                stream.blocks.append([list(pair) for pair in event.headers])
                stream.ended_by_fields = event.stream_ended is not None
            case h2.events.DataReceived():
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if event.data:
                    stream.pieces.append(event.data)
            case h2.events.StreamEnded():
                stream.ended = True
            case h2.events.StreamReset():
                stream.reset = int(event.error_code)

    def begin(self, command, end):
        number = self.connection.get_next_available_stream_id()
        self.streams[number] = Stream()
        pseudo = {":method": "GET", ":scheme": self.scheme, ":authority": self.authority, ":path": "/"}
        pseudo.update(command.get("pseudo", {}))
        headers = list(pseudo.items()) + [tuple(pair) for pair in command.get("headers", [])]
        self.connection.send_headers(number, headers, end_stream=end)
        return number, self.streams[number]

    def write(self, number, data, end):
        """Sends as the windows allow; stops where the peer reset the stream."""
        stream = self.streams[number]
        while data and not stream.over:
            room = min(self.connection.local_flow_control_window(number), self.connection.max_outbound_frame_size)
            if room == 0:
                before = self.connection.local_flow_control_window(number)
                self.pump(lambda: stream.over or self.connection.local_flow_control_window(number) != before)
                continue
            ends = end and len(data) <= room
            self.connection.send_data(number, data[:room], end_stream=ends)
            data = data[room:]
            self.flush()
            if ends:
                return
        if end and not stream.over:
            self.connection.end_stream(number)
            self.flush()

    def settings(self, _command):
        self.pump(lambda: self.settled)
        return {
            "connect": self.connection.remote_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL, 0),
            "streams": self.connection.remote_settings.max_concurrent_streams,
        }

    def request(self, command):
        self.pump(lambda: self.settled)
        body = bytes.fromhex(command.get("body", ""))
        number, stream = self.begin(command, end=not body)
        self.flush()
        self.write(number, body, end=bool(body))
        self.pump(lambda: stream.over)
        return {
            "headers": stream.blocks[0] if stream.blocks else None,
            "trailers": stream.blocks[1] if len(stream.blocks) > 1 else None,
            "body": b"".join(stream.pieces).hex(),
            "ended_by_fields": stream.ended_by_fields,
            "reset": stream.reset,
        }

    def open(self, command):
        """Gives the stream and the head of its answer, with the whole body if the answer is over."""
        self.pump(lambda: self.settled)
        number, stream = self.begin(command, end=command.get("end", False))
        self.flush()
        self.pump(lambda: stream.blocks or stream.over)
        return {"stream": number, "headers": stream.blocks[0] if stream.blocks else None, "reset": stream.reset}

    def send(self, command):
        self.write(command["stream"], bytes.fromhex(command["data"]), end=False)
        return {}

    def receive(self, command):
        stream = self.streams[command["stream"]]
        self.pump(lambda: stream.pieces or stream.over)
        if stream.pieces:
            return {"data": stream.pieces.popleft().hex()}
        return {"ended": stream.ended, "reset": stream.reset, "gone": self.gone}

    def end(self, command):
        self.write(command["stream"], b"", end=True)
        return {}

    def reset(self, command):
        self.connection.reset_stream(command["stream"], error_code=8)
        self.flush()
        return {}


def main():
    client = Client(*sys.argv[1:])
    for command in commands():
        say(id=command["id"], **getattr(client, command["do"])(command))


main()
