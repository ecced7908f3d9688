"""Certificates for one test: an authority of its own and what it signs (by the openssl command)."""
import subprocess
from pathlib import Path


class Pki:
    def __init__(self, directory):
        self.dir = Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.ca = self.dir / "ca.pem"
        self._run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                  "-keyout", self.dir / "ca.key", "-out", self.ca, "-days", "30", "-subj", "/CN=test authority",
                  "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign")

    def cert(self, name, alt="DNS:localhost,IP:127.0.0.1"):
        """(certificate file, key file) for name."""
        key, request = self.dir / f"{name}.key", self.dir / f"{name}.csr"
        cert, extra = self.dir / f"{name}.pem", self.dir / f"{name}.ext"
        extra.write_text(f"subjectAltName={alt}\nextendedKeyUsage=serverAuth,clientAuth\n")
        self._run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                  "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        self._run("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.dir / "ca.key",
                  "-CAcreateserial", "-days", "30", "-extfile", extra, "-out", cert)
        return cert, key

    def _run(self, *args):
        done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
