"""The digest of a model file."""

import hashlib
import re


def digest(content):
    """The SHA-256 of a model file as it is without the hash in its metadata, which must be that SHA-256."""
    length = int.from_bytes(content[:8], "little")
    header, values = content[8 : 8 + length], content[8 + length :]
    entry = re.search(rb',"sha256":"([0-9a-f]{64})"', header)
    if not entry:
        raise ValueError("no hash in the metadata of the model")
    header = (header[: entry.start()] + header[entry.end() :]).rstrip(b" ")
    header += b" " * (-len(header) % 8)
    found = hashlib.sha256(len(header).to_bytes(8, "little") + header + values).hexdigest()
    if found != entry[1].decode():
        raise ValueError(f"the hash in the model is {entry[1].decode()}: expected {found}")
    return found
