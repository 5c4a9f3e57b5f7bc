"""A WebSocket client with any number of sessions: websocket_client.py PORT [CA NAME]. Over TLS when it has a CA.

Each command names a session and gets one answer.
"""

import asyncio
import ssl
import sys
import threading

from lines import commands, described, numbered, say
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

PATIENCE = 15


class Client:
    def __init__(self, port, ca=None, name=None):
        self.context = ssl.create_default_context(cafile=ca) if ca else None
        self.port = int(port)
        self.base = f"wss://{name}:{port}" if ca else f"ws://127.0.0.1:{port}"
        self.sessions = {}

    def connect(self, path, **more):
        return connect(
            self.base + path,
            host="127.0.0.1",
            port=self.port,
            ssl=self.context,
            proxy=None,
            max_size=None,
            ping_interval=None,
            open_timeout=PATIENCE,
            **more,
        )

    async def open(self, command):
        try:
            session = await self.connect(
                command.get("path", "/"),
                subprotocols=command.get("subprotocols"),
                additional_headers=command.get("headers"),
                origin=command.get("origin"),
                compression="deflate",
            )
        except InvalidStatus as refusal:
            response = refusal.response
            return {"status": response.status_code, "body": (response.body or b"").decode()}
        except (InvalidHandshake, OSError, EOFError) as error:
            return {"error": repr(error)}
        self.sessions[command["session"]] = session
        return {
            "status": session.response.status_code,
            "headers": [[name.lower(), value] for name, value in session.response.headers.raw_items()],
            "subprotocol": session.subprotocol,
            "extensions": [extension.name for extension in session.protocol.extensions],
        }

    async def send(self, command):
        session = self.sessions[command["session"]]
        if "size" in command:
            await session.send(numbered(command["size"]))
        else:
            await session.send(command["text"] if "text" in command else command["fragments"])
        return {}

    async def receive(self, command):
        try:
            message = await asyncio.wait_for(self.sessions[command["session"]].recv(), PATIENCE)
        except ConnectionClosed as end:
            return {"closed": True, "code": end.rcvd and end.rcvd.code, "reason": end.rcvd and end.rcvd.reason}
        if isinstance(message, str):
            return {"text": message}
        return described(message) | {"binary": True}

    async def ping(self, command):
        pong = await self.sessions[command["session"]].ping(command["data"])
        await asyncio.wait_for(pong, PATIENCE)
        return {"pong": True}

    async def close(self, command):
        session = self.sessions[command["session"]]
        await session.close(command.get("code", 1000), command.get("reason", ""))
        received = session.protocol.close_rcvd
        return {"code": received and received.code, "reason": received and received.reason}

    async def abort(self, command):
        self.sessions[command["session"]].transport.abort()
        return {}

    async def many(self, command):
        """So many sessions that are open at the same time and talk by turns."""
        sessions = await asyncio.gather(*(self.connect(f"/{n}") for n in range(command["count"])))
        good = 0
        for turn in range(3):
            await asyncio.gather(*(session.send(f"{n} {turn}") for n, session in enumerate(sessions)))
            answers = await asyncio.gather(*(asyncio.wait_for(session.recv(), PATIENCE) for session in sessions))
            good += sum(answer == f"{n} {turn}" for n, answer in enumerate(answers))
        await asyncio.gather(*(session.close() for session in sessions))
        codes = sorted({session.close_code for session in sessions})
        return {"good": good, "codes": codes}


async def main():
    client = Client(*sys.argv[1:])
    loop, todo = asyncio.get_running_loop(), asyncio.Queue()

    def read():
        for command in commands():
            loop.call_soon_threadsafe(todo.put_nowait, command)

    threading.Thread(target=read, daemon=True).start()
    while True:
        command = await todo.get()
        say(id=command["id"], **await getattr(client, command["do"])(command))


asyncio.run(main())
