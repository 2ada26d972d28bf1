"""nginx as a WebSocket proxy, in the foreground, with all its files in one directory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

_CONFIGURATION = """\
{user}
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_buffering off;
            proxy_read_timeout 1h;
        }}
    }}
}}
"""


def find() -> str | None:
    """Return the path of nginx; None where it is not installed."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def version() -> str | None:
    """Return nginx's version, as `1.22.1`; None where it is not installed."""
    program = find()
    if program is None:
        return None
    result = subprocess.run([program, "-v"], capture_output=True, text=True, timeout=10, check=True)
    found = re.search(r"nginx/(\S+)", result.stderr)
    return found.group(1) if found else "unknown"


def command(program: str, port: int, upstream: int, directory: Path) -> list[str]:
    """Write the configuration into `directory`, and return the command that runs with it."""
    # The worker of a root's nginx would else be another user, who cannot enter the directory.
    user = "user root;" if os.geteuid() == 0 else ""
    path = directory / "nginx.conf"
    path.write_text(
        _CONFIGURATION.format(user=user, directory=directory, port=port, upstream=upstream)
    )
    return [program, "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(path)]
