#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A registry that misbehaves on request.

Serves an OCI layout over HTTP/1.1 on the loopback, under any repository name,
and does to chosen requests what a list of rules says. Every request becomes
one line of JSON in the log. Nothing but the standard library.

A rule is a dict; the first that matches a request and has not been used up
decides what happens:

  method, path   regular expressions that match the whole method and path
                 (with query); absent: any
  skip, times    how many matching requests to let pass first, and how many
                 to take after that (absent: 0 and all)

and the fault:

  status, headers, body    this answer (body: text or bytes)
  raw                      these bytes in place of an answer
  add_headers              the usual answer, with headers changed (null: removed)
  ignore_range             the usual answer to the request without its Range
  shift                    the range that begins this many bytes later
  truncate                 the usual answer, the connection cut after n body bytes
  stall                    as truncate, but silent instead of cut
  flip                     the usual answer, this byte of the body inverted
  endless                  a chunked body without end
  reset                    TCP reset before any answer
  reset_after              reads n bytes of the request's body, keeps them, resets
  close                    the usual answer, then the connection is reset silently
  gate                     the usual answer, once this threading.Event is set
"""

import argparse
import hashlib
import http.server
import json
import os
import re
import socket
import socketserver
import struct
import sys
import threading
import time
import urllib.parse
from pathlib import Path

STALL_SECONDS = 60
ENDLESS_PIECE = b"x" * 65536


class Layout:
    """The content: an OCI layout that uploads may add to."""

    def __init__(self, root):
        self.root = Path(root)
        self.blobs = self.root / "blobs" / "sha256"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.tags = {}
        index = self.root / "index.json"
        if index.exists():
            for entry in json.loads(index.read_text())["manifests"]:
                name = entry.get("annotations", {}).get("org.opencontainers.image.ref.name")
                if name:
                    self.tags[name] = entry["digest"]

    def put(self, data):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        (self.blobs / digest[7:]).write_bytes(data)
        return digest

    def get(self, digest):
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            return None
        path = self.blobs / digest[7:]
        return path.read_bytes() if path.exists() else None

    def referrers(self, subject, annotated=False):
        found = []
        for path in sorted(self.blobs.iterdir()):
            data = path.read_bytes()
            if not data.startswith(b"{"):
                continue
            doc = json.loads(data)
            if doc.get("subject", {}).get("digest") == subject:
                found.append({"mediaType": doc["mediaType"], "digest": "sha256:" + path.name,
                              "size": len(data), "artifactType": doc.get("artifactType", ""),
                              **({"annotations": doc["annotations"]}
                                 if annotated and "annotations" in doc else {})})
        return found


class FaultServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, root, rules=(), referrers_api=True, auth=None, log=None, port=0,
                 annotated=False):
        super().__init__(("127.0.0.1", port), Handler)
        self.layout = Layout(root)
        self.rules = [dict(rule, seen=0, used=0) for rule in rules]
        self.referrers_api = referrers_api
        self.annotated = annotated  # referrers come with their annotations
        self.auth = auth  # None, or {"user", "password", "expires_in"}: tokens are needed
        self.tokens = {}  # token: when it ends
        self.requests = []
        self.uploads = {}
        self.lock = threading.Lock()
        self.log = open(log, "a", buffering=1, encoding="utf-8") if log else None
        self.connections = 0
        self.endless_bytes = 0

    @property
    def host(self):
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self):
        return f"http://{self.host}"

    def start(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self):
        self.shutdown()
        self.server_close()
        if self.log:
            self.log.close()

    def add_rule(self, **rule):
        with self.lock:
            self.rules.append(dict(rule, seen=0, used=0))

    def rule_for(self, method, path):
        with self.lock:
            for rule in self.rules:
                if not re.fullmatch(rule.get("method", ".*"), method):
                    continue
                if not re.fullmatch(rule.get("path", ".*"), path):
                    continue
                rule["seen"] += 1
                if rule["seen"] <= rule.get("skip", 0):
                    continue
                if rule["used"] >= rule.get("times", sys.maxsize):
                    continue
                rule["used"] += 1
                return rule
        return {}

    def note(self, record):
        with self.lock:
            self.requests.append(record)
            if self.log:
                self.log.write(json.dumps(record) + "\n")

    def handle_error(self, request, client_address):
        """A client that hangs up is what half of the tests are about."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        with self.server.lock:
            self.server.connections += 1
            self.connection_number = self.server.connections

    def log_message(self, *_args):
        pass

    def do_any(self):
        self.rule = self.server.rule_for(self.command, self.path)
        self.server.note({"method": self.command, "path": self.path,
                          "connection": self.connection_number,
                          "headers": {k.lower(): v for k, v in self.headers.items()}})
        if self.rule.get("reset"):
            self.reset()
            return
        length = int(self.headers.get("Content-Length", 0))
        if "reset_after" in self.rule:
            self.keep_part(self.rfile.read(min(length, self.rule["reset_after"])))
            self.reset()
            return
        self.body = self.rfile.read(length)
        if "gate" in self.rule:
            self.rule["gate"].wait(STALL_SECONDS)
        if self.rule.get("raw") is not None:
            self.wfile.write(as_bytes(self.rule["raw"]))
            self.close_connection = True
        elif self.rule.get("endless"):
            self.endless()
        elif "status" in self.rule:
            self.answer(self.rule["status"], self.rule.get("headers", {}),
                        as_bytes(self.rule.get("body", b"")))
        else:
            self.route()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_any

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RD)
        self.close_connection = True
        self.connection.close()

    def endless(self):
        self.send_response(200)
        for name, value in self.rule.get("headers", {}).items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(ENDLESS_PIECE), ENDLESS_PIECE))
            self.server.endless_bytes += len(ENDLESS_PIECE)

    def answer(self, status, headers, body=b""):
        if self.rule.get("flip") is not None and self.rule["flip"] < len(body):
            at = self.rule["flip"]
            body = body[:at] + bytes([body[at] ^ 0xff]) + body[at + 1:]
        headers = {"Content-Length": str(len(body)), **headers}
        for name, value in self.rule.get("add_headers", {}).items():
            headers[name] = value
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = self.rule.get("truncate", self.rule.get("stall"))
        self.wfile.write(body if cut is None else body[:cut])
        if "stall" in self.rule:
            self.wfile.flush()
            time.sleep(self.rule.get("seconds", STALL_SECONDS))
        if cut is not None:
            self.close_connection = True
        if self.rule.get("close"):
            self.wfile.flush()
            time.sleep(0.05)
            self.reset()

    def error(self, status, code):
        doc = {"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}
        self.answer(status, {"Content-Type": "application/json"}, json.dumps(doc).encode())

    def route(self):
        url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/token":
            self.token()
            return
        if self.server.auth is not None and not self.authorized():
            self.answer(401, {"WWW-Authenticate":
                              f'Bearer realm="{self.server.url}/token",service="faulty",'
                              f'scope="repository:a/b:pull"'})
            return
        if url.path == "/v2/":
            self.answer(200, {})
            return
        for method, pattern, act in ROUTES:
            match = re.fullmatch(pattern, url.path)
            if match and re.fullmatch(method, self.command):
                act(self, *match.groups())
                return
        self.error(404, "NOT_FOUND")

    def token(self):
        auth = self.server.auth
        token = f"tok-{len(self.server.tokens)}"
        self.server.tokens[token] = time.monotonic() + auth.get("valid", 3600)
        doc = {"token": token, "expires_in": auth.get("expires_in", 300)}
        self.answer(200, {"Content-Type": "application/json"}, json.dumps(doc).encode())

    def authorized(self):
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        return kind == "Bearer" and self.server.tokens.get(token, 0) > time.monotonic()

    def manifest(self, name):
        layout = self.server.layout
        digest = layout.tags.get(name, name)
        data = layout.get(digest)
        if data is None:
            self.error(404, "MANIFEST_UNKNOWN")
            return
        kind = json.loads(data).get("mediaType", "application/octet-stream")
        self.answer(200, {"Content-Type": kind, "Docker-Content-Digest": digest}, data)

    def blob(self, digest):
        data = self.server.layout.get(digest)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if data is None:
            self.error(404, "BLOB_UNKNOWN")
        elif wanted and not self.rule.get("ignore_range"):
            first, last = (int(n) + self.rule.get("shift", 0) for n in wanted.groups())
            last = min(last, len(data) - 1)
            if first > last:
                self.answer(416, {"Content-Range": f"bytes */{len(data)}"})
                return
            self.answer(206, {"Content-Range": f"bytes {first}-{last}/{len(data)}"},
                        data[first:last + 1])
        else:
            self.answer(200, {"Docker-Content-Digest": digest}, data)

    def list_referrers(self, subject):
        if not self.server.referrers_api:
            self.answer(404, {"Content-Type": "text/plain"}, b"404 page not found\n")
            return
        doc = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
               "manifests": self.server.layout.referrers(subject, self.server.annotated)}
        self.answer(200, {"Content-Type": doc["mediaType"]}, json.dumps(doc).encode())

    def upload_headers(self, name, session):
        got = len(self.server.uploads[session])
        return {"Location": f"/v2/{name}/blobs/uploads/{session}?state={got}",
                "Range": f"0-{max(got - 1, 0)}"}

    def upload_open(self, name):
        if "mount" in self.query and self.server.layout.get(self.query["mount"]):
            self.answer(201, {"Location": f"/v2/{name}/blobs/{self.query['mount']}"})
            return
        session = f"s{len(self.server.uploads)}"
        self.server.uploads[session] = b""
        self.answer(202, self.upload_headers(name, session))

    def upload_at(self, name, session):
        if session not in self.server.uploads:
            self.error(404, "BLOB_UPLOAD_UNKNOWN")
        elif self.command == "GET":
            self.answer(204, self.upload_headers(name, session))
        elif self.command == "PATCH":
            start = self.headers.get("Content-Range", "0-").split("-")[0]
            if int(start) != len(self.server.uploads[session]):
                self.error(416, "RANGE_INVALID")
                return
            self.server.uploads[session] += self.body
            self.answer(202, self.upload_headers(name, session))
        else:
            data = self.server.uploads.pop(session) + self.body
            if "sha256:" + hashlib.sha256(data).hexdigest() != self.query.get("digest"):
                self.error(400, "DIGEST_INVALID")
                return
            self.answer(201, {"Location": f"/v2/{name}/blobs/{self.server.layout.put(data)}"})

    def keep_part(self, part):
        match = re.fullmatch(r"/v2/.+/blobs/uploads/([^/?]+).*", self.path)
        if match and match.group(1) in self.server.uploads:
            self.server.uploads[match.group(1)] += part

    def manifest_put(self, name):
        digest = self.server.layout.put(self.body)
        if not name.startswith("sha256:"):
            self.server.layout.tags[name] = digest
        headers = {"Docker-Content-Digest": digest}
        subject = json.loads(self.body).get("subject", {}).get("digest")
        if subject and self.server.referrers_api:
            headers["OCI-Subject"] = subject
        self.answer(201, headers)


ROUTES = [
    ("PUT", r"/v2/.+/manifests/([^/]+)", Handler.manifest_put),
    ("GET|HEAD", r"/v2/.+/manifests/([^/]+)", Handler.manifest),
    ("GET|HEAD", r"/v2/.+/blobs/(sha256:[^/]+)", Handler.blob),
    ("GET", r"/v2/.+/referrers/([^/]+)", Handler.list_referrers),
    ("POST", r"/v2/(.+)/blobs/uploads/", Handler.upload_open),
    ("GET|PATCH|PUT", r"/v2/(.+)/blobs/uploads/([^/]+)", Handler.upload_at),
]


def as_bytes(text):
    return text if isinstance(text, bytes) else text.encode()


def main():
    parser = argparse.ArgumentParser(description="an OCI registry with faults")
    parser.add_argument("root", help="an OCI layout; made when it is missing")
    parser.add_argument("--rules", help="a JSON file: a list of rules")
    parser.add_argument("--log", help="append a line of JSON for every request")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--no-referrers", action="store_true")
    args = parser.parse_args()
    os.makedirs(args.root, exist_ok=True)
    rules = json.loads(Path(args.rules).read_text()) if args.rules else []
    server = FaultServer(args.root, rules, referrers_api=not args.no_referrers, log=args.log,
                         port=args.port)
    print(server.host, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
