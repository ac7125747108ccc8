from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from shrinkage.engine.keep.store import MANIFEST, Store, open_store
from shrinkage.errors import ShrinkageError

FACTS = {"data": "abc", "optimizer": "Adam(lr=0.01)"}


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.safetensors"))


def read(store: Store) -> dict[str, tuple[int, torch.Tensor]]:
    return {e.about["name"]: (e.about["epoch"], e.load()["w"]) for e in store.entries()}


def put(store: Store, name: str, epoch: int) -> torch.Tensor:
    w = torch.arange(5.0) * epoch
    store.put(name, {"name": name, "epoch": epoch}, {"w": w})
    return w


def test_what_was_put_comes_back_bit_for_bit_the_newest_of_each_name(tmp_path: Path) -> None:
    with open_store(tmp_path / "kept", FACTS) as store:
        put(store, "a", 1)
        a, b = put(store, "a", 2), put(store, "b", 7)
    assert len(files(tmp_path / "kept")) == 2
    with open_store(tmp_path / "kept", FACTS) as store:
        back = read(store)
    assert back.keys() == {"a", "b"}
    assert back["a"][0] == 2
    assert torch.equal(back["a"][1], a)
    assert torch.equal(back["b"][1], b)


def test_views_of_one_tensor_are_kept_apart(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    with open_store(tmp_path, FACTS) as store:
        store.put("a", {}, {"even": whole[::2], "odd": whole[1::2], "all": whole})
        (entry,) = store.entries()
    assert entry.load()["odd"].tolist() == [1, 3, 5]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_file_is_left_out_and_said(tmp_path: Path, damage: str) -> None:
    with open_store(tmp_path, FACTS) as store:
        put(store, "a", 1)
        put(store, "b", 1)
        path = next(p for p in files(tmp_path) if p.name.startswith("a."))
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes({"flip": bytes(content), "cut": content[:-3], "empty": b""}[damage])
        with pytest.warns(UserWarning, match="damaged: .* trained again"):
            assert read(store).keys() == {"b"}


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_left_out_without_waiting_for_it(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    with open_store(tmp_path, FACTS) as store:
        put(store, "a", 1)
        make(tmp_path / f"b.{'0' * 32}.safetensors")
        with pytest.warns(UserWarning, match="damaged: .* trained again"):
            assert read(store).keys() == {"a"}


def test_the_earlier_file_serves_if_the_newer_one_is_damaged(tmp_path: Path) -> None:
    with open_store(tmp_path, FACTS) as store:
        put(store, "a", 1)
        (earlier,) = files(tmp_path)
        content = earlier.read_bytes()
        put(store, "a", 2)
        (newer,) = files(tmp_path)
        earlier.write_bytes(content)  # as if the process had died before it was removed
        os.utime(earlier, ns=(1, 1))
        assert read(store)["a"][0] == 2
        newer.write_bytes(newer.read_bytes()[:-1])
        with pytest.warns(UserWarning, match="damaged"):
            assert read(store)["a"][0] == 1


def test_other_facts_are_refused_with_the_difference(tmp_path: Path) -> None:
    with open_store(tmp_path, FACTS):
        pass
    changed = {"data": "abc", "optimizer": "SGD(lr=0.1)", "loss": "mse"}
    with pytest.raises(ShrinkageError) as caught, open_store(tmp_path, changed):
        pass
    text = str(caught.value)
    assert "optimizer: Adam(lr=0.01) then, SGD(lr=0.1) now" in text
    assert "loss: nothing then, mse now" in text
    assert "data" not in text


def test_a_directory_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("my only copy")
    with pytest.raises(ShrinkageError, match=r"thesis\.txt"), open_store(tmp_path, FACTS):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "my only copy"


@pytest.mark.parametrize(
    "content", ["", "[", "[]", "{}", json.dumps({"format": "shrinkage run"}), "[" * 100_000]
)
def test_a_manifest_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(ShrinkageError, match="not the manifest"), open_store(tmp_path, FACTS):
        pass


def test_a_second_run_is_refused_while_the_first_is_at_work(tmp_path: Path) -> None:
    first, second = open_store(tmp_path, FACTS), open_store(tmp_path, FACTS)
    with first, pytest.raises(ShrinkageError, match="in use"), second:
        pass
    with open_store(tmp_path, FACTS):
        pass


def test_the_lock_of_a_dead_process_is_no_lock(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from shrinkage.engine.keep.store import open_store\n"
        "with open_store(Path(sys.argv[1]), {}): os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode == 9
    with open_store(tmp_path, {}):
        pass


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = open_store(tmp_path / "file" / "kept", FACTS)
    with pytest.raises(ShrinkageError, match="cannot be written"), refused:
        pass


def test_what_killed_writers_left_is_swept_even_where_the_first_file_is_missing(
    tmp_path: Path,
) -> None:
    left = [".manifest.json.a1_b2c3d", f".a.{'0' * 32}.safetensors.a1_b2c3d"]
    for name in left:
        (tmp_path / name).touch()
    with open_store(tmp_path, FACTS) as store:
        put(store, "a", 1)
    assert not {path.name for path in tmp_path.iterdir()} & set(left)


def test_nothing_is_written_where_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ShrinkageError, match=r"thesis\.txt"), open_store(tmp_path, FACTS):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_manifest_that_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / MANIFEST)
    with pytest.raises(ShrinkageError, match="not the manifest"), open_store(tmp_path, FACTS):
        pass


def test_a_process_that_may_open_no_more_files_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> None:
        raise OSError(24, "Too many open files")

    for function in ("open", "scandir"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, none_left)
            refused = pytest.raises(ShrinkageError, match="Too many open files")
            with refused, open_store(tmp_path / function, FACTS) as store:
                list(store.entries())
