"""Prometheus, as Debian has it, scraping a daemon."""

import json
import os
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

from support.daemon import free_port
from support.until import until

TOOLS = Path(os.environ.get("ENID_TOOLS") or Path.home() / ".cache/enid/tools")
PROGRAM = TOOLS / "prometheus/usr/bin/prometheus"

# Nothing but the daemon, once a second.
CONFIG = """global:
  scrape_interval: 1s
scrape_configs:
  - job_name: enid
    static_configs:
      - targets: ["{target}"]
"""


class Prometheus:
    """Runs until it is closed; everything of it is in a directory."""

    def __init__(self, directory, daemon):
        config = directory / "prometheus.yml"
        config.write_text(CONFIG.format(target=daemon.url.removeprefix("http://")))
        self.url = f"http://127.0.0.1:{free_port()}"
        self._log = (directory / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [PROGRAM, f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}",
             f"--web.listen-address={self.url.removeprefix('http://')}"],
            stdout=self._log, stderr=subprocess.STDOUT)

    def ask(self, path, **query):
        """An answer of its API; `None` as long as it does not answer."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def query(self, expression):
        """The values of an expression now, by their labels."""
        found = self.ask("query", query=expression) or {"result": []}
        return [(one["metric"], float(one["value"][1])) for one in found["result"]]

    def target(self):
        """What it says of the daemon, when it has scraped it."""
        def scraped():
            found = self.ask("targets") or {"activeTargets": []}
            return [one for one in found["activeTargets"] if one["health"] != "unknown"]

        [target] = until(scraped, "the first scrape", within=60)
        return target

    def close(self):
        self._process.terminate()
        self._process.wait()
        self._log.close()
