# SPDX-License-Identifier: Apache-2.0
"""One JUnit test case per cocotb test.

pytest writes its own test functions only: a function that runs a cocotb module is one test case,
however many cocotb tests it has. `add_result` notes each of them in the report of the function,
which also crosses from an xdist worker to the controller. At the end the controller completes the
file of `--junitxml`.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path

import pytest

from ktls_cosim.sim.runner import TestResult

_KEY = "cocotb"


def add_result(
    item: pytest.Item, module: str, result: TestResult, message: str, **properties: object
) -> None:
    """Note the result of a cocotb test.

    Args:
        item: Test function that ran it.
        module: Its Python module.
        result: Outcome of the test.
        message: Text of the failure; empty if the test passed.
        properties: Seed, simulator and parameters of the run.
    """
    fields = {
        "classname": f"{item.nodeid.replace('/', '.').replace('.py::', '.')}.{module}",
        "name": result.name,
        "time": f"{result.seconds:.3f}",
    }
    note = {"fields": fields, "properties": properties, "message": message}
    item.user_properties.append((_KEY, json.dumps(note, default=str)))


class CocotbCases:
    """A pytest plugin that completes the JUnit file.

    Args:
        path: File of `--junitxml`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cases: dict[str, list[str]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the notes of a finished test function."""
        if report.when == "teardown":
            notes = [str(value) for key, value in report.user_properties if key == _KEY]
            if notes:
                self._cases[report.nodeid] += notes

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Add the cocotb tests to the file, which pytest has written by now."""
        if self._cases and self._path.is_file():
            tree = ET.parse(self._path)
            for suite in tree.iter("testsuite"):
                self._complete(suite)
            tree.write(self._path, encoding="utf-8", xml_declaration=True)

    def _complete(self, suite: ET.Element) -> None:
        # the failure of a cocotb test belongs to its own case, not to the function that ran it
        notes = [json.loads(note) for notes in self._cases.values() for note in notes]
        known = {note["message"].split("\n")[0] for note in notes}
        for case in suite.iter("testcase"):
            for failure in case.findall("failure"):
                if failure.get("message", "").split("\n")[0].removeprefix("Failed: ") in known:
                    case.remove(failure)
            for properties in case.findall("properties"):
                for p in properties.findall(f"property[@name='{_KEY}']"):
                    properties.remove(p)
                if not len(properties):
                    case.remove(properties)
        suite.extend(_element(note) for note in notes)
        cases = suite.findall("testcase")
        suite.set("tests", str(len(cases)))
        for tag, key in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            suite.set(key, str(sum(case.find(tag) is not None for case in cases)))


def _element(note: dict[str, dict[str, str]]) -> ET.Element:
    case = ET.Element("testcase", note["fields"])
    properties = ET.SubElement(case, "properties")
    for name, value in note["properties"].items():
        ET.SubElement(properties, "property", {"name": name, "value": str(value)})
    if note["message"]:
        message = str(note["message"])
        failure = ET.SubElement(case, "failure", {"message": message.splitlines()[0]})
        failure.text = message
    return case
