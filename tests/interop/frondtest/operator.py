"""An operator, its accounts and their users: JWTs made here, for hubs in operator mode.

    op = Operator()
    a = op.account("A")                 # a.id is the account's name at the hub
    user = a.user("leaf", permissions)  # user.creds: the text of a credentials file
    hub = make(config=op.config(), …)
"""
import base64
import hashlib
import json
import os
import time

import nkeys


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _pair(prefix):
    seed = nkeys.encode_seed(os.urandom(32), prefix)
    return nkeys.from_seed(seed), seed.decode() if isinstance(seed, bytes) else seed


def _sign(signer, issuer, subject, name, nats):
    claims = {"iat": int(time.time()), "iss": issuer, "name": name, "sub": subject, "nats": nats}
    digest = hashlib.new("sha512_256", json.dumps(claims).encode()).digest()
    claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
    head = _b64(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
    body = _b64(json.dumps(claims).encode())
    return f"{head}.{body}." + _b64(signer.sign(f"{head}.{body}".encode()))


class User:
    def __init__(self, account, name, permissions):
        self.key, self.seed = _pair(nkeys.PREFIX_BYTE_USER)
        nats = {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, **(permissions or {})}
        self.jwt = _sign(account.key, account.id, self.key.public_key.decode(), name, nats)
        self.creds = (f"-----BEGIN NATS USER JWT-----\n{self.jwt}\n------END NATS USER JWT------\n\n"
                      "************************* IMPORTANT *************************\n"
                      "NKEY Seed printed below can be used to sign and prove identity.\n\n"
                      f"-----BEGIN USER NKEY SEED-----\n{self.seed}\n------END USER NKEY SEED------\n\n"
                      "*************************************************************\n")


class Account:
    def __init__(self, operator, name):
        self.key, _ = _pair(nkeys.PREFIX_BYTE_ACCOUNT)
        self.id = self.key.public_key.decode()
        limits = {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": True,
                  "conn": -1, "leaf": -1}
        self.jwt = _sign(operator.key, operator.id, self.id, name,
                         {"type": "account", "version": 2, "limits": limits})

    def user(self, name, permissions=None):
        return User(self, name, permissions)


class Operator:
    def __init__(self):
        self.key, _ = _pair(nkeys.PREFIX_BYTE_OPERATOR)
        self.id = self.key.public_key.decode()
        self.accounts = []
        self.system = self.account("SYS")
        self.jwt = _sign(self.key, self.id, self.id, "operator",
                         {"type": "operator", "version": 2, "system_account": self.system.id})

    def account(self, name):
        self.accounts.append(Account(self, name))
        return self.accounts[-1]

    def config(self):
        preload = "\n".join(f"  {a.id}: {a.jwt}" for a in self.accounts)
        return (f"operator: {self.jwt}\nsystem_account: {self.system.id}\nresolver: MEMORY\n"
                f"resolver_preload: {{\n{preload}\n}}\n")


def nkey_user():
    """(public key, seed) of a user that a configuration names by its nkey."""
    key, seed = _pair(nkeys.PREFIX_BYTE_USER)
    return key.public_key.decode(), seed
