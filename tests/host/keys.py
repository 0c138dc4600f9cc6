"""keys: nkeys and xkeys, and provider archives with claims signed by them.

The cryptography is libsodium's, which libwcp needs anyway."""

import base64
import binascii
import ctypes
import hashlib
import io
import json
import os
import platform
import tarfile
import time
import uuid

PREFIXES = {"A": 0x00, "N": 0x68, "O": 0x70, "U": 0xA0, "V": 0xA8, "X": 0xB8}
SEED = 0x90
TARGET = f"{platform.machine()}-linux"

sodium = ctypes.CDLL("libsodium.so.23")
if sodium.sodium_init() < 0:
    raise RuntimeError("libsodium cannot start")


def checked(rc):
    if rc != 0:
        raise RuntimeError(f"libsodium answers {rc}")


def text_key(body):
    """The nkey spelling of prefix and key bytes: checksum behind, base32 without padding."""
    checksum = binascii.crc_hqx(body, 0).to_bytes(2, "little")
    return base64.b32encode(body + checksum).decode().rstrip("=")


class Key:
    """A fresh key pair: A account, N host, O operator, U user, V provider for signing, X for sealing."""

    def __init__(self, letter):
        prefix = PREFIXES[letter]
        secret = os.urandom(32)
        public = ctypes.create_string_buffer(32)
        if letter == "X":
            checked(sodium.crypto_scalarmult_base(public, secret))
        else:
            pair = ctypes.create_string_buffer(64)
            checked(sodium.crypto_sign_seed_keypair(public, pair, secret))
            self.pair = pair.raw
        self.secret_bytes, self.public_bytes = secret, public.raw
        self.public = text_key(bytes([prefix]) + public.raw)
        self.seed = text_key(bytes([SEED | prefix >> 5, (prefix & 31) << 3]) + secret)

    def sign(self, message):
        signature = ctypes.create_string_buffer(64)
        checked(sodium.crypto_sign_detached(
            signature, None, message, ctypes.c_ulonglong(len(message)), self.pair))
        return signature.raw

    def seal(self, message, recipient):
        nonce = os.urandom(24)
        box = ctypes.create_string_buffer(len(message) + 16)
        checked(sodium.crypto_box_easy(box, message, ctypes.c_ulonglong(len(message)), nonce,
                                       recipient.public_bytes, self.secret_bytes))
        return b"xkv1" + nonce + box.raw


def segment(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def claims(name, executable):
    """A provider's JWT, signed by an account made for it."""
    issuer = Key("A")
    body = {
        "jti": uuid.uuid4().hex[:22].upper(),
        "iat": int(time.time()),
        "iss": issuer.public,
        "sub": Key("V").public,
        "wascap": {"name": name, "vendor": "outrigger", "rev": 0, "ver": "0.0.0",
                   "target_hashes": {TARGET: hashlib.sha256(executable).hexdigest().upper()}},
        "wascap_revision": 3,
    }
    head = {"typ": "jwt", "alg": "Ed25519"}
    compact = [json.dumps(part, separators=(",", ":")).encode() for part in (head, body)]
    signed = b".".join(map(segment, compact))
    return signed + b"." + segment(issuer.sign(signed))


def pack(executable_path, archive_path, name):
    """Makes a provider archive of an executable for this machine."""
    with open(executable_path, "rb") as f:
        executable = f.read()
    with tarfile.open(archive_path, "w") as tar:
        for member, data in (("claims.jwt", claims(name, executable)),
                             (f"{TARGET}.bin", executable)):
            info = tarfile.TarInfo(member)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
