"""A coordinator that really serves and trains, and a page of it in Chromium that notes everything that should not be."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request

from playwright.sync_api import expect, sync_playwright

BIN = pathlib.Path(os.environ["TEPHRA_BIN_DIR"])
SOURCE = pathlib.Path(os.environ["TEPHRA_SOURCE_DIR"])
TINY = (SOURCE / "tests/e2e/tiny.yaml").read_text()
BASE_DIR = str(SOURCE / "tests/e2e")
LONG = TINY.replace("steps: 12", "steps: 100000").replace("every_steps: 4", "every_steps: 50").replace("name: tiny", "name: long")
LIMIT_MS = 90_000

expect.set_options(timeout=30_000)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """`tephra serve` on a store and a port of its own, which it keeps over restarts."""

    def __init__(self, folder):
        self.store = folder / "store"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "serve.log"
        self.process = None
        self.start()

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [BIN / "tephra", "serve", "--store", self.store, "--listen", f"127.0.0.1:{self.port}"], stdout=log, stderr=log,
                env={**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"})
        limit = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(self.url + "/healthz", timeout=5).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > limit:
                    raise AssertionError(f"the coordinator does not come: {self.log.read_text()}") from None
                time.sleep(0.05)

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(60)

    @property
    def token(self):
        return (self.store / "token").read_text().strip()

    def make_token(self, name, role):
        return subprocess.run([BIN / "tephra", "token", "create", name, "--role", role, "--store", self.store], check=True,
                              capture_output=True, text=True).stdout.strip()

    def ask(self, method, path, body=None, token=None):
        request = urllib.request.Request(self.url + "/api/v1" + path, method=method, data=None if body is None else json.dumps(body).encode(),
                                         headers={"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)

    def submit(self, recipe=TINY, user="anna"):
        return self.ask("POST", "/jobs", {"recipe_yaml": recipe, "base_dir": BASE_DIR, "user": user})["id"]

    def wait(self, job, phases=("done", "failed", "cancelled")):
        limit = time.monotonic() + LIMIT_MS / 1000
        while (found := self.ask("GET", f"/jobs/{job}"))["phase"] not in phases:
            if time.monotonic() > limit:
                raise AssertionError(f"{job} is {found['phase']} and not one of {phases}: {found['reason']}")
            time.sleep(0.1)
        return found

    def cancel_all(self):
        for job in self.ask("GET", "/jobs?limit=1000")["jobs"]:
            if job["phase"] not in ("done", "failed", "cancelled"):
                self.ask("POST", f"/jobs/{job['id']}/cancel", {})
                self.wait(job["id"])


class PageTest(unittest.TestCase):
    """Each test has a fresh browser context. At its end nothing went elsewhere, broke the policy, or was complained of in the console."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="tephra-web-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.server = Server(cls.folder)
        cls.addClassCleanup(cls.server.stop)
        cls.playwright = sync_playwright().start()
        cls.addClassCleanup(cls.playwright.stop)
        cls.browser = cls.playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        self.expected = []  # parts of console messages that the test brings about
        self.noted = []
        self.addCleanup(self.server.cancel_all)
        self.page = self.open()

    def open(self, token=None, **context):
        made = self.browser.new_context(viewport=context.pop("viewport", {"width": 1280, "height": 900}), **context)
        self.addCleanup(made.close)
        made.add_init_script("addEventListener('securitypolicyviolation', e => console.error('policy violated: ' + e.violatedDirective + ' ' + e.blockedURI))")
        token = self.server.token if token is None else token
        if token:
            made.add_init_script(f"if (self.origin === '{self.server.url}') sessionStorage.getItem('tephra-token') ?? sessionStorage.setItem('tephra-token', '{token}')")
        made.on("request", lambda request: self.note_request(request.url))
        page = made.new_page()
        page.on("console", lambda message: message.type in ("error", "warning") and self.noted.append(message.text))
        page.on("pageerror", lambda error: self.noted.append(f"exception: {error}"))
        return page

    def until(self, holds):
        """Waits for what Playwright has no word for; its own waiting for functions would need a laxer policy."""
        limit = time.monotonic() + LIMIT_MS / 1000
        while not holds():
            self.assertLess(time.monotonic(), limit, "it did not come to be")
            self.page.wait_for_timeout(50)

    def note_request(self, url):
        if not url.startswith((self.server.url + "/", "data:", "blob:")):
            self.noted.append(f"request to {url}")

    def go(self, place, page=None):
        page = page or self.page
        page.goto(f"{self.server.url}/#{place}")
        return page

    def tearDown(self):
        left = [text for text in self.noted if not any(part in text for part in self.expected)]
        self.assertEqual(left, [])
