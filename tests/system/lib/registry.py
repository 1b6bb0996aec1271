# SPDX-License-Identifier: Apache-2.0
"""Registries: Debian's docker-registry plain, with token auth, and behind a redirecting nginx."""
import base64
import hashlib
import http.server
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from . import run

USER, PASSWORD = "anna", "correct horse"
SERVICE, ISSUER = "test-registry", "test-issuer"
TOKEN_SECONDS = 300

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Registry:
    """docker-registry on a loopback port, with its own folder."""

    credentials = None

    def __init__(self, place):
        self.place = Path(place)
        self.place.mkdir(parents=True, exist_ok=True)
        self.backend_port = self.port = run.free_port()
        self.config = {
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": str(self.place / "data")},
                        "delete": {"enabled": True}},
            "http": {"addr": f"127.0.0.1:{self.backend_port}"},
        }
        self.daemon = None

    @property
    def host(self):
        return f"localhost:{self.port}"

    def start(self):
        # YAML holds JSON.
        config = self.place / "registry.yml"
        config.write_text(json.dumps(self.config))
        self.daemon = run.Daemon(["docker-registry", "serve", str(config)], self.backend_port,
                                 self.place / "registry.log")
        self.daemon.start()
        return self

    def stop(self):
        if self.daemon:
            self.daemon.stop()

    def push(self, source, name, *options):
        """Copies an image with everything it holds; source and options in skopeo's words."""
        command = ["skopeo", "--insecure-policy", "copy", "--all", "--dest-tls-verify=false",
                   *(options or ["--preserve-digests"])]
        if self.credentials:
            command += ["--dest-creds", ":".join(self.credentials)]
        run.run(*command, source, f"docker://{self.host}/{name}")
        return f"{self.host}/{name}"

    def request(self, method, path, data=None, headers=None):
        """One request to the backend, past any front; (status, headers, body)."""
        url = urllib.parse.urljoin(f"http://127.0.0.1:{self.backend_port}/", path)
        request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def put_blob(self, repository, data):
        digest = digest_of(data)
        status, headers, body = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        assert status == 202, body
        place = headers["Location"]
        mark = "&" if "?" in place else "?"
        status, _, body = self.request("PUT", f"{place}{mark}digest={digest}", data,
                                       {"Content-Type": "application/octet-stream"})
        assert status == 201, body
        return digest

    def put_manifest(self, repository, reference, document):
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        kind = json.loads(data)["mediaType"]
        status, _, body = self.request("PUT", f"/v2/{repository}/manifests/{reference}", data,
                                       {"Content-Type": kind})
        assert status == 201, body
        return digest_of(data)

    def get_manifest(self, repository, reference):
        """(digest, bytes)"""
        status, _, body = self.request("GET", f"/v2/{repository}/manifests/{reference}",
                                       headers={"Accept": ", ".join(MANIFEST_TYPES)})
        assert status == 200, body
        return digest_of(body), body

    def blob_file(self, digest):
        """The file that holds a blob; writing to it is how a test corrupts one."""
        algorithm, _, text = digest.partition(":")
        return (self.place / "data/docker/registry/v2/blobs" / algorithm / text[:2] / text / "data")

    def requests(self, words):
        """The access log's lines that hold the words."""
        log = (self.place / "registry.log").read_text(errors="replace")
        return [line for line in log.splitlines() if "HTTP/1" in line and words in line]


class ProxyRegistry(Registry):
    """A pull-through cache of another registry. Asked for a range of a blob that it does not
    have yet, it sends the whole; from the second request on it sends ranges."""

    def __init__(self, place, remote):
        super().__init__(place)
        self.config["proxy"] = {"remoteurl": f"http://{remote.host}"}


NGINX = """
daemon off;
user root;
worker_processes 1;
pid {place}/nginx.pid;
error_log {place}/nginx-error.log;
events {{ worker_connections 256; }}
http {{
    access_log {place}/nginx-access.log;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    client_max_body_size 0;
    server {{
        listen 127.0.0.1:{port};
        location ~ "^/v2/.+/blobs/sha256:((..).*)$" {{
            if ($request_method = GET) {{
                return 307 http://127.0.0.1:{store_port}/sha256/$2/$1/data;
            }}
            proxy_pass http://127.0.0.1:{backend_port};
            proxy_set_header Host $http_host;
        }}
        location / {{
            proxy_pass http://127.0.0.1:{backend_port};
            proxy_set_header Host $http_host;
        }}
    }}
    server {{
        listen 127.0.0.1:{store_port};
        root {place}/data/docker/registry/v2/blobs;
        location / {{
            # As the stores behind presigned addresses do.
            if ($http_authorization) {{ return 400; }}
        }}
    }}
}}
"""


class RedirectRegistry(Registry):
    """GET of a blob is sent to another port, where nginx serves the registry's own files."""

    def __init__(self, place):
        super().__init__(place)
        self.port, self.store_port = run.free_port(), run.free_port()
        self.front = None

    def start(self):
        super().start()
        config = self.place / "nginx.conf"
        config.write_text(NGINX.format(place=self.place, port=self.port,
                                       store_port=self.store_port,
                                       backend_port=self.backend_port))
        self.front = run.Daemon(["nginx", "-p", str(self.place), "-c", str(config)], self.port,
                                self.place / "nginx.log")
        self.front.start()
        return self

    def stop(self):
        if self.front:
            self.front.stop()
        super().stop()


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenServer:
    """Gives out tokens signed with a key of its own, for the right user and password."""

    def __init__(self, place):
        self.place, self.port = Path(place), run.free_port()
        self.place.mkdir(parents=True, exist_ok=True)
        self.key, self.certificate = self.place / "key.pem", self.place / "cert.pem"
        self.seen, self.broken, self.seconds = [], None, TOKEN_SECONDS
        run.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                "-subj", "/CN=token server", "-keyout", self.key, "-out", self.certificate)
        der = run.run("openssl", "x509", "-in", self.certificate, "-outform", "DER", text=False,
                      errors=None).stdout
        self.chain = [base64.b64encode(der).decode()]

    @property
    def realm(self):
        return f"http://127.0.0.1:{self.port}/token"

    def token(self, scopes, now=None):
        now = int(now or time.time())
        access = []
        for scope in " ".join(scopes).split():
            kind, name, actions = scope.split(":", 2)
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        header = {"typ": "JWT", "alg": "RS256", "x5c": self.chain}
        claims = {"iss": ISSUER, "sub": USER, "aud": SERVICE, "iat": now, "nbf": now - 5,
                  "exp": now + self.seconds, "jti": str(len(self.seen)), "access": access}
        text = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
        signature = run.run("openssl", "dgst", "-sha256", "-sign", self.key, input=text.encode(),
                            text=False, errors=None).stdout
        return f"{text}.{base64url(signature)}"

    def answer(self, request):
        """(status, document) for one GET."""
        self.seen.append(request.path)
        if self.broken:
            return self.broken
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if request.headers.get("Authorization") != wanted:
            return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]}
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query)
        token = self.token(query.get("scope", []))
        return 200, {"token": token, "expires_in": max(self.seconds, 60)}

    def start(self):
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                status, document = owner.answer(self)
                body = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        return self

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class TokenRegistry(Registry):
    """Every request needs a token from a server of the test's own."""

    credentials = (USER, PASSWORD)

    def __init__(self, place):
        super().__init__(place)
        self.tokens = TokenServer(self.place / "tokens")
        self.config["auth"] = {"token": {
            "realm": self.tokens.realm, "service": SERVICE, "issuer": ISSUER,
            "rootcertbundle": str(self.tokens.certificate)}}

    def start(self):
        self.tokens.start()
        return super().start()

    def stop(self):
        super().stop()
        self.tokens.stop()

    def write_credentials(self, home, password=PASSWORD):
        """A docker config.json below home that knows this registry."""
        place = Path(home, ".docker")
        place.mkdir(parents=True, exist_ok=True)
        auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
        (place / "config.json").write_text(json.dumps({"auths": {self.host: {"auth": auth}}}))
        (place / "config.json").chmod(0o600)
