"""Chromium, driven from a test: pages, and everything they complained about."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from itertools import count
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "npm" / "node_modules"

_WATCH = """
const context = await browser.newContext(values.context);
const page = await context.newPage();
const seen = { errors: [], warnings: [], refused: [], requests: [] };
page.on("console", (message) => seen[`${message.type()}s`]?.push(message.text()));
page.on("pageerror", (error) => seen.errors.push(String(error)));
page.on("response", (answer) => seen.requests.push([answer.status(), new URL(answer.url()).pathname]));
await page.exposeBinding("refusedByPolicy", (_, what) => seen.refused.push(what));
await page.addInitScript(() => addEventListener("securitypolicyviolation", (event) =>
  refusedByPolicy(`${event.violatedDirective} ${event.blockedURI}`)));
kept[values.name] = { context, page, seen };
"""


class Chromium:
    """A running browser. Skips the test where the machine has none, and fails it there in CI."""

    def __init__(self) -> None:
        node, program = shutil.which("node"), shutil.which("chromium")
        missing = [name for name, found in (("node", node), ("chromium", program)) if not found]
        if not (MODULES / "playwright-core").exists():
            missing.append("npm/node_modules (make browser-tools)")
        if missing:
            reason = f"no browser to test in: {', '.join(missing)} missing"
            if os.environ.get("CI"):
                pytest.fail(f"{reason}, and CI must not skip what needs it", pytrace=False)
            pytest.skip(reason)
        driver = Path(__file__).with_name("driver.mjs")
        self._process = subprocess.Popen(
            [str(node), str(driver), str(ROOT / "npm"), str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._names = count()

    def close(self) -> None:
        self._process.communicate()

    def run(self, code: str, **values: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"code": code, "values": values}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer["result"]

    def page(self, **context: Any) -> Page:
        """A page in a context of its own; `context` is Playwright's, as in `javaScriptEnabled`."""
        name = f"page{next(self._names)}"
        self.run(_WATCH, name=name, context=context)
        return Page(self, name)


class Page:
    """A page, with what it said and asked for."""

    def __init__(self, browser: Chromium, name: str) -> None:
        self._browser = browser
        self._name = name

    def run(self, code: str, **values: Any) -> Any:
        """Playwright's JavaScript, with `page`, `context`, `seen` and `values` at hand."""
        opening = f"const {{ context, page, seen }} = kept[{json.dumps(self._name)}];\n"
        return self._browser.run(opening + code, **values)

    def goto(self, url: str) -> None:
        self.run("await page.goto(values.url)", url=url)

    def js(self, expression: str) -> Any:
        """What an expression in the page gives."""
        return self.run("return await page.evaluate(values.expression)", expression=expression)

    def until(self, expression: str, seconds: float = 20) -> None:
        """Waits until an expression in the page is true."""
        code = "await until(page, values.expression, values.seconds)"
        self.run(code, expression=expression, seconds=seconds)

    def press(self, *keys: str) -> None:
        self.run("for (const key of values.keys) await page.keyboard.press(key)", keys=keys)

    def type(self, text: str) -> None:
        """As fingers do, key by key, into what has the focus."""
        self.run("await page.keyboard.type(values.text)", text=text)

    def click(self, selector: str) -> None:
        self.run("await page.click(values.selector)", selector=selector)

    def seen(self, what: str) -> Any:
        """`errors` and `warnings` on the console, what the policy `refused`, `requests` as
        `[status, path]`."""
        return self.run(f"return seen.{what}")

    def close(self) -> None:
        self.run("await context.close()")
