"""test_blobstore: blobstore-fs against the suite of its interface, and what is special about folders on a disk. usage:
test_blobstore.py [NAME-PART]..., BIN=dir."""

import glob
import json
import os
import resource
import subprocess
import sys
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../conformance/blobstore"), os.path.join(HERE, "../lib")]
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"  # freed is freed here
import lattice as l
import suite
from bulk import CHUNK, MEMORY_MAX, Chunks, Peak
from client import MAX, Client, StoreError
from lattice import BIN, leb, temporary_path, text, wait_for

MIB = 128
ROOT_ONLY = os.geteuid() == 0
UNSHARE = ["unshare", "--mount", *([] if ROOT_ONLY else ["--map-root-user"])]

nats = l.nats_server()
lattice = l.Lattice(nats.port)


def link(source="comp", name="default", **config):
    return lattice.link(source, "blob", config, name=name, package="wasi:blobstore", interfaces=("blobstore",))


def folder(name="root"):
    path = temporary_path(f"{name}-{uuid.uuid4().hex[:6]}")
    os.mkdir(path)
    return path


class Store:
    """A provider with a root and a client of it; the container "c" is there."""

    def __init__(self, root=None, links=None, before=(), user=None, **members):
        self.root = root or folder()
        line = lattice.host_data("blob", links or [link(root=self.root)], **members)
        self.log_path = temporary_path(f"blob-{uuid.uuid4().hex[:6]}.log")
        options = {"user": user} if user else {}
        self.process = l.start([*before, BIN / "blobstore-fs"], line, self.log_path, env=l.ENVIRONMENT, **options)
        self.b = Client(lattice, "blob")
        wait_for("the provider", lambda: self.health() is not None, 20)
        if not links:
            self.b.create("c")

    def health(self):
        try:
            return json.loads(lattice.nats.request("wasmbus.rpc.test.blob.health", timeout=1).data)
        except (l.NoResponders, l.Timeout):
            return None

    def is_well(self):
        return wait_for(f"health: {self.health()}", lambda: self.health()["healthy"])

    def is_ill(self, why):
        wait_for(f"'{why}' in {self.health()}", lambda: not self.health()["healthy"] and why in self.health()["message"])

    def files(self, path="c"):
        return sorted(os.listdir(os.path.join(self.root, path)))

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(20)
        if kind:
            print("# " + "\n# ".join(self.log().splitlines()[-15:]), flush=True)
        else:
            assert status == 0 and "Sanitizer" not in self.log(), (status, self.log()[-3000:])


def error(function, *args):
    try:
        got = function(*args)
    except StoreError as e:
        return e.args[0]
    raise AssertionError(f"{function.__name__}{args}: {got}, expected an error")


# --- the interface ---


def it_passes_the_suite_of_its_interface():
    with Store() as s:
        passed, failed = suite.run(s.b)
        assert passed > 20 and not failed, f"{failed} of {passed + failed} cases"
        assert s.files(".") == ["c"], "containers or drafts stay"


# --- names ---

BAD = ["", ".", "..", "../x", "x/../y", "x/..", "./x", "x/.", "/x", "/etc/passwd", "x/", "x//y", "x\0y", "\0", "x" * 256,
       "y/" + "x" * 256, "x/" * 511 + "xyz", ".outrigger-0123456789abcdef", "x/.outrigger-"]


def no_name_leads_out_of_the_root():
    with Store() as s:
        with open(s.root + ".outside", "w", encoding="ascii") as f:
            f.write("secret")
        s.b.write("c", "x", b"x")
        for bad in BAD + ["../" + os.path.basename(s.root) + ".outside", "../c/x"]:
            for function, args in ((s.b.create, (bad,)), (s.b.exists, (bad,)), (s.b.delete_container, (bad,)), (s.b.clear, (bad,)),
                                   (s.b.container_info, (bad,)), (s.b.list, (bad,)), (s.b.read, (bad, "x")), (s.b.read, ("c", bad)),
                                   (s.b.write, ("c", bad, b"y")), (s.b.write, (bad, "x", b"y")), (s.b.info, ("c", bad)),
                                   (s.b.has, ("c", bad)), (s.b.delete, ("c", bad)), (s.b.delete_many, ("c", ["z", bad])),
                                   (s.b.copy, ("c", "x", "c", bad)), (s.b.copy, ("c", bad, "c", "z")),
                                   (s.b.move, ("c", "x", "c", bad)), (s.b.move, ("c", bad, "c", "z"))):
                assert "name" in error(function, *args), (function.__name__, args)
        assert s.files(".") == ["c"] and s.files() == ["x"] and s.b.read("c", "x") == b"x"
        with open(s.root + ".outside", encoding="ascii") as f:
            assert f.read() == "secret"
        s.b.write("c", "x" * 255, b"")
        long = "z/" * 511 + "zz"
        s.b.write("c", long, b"long")
        assert s.b.read("c", long) == b"long" and s.b.list("c")[2] == long


def symbolic_links_are_nothing():
    with Store() as s:
        outside = folder("outside")
        with open(outside + "/secret", "w", encoding="ascii") as f:
            f.write("secret")
        os.symlink(outside, s.root + "/linked")
        os.symlink(outside, s.root + "/c/folder")
        os.symlink(outside + "/secret", s.root + "/c/file")
        os.symlink(outside + "/new", s.root + "/c/dangling")
        os.symlink("/", s.root + "/c/slash")
        s.b.write("c", "mine", b"mine")
        assert not s.b.exists("linked") and not s.b.has("c", "file") and not s.b.has("c", "folder/secret")
        for function, args in ((s.b.read, ("linked", "secret")), (s.b.read, ("c", "file")), (s.b.read, ("c", "folder/secret")),
                               (s.b.info, ("c", "file")), (s.b.write, ("c", "folder/new", b"x")), (s.b.write, ("linked", "x", b"x")),
                               (s.b.list, ("linked",)), (s.b.clear, ("linked",)), (s.b.delete_container, ("linked",)),
                               (s.b.copy, ("c", "file", "c", "copied")), (s.b.copy, ("c", "mine", "c", "folder/new")),
                               (s.b.move, ("c", "folder/secret", "c", "moved")), (s.b.move, ("c", "mine", "linked", "x")),
                               (s.b.create, ("c/folder/new",)), (s.b.create, ("linked",))):
            error(function, *args)
        s.b.delete("c", "folder/secret")
        assert s.b.list("c") == ["mine"]
        s.b.write("c", "dangling", b"mine now")  # replaces the link, does not follow it
        assert s.b.read("c", "dangling") == b"mine now" and os.listdir(outside) == ["secret"]
        s.b.clear("c")
        assert s.files() == [] and os.listdir(outside) == ["secret"]
        os.symlink(outside, s.root + "/c/folder")
        s.b.delete_container("c")
        assert s.files(".") == ["linked"] and os.listdir(outside) == ["secret"]


def what_others_put_there_is_bounded_by_what_names_can_say():
    with Store() as s:
        s.b.write("c", "a/b", b"ab")
        open(os.fsencode(s.root) + b"/c/\xff\xfe", "wb").close()
        os.mkfifo(s.root + "/c/fifo")
        os.mkdir(s.root + "/c/empty")
        os.makedirs(s.root + "/c/" + "/".join(["d" * 250] * 4))
        open(s.root + "/c/" + "/".join(["d" * 250] * 4) + "/" + "e" * 250, "wb").close()
        assert s.b.list("c") == ["a/b"]
        wait_for("the log", lambda: "leaves 2 files out" in s.log())
        assert not s.b.has("c", "fifo") and not s.b.has("c", "a") and not s.b.has("c", "empty")
        for function, args in ((s.b.read, ("c", "fifo")), (s.b.read, ("c", "a")), (s.b.write, ("c", "a", b"x")),
                               (s.b.copy, ("c", "a/b", "c", "a")), (s.b.move, ("c", "a/b", "c", "a")), (s.b.write, ("c", "a/b/c", b"x"))):
            error(function, *args)
        assert s.b.read("c", "a/b") == b"ab" and s.b.list("c") == ["a/b"]
        os.link(s.root + "/c/a/b", s.root + "/c/linked")  # one file with two names
        s.b.move("c", "a/b", "c", "linked")
        assert s.b.list("c") == ["linked"] and s.b.read("c", "linked") == b"ab"
        s.b.move("c", "linked", "c", "linked")
        assert s.b.read("c", "linked") == b"ab"
        s.b.clear("c")
        assert s.files() == []
        with open(s.root + "/file", "wb"):
            pass
        assert not s.b.exists("file")
        error(s.b.create, "file")
        s.b.create("d/e")  # a container may be within another
        s.b.write("d/e", "f", b"f")
        assert s.b.list("d") == ["e/f"] and s.b.read("d", "e/f") == b"f"


def a_listing_of_more_than_may_be_kept_is_in_order():
    with Store() as s:
        deep = "/".join("abcdefghij")
        os.makedirs(f"{s.root}/c/{deep}")
        names = sorted(f"{deep}/{uuid.uuid4().hex}" for _ in range(3000))
        for name in names:
            open(f"{s.root}/c/{name}", "wb").close()
        assert s.b.list("c") == names
        assert s.b.list("c", 1000, 1500) == names[1500:2500]
        s.b.clear("c")
        assert s.files() == []


# --- writes that do not end well ---


def drafts(s):
    return glob.glob(s.root + "/c/**/.outrigger-*", recursive=True)


def age(path):
    os.utime(path, (time.time() - 3600,) * 2)


def what_a_crash_leaves_is_not_seen_and_goes():
    with Store() as s:
        s.b.write("c", "x/old", b"old")
        for name in ("x/old", "new"):
            s.b.upload("c", name).answer().send(CHUNK)
        wait_for("data on the disk", lambda: len(drafts(s)) == 2 and all(os.path.getsize(d) for d in drafts(s)))
        s.process.kill()
        s.process.wait()
        assert len(drafts(s)) == 2
        with Store(s.root) as again:
            b = again.b
            assert b.list("c") == ["x/old"] and b.read("c", "x/old") == b"old"
            assert len(drafts(s)) == 2, "too young to be taken for left"
            up = b.upload("c", "running").answer()
            up.send(CHUNK)
            wait_for("a third draft", lambda: len(drafts(s)) == 3)
            for path in drafts(s):
                age(path)
            assert b.list("c") == ["x/old"]
            assert len(drafts(s)) == 1, "the one that is written to is locked"
            b.clear("c")
            up.send(CHUNK)
            up.end()
            up.status()
            assert b.list("c") == ["running"] and b.info("c", "running")[1] == 2 * len(CHUNK) and not drafts(s)
        s.process = again.process  # ended well


def a_container_that_goes_takes_running_writes_with_it():
    with Store() as s:
        up = s.b.upload("c", "deep/down/new").answer()
        up.send(CHUNK)
        wait_for("a draft", lambda: drafts(s))
        s.b.delete_container("c")
        up.end()
        assert "deleted meanwhile" in error(up.status)
        assert s.files(".") == []


def a_write_that_is_cut_leaves_no_file_and_no_folder():
    with Store() as s:
        up = s.b.upload("c", "deep/down/new").answer()
        up.send(CHUNK)
        wait_for("a draft", lambda: drafts(s))
        up.end(cut=True)
        assert "broke off" in error(up.status)
        assert s.files() == []


def leaving_during_a_write_leaves_nothing():
    with Store() as s:
        s.b.upload("c", "new").answer().send(CHUNK)
        wait_for("a draft", lambda: drafts(s))
        s.process.terminate()
        lattice.nats.request("wasmbus.rpc.test.blob.default.shutdown", b'{"host_id": "NTESTHOST"}')
        assert s.process.wait(20) == 0
        assert s.files() == []


# --- a disk with troubles ---


def with_a_disk(test):
    """Leaves the test out where nobody may mount."""
    def run():
        if subprocess.run([*UNSHARE, "true"], capture_output=True).returncode:
            print("    skipped: no mount namespaces here", flush=True)
        else:
            test()
    run.__name__ = test.__name__
    return run


class Disk:
    """A mount namespace with a disk of its own at root. The process that holds it, unlike a provider, lets its user look in."""

    def __init__(self, root, size):
        holder = l.start([*UNSHARE, "sh", "-c", f"mount -t tmpfs -o size={size} disk {root} && echo && exec sleep 1000"],
                         stdout=subprocess.PIPE, **l.APART)
        assert holder.stdout.readline() == b"\n"
        user = [] if ROOT_ONLY else ["--user", "--preserve-credentials"]
        self.enter = ["nsenter", "--target", str(holder.pid), "--mount", *user]
        self.seen = f"/proc/{holder.pid}/root{root}"  # from out here

    def run(self, *command):
        subprocess.run([*self.enter, *command], check=True)


@with_a_disk
def a_full_disk_is_told_and_left():
    root = folder()
    disk = Disk(root, "8m")
    with Store(root, before=disk.enter) as s:
        s.b.write("c", "kept", CHUNK)
        up = s.b.upload("c", "large").answer()
        for _ in range(80):
            up.send(CHUNK)
        assert error(up.status) == "the disk is full"
        assert os.listdir(disk.seen + "/c") == ["kept"]
        s.is_well()
        with open(disk.seen + "/filler", "wb", buffering=0) as f:
            try:
                while f.write(CHUNK):
                    pass
            except OSError:
                pass
        s.is_ill("the disk is full")
        assert error(s.b.write, "c", "more", CHUNK) == "the disk is full"
        assert error(s.b.copy, "c", "kept", "c", "more") == "the disk is full"
        assert s.b.read("c", "kept") == CHUNK and s.b.list("c") == ["kept"]
        os.remove(disk.seen + "/filler")
        s.is_well()
        s.b.write("c", "more", CHUNK)


@with_a_disk
def a_disk_that_is_read_only_is_told():
    root = folder()
    disk = Disk(root, "8m")
    with Store(root, before=disk.enter) as s:
        s.b.write("c", "kept", b"kept")
        disk.run("mount", "-o", "remount,bind,ro", root)
        s.is_ill("the store is read-only")
        for function, args in ((s.b.write, ("c", "x", b"x")), (s.b.write, ("c", "deep/x", b"x")), (s.b.create, ("d",)),
                               (s.b.create, ("d/e",)), (s.b.delete, ("c", "kept")), (s.b.clear, ("c",)),
                               (s.b.copy, ("c", "kept", "c", "x")), (s.b.move, ("c", "kept", "c", "x")), (s.b.delete_container, ("c",))):
            assert error(function, *args) == "the store is read-only", function.__name__
        assert s.b.read("c", "kept") == b"kept"
        disk.run("mount", "-o", "remount,bind,rw", root)
        s.is_well()
        s.b.write("c", "x", b"x")


@with_a_disk
def objects_go_from_one_disk_to_another():
    root = folder()
    os.mkdir(root + "/other")
    with Store(root, before=Disk(root + "/other", "8m").enter) as s:
        s.b.write("c", "deep/x", CHUNK * 9)
        s.b.copy("c", "deep/x", "other", "far/y")
        assert s.b.read("other", "far/y") == CHUNK * 9 and s.b.has("c", "deep/x")
        s.b.move("c", "deep/x", "other", "far/y")
        assert s.b.read("other", "far/y") == CHUNK * 9 and s.files() == []
        s.b.move("other", "far/y", "c", "back")
        assert s.b.read("c", "back") == CHUNK * 9 and s.b.list("other") == []
        s.b.write("c", "large", CHUNK * 40)
        assert error(s.b.move, "c", "large", "other", "large") == "the disk is full"
        assert s.b.list("other") == [] and s.b.info("c", "large")[1] == 40 * len(CHUNK)


def a_root_that_is_gone_is_not_made_again():
    with Store() as s:
        s.b.write("c", "kept", b"kept")
        os.rename(s.root, s.root + ".away")
        for function, args in ((s.b.read, ("c", "kept")), (s.b.write, ("c", "x", b"x")), (s.b.create, ("c",)), (s.b.exists, ("c",)),
                               (s.b.delete, ("c", "kept")), (s.b.list, ("c",))):
            assert error(function, *args) == "the store's folder is gone", function.__name__
        s.is_ill("the store's folder is gone")
        assert not os.path.exists(s.root)
        os.rename(s.root + ".away", s.root)
        assert s.b.read("c", "kept") == b"kept"
        s.is_well()


def a_root_without_permission_is_told():
    root = folder()
    os.chmod(os.path.dirname(root), 0o711)
    if ROOT_ONLY:
        os.chown(root, 65534, 65534)
    with Store(root, user=65534 if ROOT_ONLY else None) as s:
        s.b.write("c", "kept", b"kept")
        os.chmod(root, 0)
        s.is_ill("permission denied")
        assert error(s.b.read, "c", "kept") == "permission denied"
        os.chmod(root, 0o500)
        assert error(s.b.create, "d") == "permission denied" and s.b.read("c", "kept") == b"kept"
        s.is_ill("permission denied")
        os.chmod(root, 0o700)
        s.is_well()
        os.chmod(root + "/c", 0o500)
        assert error(s.b.write, "c", "x", b"x") == "permission denied"
        assert error(s.b.write, "c", "deep/x", b"x") == "permission denied"
        os.chmod(root + "/c", 0o700)
        s.b.create("d")


def an_object_above_the_limit_of_file_sizes_is_an_error():
    with Store() as s:
        resource.prlimit(s.process.pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        assert error(s.b.write, "c", "x", CHUNK * 12) == "the object is too large for the file system"
        s.b.write("c", "y", CHUNK)
        assert s.files() == ["y"]


# --- links ---


def each_link_has_a_root_of_its_own():
    base, own, other = folder(), folder(), folder()
    a, b = link("one", Root=own), link("one", "second", ROOT=other + "/new/deep")
    with Store(links=[a, b, link("two"), link("th/ree")], config={"ROOT": base}) as s:
        clients = [Client(lattice, "blob", *of) for of in (("one", "default"), ("one", "second"), ("two", "default"))]
        for i, client in enumerate(clients):
            client.create(f"c{i}")
        assert os.listdir(own) == ["c0"] and os.listdir(other + "/new/deep") == ["c1"] and os.listdir(base + "/two") == ["c2"]
        wait_for("the log", lambda: "no name of a folder" in s.log())
        lattice.nats.publish("wasmbus.rpc.test.blob.linkdefs.del", json.dumps(b).encode())
        wait_for("the link to go", lambda: _refused(clients[1]))
        assert clients[0].exists("c0") and os.listdir(other + "/new/deep") == ["c1"]


def _refused(client):
    try:
        client.exists("c1")
    except Exception:  # noqa: BLE001: there is no link any more
        return True
    return False


# --- a lot of bytes; test_blobstore_bulk.py has more ---


def objects_of_any_size_go_over_nats():
    with Store() as s, Peak(s.process.pid) as peak:
        size = MIB << 20
        up = s.b.upload("c", "big").answer()

        def written():
            return sum(os.path.getsize(d) for d in drafts(s))
        for sent in range(0, size, len(CHUNK)):
            if sent - written() > 4 << 20:  # nothing on the wire slows us down
                wait_for("data on the disk", lambda: sent - written() < 2 << 20)
            up.send(CHUNK)
        up.end()
        up.status()
        assert os.path.getsize(s.root + "/c/big") == size
        down = Chunks()
        running = s.b.start("get-container-data", text("c"), text("big"), leb(0), leb(MAX), on_chunk=down.add)
        running.until("the end", lambda: down.ended)
        running.value("0.1", lambda r: r.byte())
        running.stop()
        assert down.count == size
        print(f"    {MIB} MiB: anonymous memory at most {peak.kib} KiB", flush=True)
        assert peak.kib < MEMORY_MAX


l.run([it_passes_the_suite_of_its_interface, no_name_leads_out_of_the_root, symbolic_links_are_nothing,
       what_others_put_there_is_bounded_by_what_names_can_say, a_listing_of_more_than_may_be_kept_is_in_order,
       what_a_crash_leaves_is_not_seen_and_goes, a_container_that_goes_takes_running_writes_with_it,
       a_write_that_is_cut_leaves_no_file_and_no_folder, leaving_during_a_write_leaves_nothing, a_full_disk_is_told_and_left,
       a_disk_that_is_read_only_is_told, objects_go_from_one_disk_to_another, a_root_that_is_gone_is_not_made_again, a_root_without_permission_is_told,
       an_object_above_the_limit_of_file_sizes_is_an_error, each_link_has_a_root_of_its_own,
       objects_of_any_size_go_over_nats])
