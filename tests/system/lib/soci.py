# SPDX-License-Identifier: Apache-2.0
"""SOCI indexes for gzip layers, written from the format's facts: nothing in Debian makes them."""
import ctypes
import ctypes.util
import gzip
import hashlib
import io
import json
import struct
import tarfile
import time

from .images import OCI_INDEX, OCI_MANIFEST
from .registry import digest_of

INDEX_V1 = "application/vnd.amazon.soci.index.v1+json"
INDEX_V2 = "application/vnd.amazon.soci.index.v2+json"
PREFETCH = "application/vnd.amazon.soci.prefetch.v1+json"
ANNOTATION = "com.amazon.soci."
SPAN_BYTES = 1 << 20
WINDOW_BYTES = 32768

# zlib.h
Z_OK, Z_STREAM_END, Z_BLOCK, WINDOW_BITS_GZIP = 0, 1, 5, 31
AT_BLOCK, LAST_BLOCK, UNUSED_BITS = 128, 64, 7


class ZStream(ctypes.Structure):
    _fields_ = [("next_in", ctypes.c_void_p), ("avail_in", ctypes.c_uint),
                ("total_in", ctypes.c_ulong), ("next_out", ctypes.c_void_p),
                ("avail_out", ctypes.c_uint), ("total_out", ctypes.c_ulong),
                ("msg", ctypes.c_char_p), ("state", ctypes.c_void_p),
                ("zalloc", ctypes.c_void_p), ("zfree", ctypes.c_void_p),
                ("opaque", ctypes.c_void_p), ("data_type", ctypes.c_int),
                ("adler", ctypes.c_ulong), ("reserved", ctypes.c_ulong)]


def libz():
    library = ctypes.CDLL(ctypes.util.find_library("z"))
    library.zlibVersion.restype = ctypes.c_char_p
    return library


def checkpoints(compressed, size, span=SPAN_BYTES):
    """
    (uncompressed bytes, [(in, out, bits, window)]), at block boundaries. As SOCI does it, further
    gzip members belong to the last span of the first.
    """
    z, stream = libz(), ZStream()
    source = ctypes.create_string_buffer(compressed, len(compressed))
    output = ctypes.create_string_buffer(size + 1)
    stream.next_in, stream.avail_in = ctypes.addressof(source), len(compressed)
    stream.next_out, stream.avail_out = ctypes.addressof(output), size + 1
    status = z.inflateInit2_(ctypes.byref(stream), WINDOW_BITS_GZIP, z.zlibVersion(),
                             ctypes.sizeof(ZStream))
    assert status == Z_OK
    points = []
    while status != Z_STREAM_END:
        status = z.inflate(ctypes.byref(stream), Z_BLOCK)
        assert status in (Z_OK, Z_STREAM_END), status
        kind, out = stream.data_type, stream.total_out
        if not kind & AT_BLOCK or kind & LAST_BLOCK:
            continue
        if not points or out - points[-1][1] >= span:
            window = output.raw[max(0, out - WINDOW_BYTES):out].rjust(WINDOW_BYTES, b"\0")
            points.append((stream.total_in, out, kind & UNUSED_BITS, window))
    z.inflateEnd(ctypes.byref(stream))
    return gzip.decompress(compressed), points


class Flat:
    """Enough of a flatbuffer writer: parents first, so that every offset points forward."""

    SCALARS = {"i8": "b", "i32": "i", "u32": "I", "i64": "q"}

    def __init__(self):
        self.data = bytearray(4)

    def align(self, to):
        self.data += bytes(-len(self.data) % to)

    def patch(self, place, target):
        struct.pack_into("<I", self.data, place, target - place)

    def finish(self, root):
        self.patch(0, self.write(root))
        return bytes(self.data)

    def write(self, value):
        """Writes a table (tuple of fields), a vector (list, bytes) or a string; returns its place."""
        if isinstance(value, tuple):
            return self.table(value)
        self.align(4)
        place = len(self.data)
        if isinstance(value, str):
            value = value.encode("utf-8", "surrogateescape")
            self.data += struct.pack("<I", len(value)) + value + b"\0"
        elif isinstance(value, bytes):
            self.data += struct.pack("<I", len(value)) + value
        else:
            self.data += struct.pack("<I", len(value)) + bytes(4 * len(value))
            for number, child in enumerate(value):
                self.patch(place + 4 + 4 * number, self.write(child))
        return place

    def table(self, fields):
        """fields: None (left out), (type, number), or a child."""
        offsets, at = [], 4
        for field in fields:
            width = 4
            if is_scalar(field):
                width = struct.calcsize(self.SCALARS[field[0]])
            # The table begins at a multiple of 8, so that offsets align by themselves.
            at += -at % width if field is not None else 0
            offsets.append(at if field is not None else 0)
            at += width if field is not None else 0
        vtable = struct.pack(f"<HH{len(offsets)}H", 4 + 2 * len(offsets), at, *offsets)
        self.align(8)
        self.data += bytes(-len(vtable) % 8) + vtable
        place = len(self.data)
        self.data += bytes(at)
        struct.pack_into("<i", self.data, place, len(vtable))
        for field, offset in zip(fields, offsets):
            if field is None:
                continue
            if is_scalar(field):
                struct.pack_into("<" + self.SCALARS[field[0]], self.data, place + offset, field[1])
            else:
                self.patch(place + offset, self.write(field))
        return place


def is_scalar(field):
    return isinstance(field, tuple) and len(field) == 2 and field[0] in Flat.SCALARS


TYPES = {tarfile.REGTYPE: "reg", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink",
         tarfile.LNKTYPE: "hardlink", tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block",
         tarfile.FIFOTYPE: "fifo"}


def file_metadata(member):
    seconds, _, fraction = str(member.pax_headers.get("mtime", member.mtime)).partition(".")
    mtime = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(seconds)))
    fraction = fraction.rstrip("0")
    xattrs = [(key, value) for key, value in member.pax_headers.items() if "xattr" in key]
    return (member.name + "/" * member.isdir(), TYPES[member.type],
            ("i64", member.offset_data), ("i64", member.size), member.linkname,
            ("i64", member.mode), ("u32", member.uid), ("u32", member.gid), member.uname,
            member.gname, mtime + ("." + fraction if fraction else "") + "Z",
            ("i64", member.devmajor), ("i64", member.devminor), xattrs or None)


def toc(tar):
    """(files, bytes up to the end marker): SOCI does not count the padding behind it."""
    with tarfile.open(fileobj=io.BytesIO(tar), encoding="utf-8", errors="surrogateescape") as t:
        files = [file_metadata(member) for member in t]
        return files, t.offset + 2 * tarfile.BLOCKSIZE


def span_digests(compressed, ranges):
    return ["sha256:" + hashlib.sha256(compressed[start:end]).hexdigest() for start, end in ranges]


def write(compressed, tar, algorithm, digests, checkpoint_bytes):
    files, size = toc(tar)
    return Flat().finish((
        "0.9", "Sluice's tests", ("i64", len(compressed)), ("i64", size), (files,),
        (algorithm and ("i8", algorithm), ("i32", len(digests) - 1), digests, checkpoint_bytes)))


def ztoc(compressed, size, span=SPAN_BYTES, zinfo=2):
    """The zTOC of a gzip layer with `size` uncompressed bytes; zinfo 1 has no first checkpoint."""
    tar, points = checkpoints(compressed, size, span)
    starts = [start - (bits != 0) for start, _, bits, _ in points]
    ends = [start for start, _, _, _ in points[1:]] + [len(compressed)]
    packed = struct.pack("<iq", len(points), span)
    packed += b"".join(struct.pack("<qqB", i, o, b) + window
                       for i, o, b, window in points[1 if zinfo == 1 else 0:])
    return write(compressed, tar, None, span_digests(compressed, zip(starts, ends)), packed)


def ztoc_of_tar(tar, span=SPAN_BYTES):
    """The zTOC of an uncompressed layer."""
    ranges = [(at, at + span) for at in range(0, len(tar), span)]
    return write(tar, tar, 2, span_digests(tar, ranges), struct.pack("<iqq", 2, span, len(tar)))


def layer_descriptor(blob, layer, span=SPAN_BYTES):
    return {"mediaType": "application/octet-stream", "digest": digest_of(blob), "size": len(blob),
            "annotations": {ANNOTATION + "image-layer-digest": layer["digest"],
                            ANNOTATION + "image-layer-mediaType": layer["mediaType"],
                            ANNOTATION + "span-size": str(span)}}


def prefetch_descriptor(blob, layer):
    return {"mediaType": PREFETCH, "digest": digest_of(blob), "size": len(blob),
            "annotations": {ANNOTATION + "image-layer-digest": layer["digest"]}}


def publish(server, repository, tag, layer_bytes, sizes, version=1, change=bytes, make=ztoc,
            prefetch=()):
    """
    Puts a SOCI index beside repository:tag. layer_bytes and sizes: the compressed bytes (None: the
    index leaves the layer out) and the uncompressed size of each layer; change may spoil a zTOC.
    prefetch: pairs of a layer's number and the bytes of its prefetch list. Returns the index's
    digest.
    """
    digest, data = server.get_manifest(repository, tag)
    document, config_type = json.loads(data), INDEX_V1 if version == 1 else INDEX_V2
    indexed = [n for n, b in enumerate(layer_bytes) if b is not None]
    blobs = [change(make(layer_bytes[n], sizes[n])) for n in indexed]
    for blob in blobs + [data for _, data in prefetch]:
        server.put_blob(repository, blob)
    lists = [prefetch_descriptor(data, document["layers"][n]) for n, data in prefetch]
    config = {"mediaType": config_type, "digest": server.put_blob(repository, b"{}"), "size": 2}
    index = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config,
             "layers": [layer_descriptor(blob, document["layers"][n])
                        for blob, n in zip(blobs, indexed)] + lists,
             "annotations": {ANNOTATION + "build-tool-identifier": "Sluice's tests"}}
    subject = {"mediaType": document["mediaType"], "digest": digest, "size": len(data)}
    if version == 1:
        index["subject"] = subject
    text = json.dumps(index).encode()
    entry = {"mediaType": OCI_MANIFEST, "digest": digest_of(text), "size": len(text),
             "artifactType": config_type}
    server.put_manifest(repository, entry["digest"], text)
    if version == 1:
        server.put_manifest(repository, digest.replace(":", "-"), {
            "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]})
        return entry["digest"]
    document.setdefault("annotations", {})[ANNOTATION + "index-digest"] = entry["digest"]
    image = json.dumps(document).encode()
    platform = json.loads(server.request(
        "GET", f"/v2/{repository}/blobs/{document['config']['digest']}")[2])
    server.put_manifest(repository, digest_of(image), image)
    server.put_manifest(repository, tag, {
        "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
            {"mediaType": document["mediaType"], "digest": digest_of(image), "size": len(image),
             "platform": {"architecture": platform["architecture"], "os": platform["os"]}},
            entry]})
    return entry["digest"]
