# SPDX-License-Identifier: Apache-2.0
"""Documents of the runtime-spec: the published vectors, our own mistakes, and how they are told."""
import gzip
import io
import json
import shutil
import subprocess
import tarfile
import uuid
from pathlib import Path

import pytest

from conftest import PROGRAM, TREE
from lib import images, run, schema
from lib.registry import digest_of

TABLES = Path(TREE, "tests/unit/data")
BROKEN = json.loads((TABLES / "broken_configs.json").read_text())
GOOD = json.loads((TABLES / "good_configs.json").read_text())
KINDS = ("config", "state", "features")


def validate(*arguments, document=None):
    """Status, standard output and standard error of `sluice spec validate`."""
    given = document if document is None or isinstance(document, str) else json.dumps(document)
    result = subprocess.run([PROGRAM, "spec", "validate", *arguments], input=given,
                            capture_output=True, text=True, timeout=30)
    return result.returncode, result.stdout, result.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_published_vectors(kind):
    folder = schema.shared_data("runtime-spec-1.3", "test", kind)
    vectors = sorted(folder.glob("*/*.json"))
    assert {path.parent.name for path in vectors} == {"good", "bad"}
    for path in vectors:
        status, said, wrong = validate("--kind", kind, path)
        assert wrong == ""
        assert status == (path.parent.name == "bad"), f"{path}: {said}"


def test_schema_accepts_what_we_refuse():
    """The table holds what only the text of the specification forbids."""
    checker = schema.validator("config")
    assert len(BROKEN["broken"]) >= 60
    for name, _, _, edits in BROKEN["broken"]:
        document = schema.edited(BROKEN["base"], edits)
        assert [e.message for e in checker.iter_errors(document)] == [], name


def test_schema_accepts_what_is_good():
    checker = schema.validator("config")
    documents = list(GOOD["documents"].values())
    documents += [schema.edited(BROKEN["base"], edits) for _, edits in GOOD["edits"]]
    for document in documents:
        assert [e.message for e in checker.iter_errors(document)] == [], document


def pointer_of(steps):
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def places(value, *way):
    """(pointer, value) of all that is within a document."""
    items = value.items() if isinstance(value, dict) else \
        enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield pointer_of([*way, key]), below
        yield from places(below, *way, key)


def refused(checker, document):
    """Where the schema refuses a value. What is required and missing has a place of its own here."""
    def is_missing(error):
        return error.validator == "required" or bool(error.context) and all(
            map(is_missing, error.context))
    return {pointer_of(e.absolute_path) for e in checker.iter_errors(document) if not is_missing(e)}


def test_schema_and_program_agree():
    """Each value in turn is replaced by one of another type: refused by both, at the same place."""
    checker = schema.validator("config")
    document = GOOD["documents"]["as an engine writes"]

    tried = 0
    for pointer, _ in places(document):
        for other in (True, "x", [], {}, None, -(1 << 70)):
            changed = schema.edited(document, [[pointer, other]])
            if pointer not in refused(checker, changed):
                continue
            tried += 1
            if tried % 4 != 0:  # each is a program that runs
                continue
            status, said, _ = validate("--format", "json", "-", document=changed)
            found = [f["pointer"] for f in json.loads(said)["findings"]]
            assert status == 1 and pointer in found, f"{pointer}: {other}: {found}"
    assert tried > 500


def test_lines():
    document = schema.edited(BROKEN["base"], [["/process/cwd", "app"], ["/annotations/a\x1b", 5]])
    assert validate("-", document=document) == (1, (
        "/annotations/a\\033: must be a string, but is 5 (config.md#annotations)\n"
        "/process/cwd: must be an absolute path, but is \"app\" (config.md#process)\n"), "")


def test_json():
    status, said, _ = validate("--format", "json", "-", document='{"ociVersion": "1.0.0"}')
    assert status == 1
    assert json.loads(said) == {"kind": "config", "valid": False, "left_off": 0, "findings": [
        {"pointer": "/root", "text": "is required, but is missing", "section": "config.md#root"}]}
    status, said, _ = validate("--format", "json", "-", document=BROKEN["base"])
    assert status == 0
    assert json.loads(said) == {"kind": "config", "valid": True, "left_off": 0, "findings": []}


def test_nothing_wrong(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(BROKEN["base"]))
    assert validate(path) == (0, f"nothing is wrong with {path}\n", "")
    assert validate("-", document=BROKEN["base"]) == (0, "nothing is wrong with the standard input\n", "")


def test_many():
    document = schema.edited(BROKEN["base"], [["/process/env", ["A"] * 1000]])
    status, said, _ = validate("-", document=document)
    lines = said.splitlines()
    assert status == 1 and len(lines) == 257 and lines[-1] == "and 744 more"


def test_misuse(sluice, tmp_path):
    sluice.refuses("spec", "validate", tmp_path / "nothing", words="No such file or directory")
    sluice.refuses("spec", "validate", tmp_path, words="Is a directory")
    sluice.refuses("spec", "validate", words="takes one more word", status=2)
    (tmp_path / "large").write_bytes(b" " * (8 << 20) + b"{}")
    sluice.refuses("spec", "validate", tmp_path / "large", words="larger than a document may be")
    sluice.refuses("spec", "check", "x", words="there is no 'spec check'", status=2)
    sluice.refuses("spec", "new", "x", words="takes no more words", status=2)
    sluice.refuses("spec", "convert", words="takes one more word", status=2)
    sluice.refuses("spec", "validate", "--kind", "image", "-", words="--kind does not take 'image'",
                   status=2)


def test_features_are_valid(sluice):
    said = sluice("spec", "features").stdout
    assert validate("--kind", "features", "-", document=said)[0] == 0
    features = json.loads(said)
    assert features["ociVersionMax"] == "1.3.0"
    assert "CAP_CHECKPOINT_RESTORE" in features["linux"]["capabilities"]
    assert "SCMP_ACT_NOTIFY" in features["linux"]["seccomp"]["actions"]


def test_features_of_a_runtime(sluice, tmp_path):
    said = sluice("spec", "features", "--runtime", "runc").stdout
    assert json.loads(said)["annotations"]["org.opencontainers.runc.version"]
    crun = subprocess.run(["crun", "features"], capture_output=True)
    if crun.returncode != 0:
        sluice.refuses("spec", "features", "--runtime", "crun", words="does not tell them")
    sluice.refuses("spec", "features", "--runtime", "no-such-runtime", words="in PATH")
    sluice.refuses("spec", "features", "--runtime", "/bin/true", words="is no document of them")
    liar = tmp_path / "liar"
    liar.write_text("#!/bin/sh\necho '{\"ociVersionMin\": \"1.0\", \"ociVersionMax\": \"1.0.0\"}'\n")
    liar.chmod(0o755)
    sluice.refuses("spec", "features", "--runtime", liar, words="/ociVersionMin: must be a version")


def test_new_is_valid(sluice):
    said = sluice("spec", "new").stdout
    assert validate("-", document=said) == (0, "nothing is wrong with the standard input\n", "")
    config = json.loads(said)
    assert config["process"]["args"] == ["sh"]
    assert config["process"]["noNewPrivileges"] is True
    assert len(config["process"]["capabilities"]["bounding"]) == 14
    assert "/proc/kcore" in config["linux"]["maskedPaths"]


@pytest.mark.skipif(not all(map(shutil.which, ("busybox", "runc"))), reason="no busybox or no runc")
def test_new_runs(sluice, tmp_path):
    bundle = tmp_path / "bundle"
    (bundle / "rootfs/bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), bundle / "rootfs/bin/busybox")
    (bundle / "rootfs/bin/sh").symlink_to("busybox")
    config = json.loads(sluice("spec", "new").stdout)
    config["process"]["args"] += ["-c", "echo $0 $PATH; id -u"]
    (bundle / "config.json").write_text(json.dumps(config))
    said = run.run("runc", "--root", tmp_path / "state", "run", "--bundle", bundle,
                   f"sluice-test-{uuid.uuid4().hex[:12]}", stdin=subprocess.DEVNULL).stdout
    assert said == "sh /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n0\n"


def layer(files):
    """A tar of these files, with their directories."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.mode = 0o644
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, Path):
                member.type, member.linkname = tarfile.SYMTYPE, str(content)
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content if isinstance(content, bytes) else b""))
    return out.getvalue()


def image(place, files, config, **more):
    tar = layer(files)
    layout = images.Layout(place)
    blob = layout.blob(gzip.compress(tar, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip")
    document = {"architecture": images.ARCHITECTURE, "os": "linux", "config": config,
                "rootfs": {"type": "layers", "diff_ids": [digest_of(tar)]}, **more}
    manifest = {"schemaVersion": 2, "mediaType": images.OCI_MANIFEST, "layers": [blob],
                "config": layout.blob(document, images.OCI_CONFIG)}
    layout.tag(layout.blob(manifest, images.OCI_MANIFEST))
    return f"oci:{place}:latest"


ETC = {"etc": None, "etc/passwd": b"root:x:0:0::/root:/bin/sh\napp:x:7:8::/srv/app:/bin/sh\n",
       "etc/group": Path("/lib/group"), "lib": None, "lib/group": b"app:x:8:\nextra:x:9:app\n"}


def test_convert(sluice, tmp_path):
    name = image(tmp_path / "image", ETC, {
        "User": "app", "WorkingDir": "/srv", "Entrypoint": ["/bin/app"], "Cmd": ["--serve", "a b"],
        "Env": ["A=b=c", "PATH=/bin"], "StopSignal": "SIGINT", "ExposedPorts": {"80/tcp": {}},
        "Labels": {"org.example.a": "x", "run.oci.seccomp_bpf_data": "bad"},
    }, author="somebody")
    said = sluice("spec", "convert", name).stdout
    assert validate("-", document=said)[0] == 0
    config = json.loads(said)
    process = config["process"]
    assert process["args"] == ["/bin/app", "--serve", "a b"]
    assert process["cwd"] == "/srv"
    assert process["env"] == ["A=b=c", "PATH=/bin", "HOME=/srv/app"]
    assert process["user"] == {"uid": 7, "gid": 8, "additionalGids": [8, 9]}
    assert not process["capabilities"].get("effective")
    annotations = config["annotations"]
    assert annotations["org.opencontainers.image.author"] == "somebody"
    assert annotations["org.opencontainers.image.stopSignal"] == "SIGINT"
    assert annotations["org.opencontainers.image.exposedPorts"] == "80/tcp"
    assert annotations["org.example.a"] == "x"
    assert "run.oci.seccomp_bpf_data" not in annotations


def test_convert_refuses(sluice, tmp_path):
    name = image(tmp_path / "nobody", ETC, {"User": "bob", "Cmd": ["sh"]})
    sluice.refuses("spec", "convert", name, words=[name, "there is no user 'bob'"])
    name = image(tmp_path / "nothing", ETC, {"User": "app"})
    sluice.refuses("spec", "convert", name, words=[name, "command"])
    name = image(tmp_path / "odd", {"etc": None, "etc/passwd": None}, {"Cmd": ["sh"]})
    sluice.refuses("spec", "convert", name, words="/etc/passwd: not a regular file")
    name = image(tmp_path / "bare", {"etc": None}, {"Cmd": ["sh"]})
    assert json.loads(sluice("spec", "convert", name).stdout)["process"]["user"]["uid"] == 0
