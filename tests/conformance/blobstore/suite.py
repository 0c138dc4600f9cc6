"""suite: what every provider of wrpc:blobstore/blobstore@0.2.0 must do, ours or another's, started with HostData.

usage: suite.py EXECUTABLE [KEY=VALUE]... [--only WORD...]
KEY=VALUE is the configuration of the link. Prints a table of cases; 0 if all passed."""

import argparse
import hashlib
import os
import sys
import threading
import time
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from client import MAX, BrokenOff, Client, StoreError
import lattice as l

CASES = []
RUN = uuid.uuid4().hex[:8]  # so that runs do not meet in a store that stays


def case(function):
    CASES.append(function)
    return function


def fails(function, *args):
    """The error's text; it must be one for people that tells nothing of the host."""
    try:
        got = function(*args)
    except StoreError as e:
        assert e.args[0] and "/tmp" not in e.args[0] and "errno" not in e.args[0].lower(), e
        return e.args[0]
    raise AssertionError(f"{function.__name__}{args}: {str(got)[:80]}, expected an error")


def bytes_of(n, seed=0):
    block = hashlib.sha256(str(seed).encode()).digest() * 2048
    return (block * (n // len(block) + 1))[:n]


def at_once(n, function):
    """function(i) for i below n, each in a thread; raises what one of them has raised."""
    errors = []

    def one(i):
        try:
            function(i)
        except Exception as e:  # noqa: BLE001: raised below
            errors.append(e)
    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


class Container:
    """A fresh one, which is deleted at the end."""

    def __init__(self, client):
        self.client, self.name = client, f"outrigger-{RUN}-{uuid.uuid4().hex[:8]}"

    def __enter__(self):
        self.client.create(self.name)
        return self.name

    def __exit__(self, kind, value, trace):
        try:
            self.client.delete_container(self.name)
        except StoreError:
            pass  # the case has deleted it


# --- containers ---


@case
def a_container_is_made_found_and_deleted(b):
    name = f"outrigger-{RUN}-made"
    assert not b.exists(name)
    b.create(name)
    assert b.exists(name)
    b.create(name)  # again: no error
    assert b.exists(name)
    b.delete_container(name)
    assert not b.exists(name)


@case
def a_container_that_is_not_there_is_an_error(b):
    name = f"outrigger-{RUN}-none"
    fails(b.delete_container, name)
    fails(b.clear, name)
    fails(b.container_info, name)
    fails(b.list, name)
    fails(b.read, name, "a")
    fails(b.info, name, "a")
    fails(b.write, name, "a", b"data")
    assert not b.exists(name), "a write has made it"


@case
def a_container_knows_when_it_was_made_or_says_0(b):
    with Container(b) as c:
        at = b.container_info(c)
        assert at == 0 or abs(at - time.time()) < 300, at
        b.write(c, "a", b"data")
        assert b.container_info(c) == at, "it changes"


@case
def a_container_is_deleted_with_what_is_in_it(b):
    with Container(b) as c:
        for name in ("a", "b/c", "b/d/e"):
            b.write(c, name, b"data")
        b.delete_container(c)
        assert not b.exists(c)
        b.create(c)
        assert b.list(c) == []


@case
def a_container_is_cleared_and_stays(b):
    with Container(b) as c:
        for i in range(20):
            b.write(c, f"{'deep/' * (i % 3)}{i}", b"data")
        b.clear(c)
        assert b.list(c) == [] and b.exists(c) and not b.has(c, "0")
        b.clear(c)  # empty: no error
        b.write(c, "0", b"new")
        assert b.read(c, "0") == b"new"


# --- objects ---


@case
def what_is_written_is_read(b):
    with Container(b) as c:
        for n in (0, 1, 4095, 65536, 262143, 262144, 262145, 3000001):
            data = bytes_of(n, n)
            b.write(c, "object", data)
            assert b.read(c, "object") == data, f"{n} bytes"
            assert b.info(c, "object")[1] == n


@case
def a_write_is_answered_before_its_data_come(b):
    with Container(b) as c:
        up = b.upload(c, "late")
        up.answer()
        up.send(b"now ")
        up.send(b"it comes")
        up.end()
        up.status()
        assert b.read(c, "late") == b"now it comes"


@case
def data_in_many_small_pieces_are_one_object(b):
    with Container(b) as c:
        data = bytes_of(20000)
        b.write(c, "pieces", data, [data[i:i + 13] for i in range(0, len(data), 13)])
        assert b.read(c, "pieces") == data


@case
def a_write_replaces_all_of_an_object(b):
    with Container(b) as c:
        b.write(c, "a", b"a long first content")
        b.write(c, "a", b"short")
        assert b.read(c, "a") == b"short" and b.info(c, "a")[1] == 5
        b.write(c, "a", b"")
        assert b.read(c, "a") == b"" and b.has(c, "a")


@case
def a_write_that_is_cut_leaves_the_object_as_it_was(b):
    with Container(b) as c:
        b.write(c, "kept", b"first")
        for name in ("kept", "new", "folder/new"):
            up = b.upload(c, name).answer()
            up.send(bytes_of(100000))
            up.end(cut=True)
            try:
                up.status()
                raise AssertionError("the status is ok")
            except (StoreError, BrokenOff):
                pass
        assert b.read(c, "kept") == b"first"
        assert b.list(c) == ["kept"], b.list(c)
        assert not b.has(c, "new")


@case
def an_object_is_not_seen_before_it_is_whole(b):
    with Container(b) as c:
        b.write(c, "old", b"old")
        ups = [b.upload(c, "old").answer(), b.upload(c, "new").answer()]
        for up in ups:
            up.send(bytes_of(300000))
        for _ in range(20):
            assert b.read(c, "old") == b"old" and not b.has(c, "new") and b.list(c) == ["old"]
        for up in ups:
            up.end()
            up.status()
        assert len(b.read(c, "old")) == 300000 and b.list(c) == ["new", "old"]


@case
def of_writes_at_once_one_wins_as_a_whole(b):
    with Container(b) as c:
        contents = [bytes_of(100000, i) for i in range(16)]

        def write(i):
            b.write(c, "one", contents[i])
            assert b.read(c, "one") in contents, "a mixture"
        at_once(16, write)
        assert b.read(c, "one") in contents and b.list(c) == ["one"]


@case
def ranges_are_as_asked_for(b):
    with Container(b) as c:
        data = bytes_of(700000)
        b.write(c, "r", data)
        for start, end in ((0, 0), (0, 1), (5, 5), (2, 5), (0, 700000), (699999, 700000), (100000, 600001)):
            assert b.read(c, "r", start, end) == data[start:end], (start, end)
        for start, end in ((699990, 700001), (3, 2**40), (0, MAX), (1, MAX - 1)):  # what there is
            assert b.read(c, "r", start, end) == data[start:], (start, end)
        for start, end in ((700000, 700000), (700000, 700001), (700001, MAX), (MAX, MAX)):
            assert b.read(c, "r", start, end) == b"", (start, end)
        fails(b.read, c, "r", 3, 2)
        fails(b.read, c, "r", MAX, 0)


@case
def an_object_knows_its_size_and_when_it_was_made(b):
    with Container(b) as c:
        b.write(c, "a", bytes_of(12345))
        at, size = b.info(c, "a")
        assert size == 12345 and (at == 0 or abs(at - time.time()) < 300), (at, size)
        assert b.info(c, "a") == (at, size), "it changes"


@case
def an_object_that_is_not_there(b):
    with Container(b) as c:
        assert not b.has(c, "none") and not b.has(c, "none/of/these")
        fails(b.read, c, "none")
        fails(b.read, c, "none", 0, 0)
        fails(b.info, c, "none")
        fails(b.copy, c, "none", c, "a")
        fails(b.move, c, "none", c, "a")
        fails(b.copy, c, "none", c, "none")
        fails(b.move, c, "none", c, "none")
        b.delete(c, "none")  # is done already
        b.delete_many(c, ["none", "none/of/these"])
        assert b.list(c) == []


@case
def objects_are_deleted_one_or_many(b):
    with Container(b) as c:
        names = ["a", "b", "c/d", "c/e", "f"]
        for name in names:
            b.write(c, name, b"data")
        b.delete(c, "c/d")
        b.delete(c, "c/d")
        assert b.list(c) == ["a", "b", "c/e", "f"]
        b.delete_many(c, ["a", "none", "c/e"])
        b.delete_many(c, [])
        assert b.list(c) == ["b", "f"] and not b.has(c, "a") and b.has(c, "b")
        b.write(c, "c", b"the folder is gone, too")
        assert b.list(c) == ["b", "c", "f"]


# --- copy and move ---


@case
def an_object_is_copied(b):
    with Container(b) as c, Container(b) as other:
        data = bytes_of(1234567)
        b.write(c, "from", data)
        b.write(c, "over", b"old")
        b.copy(c, "from", c, "to")
        b.copy(c, "from", c, "over")
        b.copy(c, "from", other, "deep/down/to")
        for where, name in ((c, "from"), (c, "to"), (c, "over"), (other, "deep/down/to")):
            assert b.read(where, name) == data, (where, name)
        b.write(c, "from", b"changed")
        assert b.read(c, "to") == data, "a copy changed with its original"
        fails(b.copy, c, "from", f"outrigger-{RUN}-none", "to")
        fails(b.copy, f"outrigger-{RUN}-none", "from", c, "to")


@case
def an_object_is_moved(b):
    with Container(b) as c, Container(b) as other:
        data = bytes_of(300000)
        b.write(c, "from", data)
        b.write(other, "over", b"old")
        b.move(c, "from", c, "a/b")
        assert b.list(c) == ["a/b"] and b.read(c, "a/b") == data
        b.move(c, "a/b", other, "over")
        assert b.list(c) == [] and b.list(other) == ["over"] and b.read(other, "over") == data
        fails(b.move, other, "over", f"outrigger-{RUN}-none", "to")
        assert b.read(other, "over") == data


@case
def copy_and_move_onto_itself_keep_the_object(b):
    with Container(b) as c:
        data = bytes_of(500000)
        b.write(c, "x/self", data)
        b.copy(c, "x/self", c, "x/self")
        assert b.read(c, "x/self") == data
        b.move(c, "x/self", c, "x/self")
        assert b.read(c, "x/self") == data and b.list(c) == ["x/self"]


# --- names and listings ---


@case
def names_are_taken_as_they_are(b):
    names = ["a b", "a+b", "a%20b", "a&b=c", "a?b#c", "ümlaut/ñ", "日本/🦀", "..hidden", "a..b", ".dot", "tab\tquote'\"",
             "x/y/z", "star*[1]", "back\\slash", "-dash", "~tilde", "n" * 255]
    with Container(b) as c:
        for i, name in enumerate(names):
            b.write(c, name, bytes([i]))
        for i, name in enumerate(names):
            assert b.read(c, name) == bytes([i]), name
        assert sorted(b.list(c)) == sorted(names)
        for name in names:
            b.copy(c, name, c, name + ".copy" if len(name) < 200 else "copy")
            b.delete(c, name)
            assert not b.has(c, name), name
        assert len(b.list(c)) == len(names)


@case
def an_empty_name_is_an_error(b):
    fails(b.create, "")
    fails(b.list, "")
    with Container(b) as c:
        fails(b.write, c, "", b"data")
        fails(b.read, c, "")
        fails(b.info, c, "")


@case
def a_listing_has_every_object_once_in_order(b):
    with Container(b) as c:
        names = ["a", "a-b", "a.b", "ab", "b/c/d", "b/c-d", "b0", "B", "z/1", "z/10", "z/2"]
        for name in reversed(names):
            b.write(c, name, b"")
        assert b.list(c) == sorted(names, key=str.encode), b.list(c)


@case
def a_listing_comes_in_pages(b):
    with Container(b) as c:
        names = sorted(f"{'f/' if i % 2 else ''}{i:03}" for i in range(300))
        at_once(8, lambda k: [b.write(c, n, b"") for n in names[k::8]])
        assert b.list(c) == names
        for limit, offset in ((0, None), (1, None), (7, 0), (128, 5), (129, 128), (None, 290), (1000, 1), (5, 300), (5, 10**6),
                              (MAX, MAX), (None, MAX)):
            first = offset or 0
            last = len(names) if limit is None else first + limit
            assert b.list(c, limit, offset) == names[first:last], (limit, offset)
        pages = [b.list(c, 41, at) for at in range(0, 300, 41)]
        assert sum(pages, []) == names


@case
def megabytes_go_up_and_down_in_parallel(b):
    with Container(b) as c:
        def both(i):
            data = bytes_of(1 << 20, i)
            b.write(c, f"big/{i}", data)
            assert b.read(c, f"big/{i}") == data
        at_once(8, both)


@case
def writing_and_deleting_in_one_folder_do_not_meet(b):
    with Container(b) as c:
        def turns(i):
            for _ in range(10):
                b.write(c, f"deep/folder/{i}", b"data")
                b.move(c, f"deep/folder/{i}", c, f"deep/other/{i}")
                b.copy(c, f"deep/other/{i}", c, f"deep/folder/{i}")
                assert set(b.list(c)) >= {f"deep/folder/{i}", f"deep/other/{i}"}
                b.delete_many(c, [f"deep/folder/{i}", f"deep/other/{i}"])
        at_once(4, turns)
        assert b.list(c) == []


# --- running it ---


def title(function):
    return function.__name__.replace("_", " ")


def run(client, only=(), skip=()):
    """Runs the cases on a link of a provider; prints the table. How many passed, and how many did not."""
    passed = failed = 0
    for function in CASES:
        if function.__name__ in skip or (only and not any(w in function.__name__ for w in only)):
            continue
        began = time.monotonic()
        try:
            function(client)
            how, why = "ok", ""
            passed += 1
        except Exception as e:  # noqa: BLE001: whatever it is, the next case runs
            where = e.__traceback__
            while where.tb_next:
                if where.tb_frame.f_code.co_filename == __file__:
                    line = where.tb_lineno
                where = where.tb_next
            if where.tb_frame.f_code.co_filename == __file__:
                line = where.tb_lineno
            how, why = "FAILED", f": {type(e).__name__}: {str(e)[:500]} (line {line})"
            failed += 1
        print(f"{how:6} {1000 * (time.monotonic() - began):6.0f} ms  {title(function)}{why}", flush=True)
    return passed, failed


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    options.add_argument("executable")
    options.add_argument("config", nargs="*", metavar="KEY=VALUE")
    options.add_argument("--only", nargs="*", default=[], metavar="WORD")
    options = options.parse_args()
    nats = l.nats_server()
    lattice = l.Lattice(nats.port)
    link = lattice.link("comp", "BLOB", dict(pair.split("=", 1) for pair in options.config), package="wasi:blobstore",
                        interfaces=("blobstore",))
    provider = lattice.provider(os.path.abspath(options.executable), "BLOB", [link])
    passed, failed = run(Client(lattice, "BLOB"), options.only)
    provider.terminate()
    ended = provider.wait() == 0
    if not ended or "Sanitizer" in provider.log():
        print("the provider did not end well:\n" + provider.log()[-3000:])
        failed += 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
