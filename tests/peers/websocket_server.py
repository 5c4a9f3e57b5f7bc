"""A WebSocket server: websocket_server.py [--subprotocols A,B] [CERTIFICATE KEY].

Sends back what it gets, and does what a text that begins with "!" says. Says {"port"} first, then {"event": "open"} and
{"event": "closed"} for each session. It would agree on compression.
"""

import argparse
import asyncio
import ssl

from lines import described, numbered, say
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def obey(session, words):
    match words:
        case ["!close", code, *reason]:
            await session.close(int(code), " ".join(reason))
        case ["!ping", data]:
            await (await session.ping(data))
            await session.send("pong came")
        case ["!fragments", *fragments]:
            await session.send(fragments)
        case ["!send", size]:
            await session.send(numbered(int(size)))
        case ["!abort"]:
            session.transport.abort()


async def handle(session):
    request = session.request
    say(event="open", path=request.path, headers=[list(pair) for pair in request.headers.raw_items()])
    try:
        async for message in session:
            if isinstance(message, str) and message.startswith("!"):
                await obey(session, message.split(" "))
            elif request.path == "/sums":
                await session.send(str(described(message)))
            else:
                await session.send(message)
    except ConnectionClosed:
        pass
    await session.wait_closed()
    received = session.protocol.close_rcvd
    say(event="closed", path=request.path, code=received and received.code, reason=received and received.reason)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--subprotocols", default="")
    parser.add_argument("identity", nargs="*")
    arguments = parser.parse_args()
    context = None
    if arguments.identity:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*arguments.identity)
    known = [name for name in arguments.subprotocols.split(",") if name]

    def choose(_session, offered):
        return next((name for name in known if name in offered), None)

    server = await serve(
        handle,
        "127.0.0.1",
        0,
        ssl=context,
        select_subprotocol=choose,
        compression="deflate",
        max_size=None,
        ping_interval=None,
        backlog=1024,
    )
    say(port=server.sockets[0].getsockname()[1])
    await asyncio.Future()


asyncio.run(main())
