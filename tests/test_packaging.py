"""Packages that leave the checkout are whole: the source distribution, the page of the index, templates and checks."""

import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def read(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_the_readme_has_no_links_that_end_on_a_package_index():
    """Links lead to addresses, not to files of the checkout."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)]*)\)", text)
    assert targets
    assert [target for target in targets if not target.startswith("https://")] == []


def test_files_that_pages_name_are_there():
    """Paths in README, the guide for contributors, the documentation and docstrings lead somewhere."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    files = listed.stdout.split() or [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file()]
    known = {*files, *(str(folder) for file in files for folder in Path(file).parents)}
    written_later = {"docs/results/gpu.json", "docs/results/gpu.rst"}
    places = r"`((?:bayeshnet|tests|docs|benchmarks|examples|\.ci|\.github)/[\w./-]*)`"
    found = 0
    for file in files:
        if re.fullmatch(r"[A-Z]+\.md|docs/.*\.rst|\.github/.*|bayeshnet/.*\.py", file) and file != "CHANGELOG.md":
            named = [name.rstrip("/") for name in re.findall(places, (ROOT / file).read_text(encoding="utf-8"))]
            assert [n for n in named if n not in known | written_later and "NAME" not in n] == [], file
            found += len(named)
    assert found > 50


def test_the_citation_has_what_the_format_requires():
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["license"] == "Apache-2.0"
    for reference in citation["references"]:
        assert {"type", "title", "authors", "year", "collection-title"} <= set(reference)
        assert all({"family-names", "given-names"} == set(author) for author in reference["authors"])


def test_the_public_checks_call_the_checks_of_the_checkout():
    workflow = read(".github/workflows/checks.yml")
    assert workflow[True].keys() == {"push", "pull_request", "workflow_dispatch"}  # YAML reads the key "on" as true
    assert workflow["permissions"] == {"contents": "read"}
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert ".ci/run" in commands
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(command in readme or command == ".ci/run" for command in commands)
    tested = workflow["jobs"]["newer-python"]["strategy"]["matrix"]["python"]
    declared = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert ["3.11", *tested] == declared


@pytest.mark.parametrize("form", [form for form in FORMS if form.name != "config.yml"], ids=lambda form: form.stem)
def test_the_forms_ask_for_something(form):
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(content)
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    assert all(field["id"] and field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


@pytest.mark.slow
def test_the_source_distribution_is_tested_as_the_checkout_is(tmp_path):
    """It holds each tracked file, and its tests run where it was unpacked."""
    backend = pytest.importorskip("setuptools.build_meta")
    assert hasattr(backend, "build_sdist")
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.decode()
    files = [name for name in tracked.split("\0") if name and (ROOT / name).is_file()]
    copy = tmp_path / "copy"
    for name in files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=copy, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    (root,) = (tmp_path / "unpacked").iterdir()
    assert [name for name in files if not (root / name).is_file()] == []
    chosen = ["tests/test_weights.py", "tests/files", "tests/saving/test_things.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *chosen]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
