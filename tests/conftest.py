"""What every test needs: no network, a cache of its own, and where research data lies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub when it is imported, so not in a fixture
if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests run side by side: threads that spin while they wait for others' cores make LightGBM a hundred times slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A shell's background job ignores Ctrl-C, and so would all that it starts; tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that stands for the user's cache during the tests."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTENTREE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def research_data() -> Path:
    """The folder of data that may be used for research but not shipped."""
    folder = os.environ.get("INTENTREE_DATA")
    if not folder:
        pytest.skip("INTENTREE_DATA does not name the folder of research data")
    return Path(folder)
