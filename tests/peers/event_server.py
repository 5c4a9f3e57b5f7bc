"""A server of endless event streams over HTTP/2 under TLS: event_server.py CERTIFICATE KEY.

Says {"port"} first, {"event": "request"} for each request and {"event": "over"} when a client is gone. The command
{"do": "say", "text"} sends one event to everybody, {"do": "finish"} ends the streams.
"""

import socket
import ssl
import sys
import threading

import h2.config
import h2.connection
import h2.events
from lines import commands, say

lock = threading.Lock()
streams = []


def serve(client):
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="latin-1"))

    def flush():
        client.sendall(connection.data_to_send())

    with lock:
        connection.initiate_connection()
        flush()
    while True:
        try:
            data = client.recv(65536)
        except OSError:
            data = b""
        with lock:
            if not data:
                break
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    head = [(":status", "200"), ("content-type", "text/event-stream")]
                    connection.send_headers(event.stream_id, head)
                    streams.append((connection, event.stream_id, flush))
                    say(event="request", path=dict(event.headers)[":path"])
                if isinstance(event, h2.events.StreamReset):
                    streams[:] = [stream for stream in streams if stream[:2] != (connection, event.stream_id)]
                    say(event="over")
            flush()


def accept(listener, context):
    while True:
        client, _ = listener.accept()
        try:
            client = context.wrap_socket(client, server_side=True)
        except (ssl.SSLError, OSError):
            continue
        threading.Thread(target=serve, args=(client,), daemon=True).start()


def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:3])
    context.set_alpn_protocols(["h2"])
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, args=(listener, context), daemon=True).start()
    say(port=listener.getsockname()[1])
    for command in commands():
        with lock:
            for connection, stream, flush in streams:
                if command["do"] == "say":
                    connection.send_data(stream, f"data: {command['text']}\n\n".encode())
                else:
                    connection.end_stream(stream)
                flush()
        say(id=command["id"])


main()
