"""A backend for demonstrations: answers every request with what it received, as JSON.

usage: backend.py PORT
"""

import http.server
import json
import sys


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open
    wbufsize = 64 * 1024  # head and body leave together

    def answer(self):
        body = self.read_body()
        seen = {
            "method": self.command,
            "path": self.path,
            "headers": dict(self.headers.items()),
            "body_bytes": len(body),
        }
        text = json.dumps(seen, indent=2).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self.read_chunks()
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def read_chunks(self):
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def log_message(self, *_):
        """The gateway logs; one log is enough."""


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, *_):
        """A caller that breaks off is no news."""


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    try:
        Server(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
