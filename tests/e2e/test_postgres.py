"""test_postgres: sqldb-postgres through NATS, with a real PostgreSQL that fails in every way it can.
usage: test_postgres.py [NAME-PART]..., BIN=dir for the executables."""

import os
import re
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../lib"), os.path.join(HERE, "../conformance/postgres")]
import lattice as e2e
import suite
import values
from lattice import wait_for
from postgres import PASSWORD, Postgres
from suite import Database, fails, same

nats = e2e.nats_server()
postgres = Postgres(tls=True)
postgres.sql(suite.PREPARATION)
victim = Postgres()  # without TLS; the one that is killed and paused
lat = e2e.Lattice(nats.port)


def has(got, *parts):
    for part in parts:
        assert part in str(got), f"{str(got)!r:.600} has no {part!r}"


class running:
    """A provider in a with statement; at the end it must leave in good order, without having said a password."""

    def __init__(self, links=(), provider_id="pg", **members):
        self.provider = lat.provider("sqldb-postgres", provider_id, links, **members)

    def __enter__(self):
        return self.provider

    def __exit__(self, kind, value, trace):
        p = self.provider
        if kind:
            print(f"# {p.id}, status {p.process.poll()}\n# " + "\n# ".join(p.log().splitlines()[-15:]), file=sys.stderr)
            p.kill()
            return
        if p.process.poll() is None:
            p.terminate()
        assert p.wait() == 0, f"{p.id} ended with {p.process.returncode}: {p.log()[-3000:]}"
        assert "Sanitizer" not in p.log(), p.log()
        assert PASSWORD not in p.log() and PASSWORD[:6] not in p.log(), p.log()


def link(source="comp", name="default", server=None, secrets=None, **config):
    return lat.link(source, "pg", (server or postgres).link_config(**config), name=name, package="wasmcloud:postgres",
                    interfaces=("query", "prepared"))


def db(source="comp", name="default"):
    return Database(lat, "pg", source, name)


def when_healthy(provider, healthy=True, seconds=15):
    wait_for(f"health {healthy}, is {provider.health()}", lambda: provider.health()["healthy"] == healthy, seconds)


def backends(condition="true"):
    """How many of our sessions the server has that are so."""
    return int(postgres.sql(f"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sqldb-postgres' AND {condition}"))


def conformance():
    with running([link()]):
        lines = []
        failed = suite.run(db(), lines.append)
        assert failed == 0, "\n".join(lines)


def links_have_their_own_pools_and_tokens():
    postgres.sql("DROP DATABASE IF EXISTS other")
    postgres.sql("CREATE DATABASE other")
    with running([link(), link("second", POSTGRES_DATABASE="other"), link("comp", "more", POSTGRES_DATABASE="other")]):
        name = "SELECT current_database()::text"
        for where, want in ((db(), "postgres"), (db("second"), "other"), (db("comp", "more"), "other")):
            same(where.one(name), ("text", want))
        token = db().prepare(name)
        same(db().exec(token), 1)
        for other in (db("second"), db("comp", "more")):
            same(fails(other.exec, token), ("unknown-prepared-query", None))


def tokens_work_on_every_connection_and_replica():
    """Prepared by one of two replicas and executed by either; and again when its server has been away."""
    postgres.sql("CREATE TABLE IF NOT EXISTS r (a int4); TRUNCATE r")
    with running([link()]), running([link()]) as second:
        token = db().prepare("INSERT INTO r VALUES ($1)")
        with ThreadPoolExecutor(8) as pool:
            same(list(pool.map(lambda i: db().exec(token, ("int4", i)), range(40))), [1] * 40)
        same(postgres.sql("SELECT count(*) FROM r"), "40")
        same(second.health()["healthy"], True)


def calls_share_the_pool_in_order():
    with running([link(POSTGRES_POOL_SIZE="2")]):
        start = time.monotonic()
        calls = [db().start_query("SELECT pg_sleep(0.2), clock_timestamp()") for _ in range(8)]
        ends = [c()[0][1][1] for c in calls]
        took = time.monotonic() - start
        assert 0.75 < took < 5, f"took {took}"
        assert all(a < b for a, b in zip(ends, ends[2:])), ends  # two at a time
        assert backends() <= 2, backends()
        # As many as there are calls, none is left behind.
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda i: db().one("SELECT $1::int4 + 1", ("int4", i)), range(500)))
        same(answers, [("int4", i + 1) for i in range(500)])


def overload_is_an_error_at_once():
    with running([link(POSTGRES_POOL_SIZE="1", POSTGRES_QUEUE_SIZE="3")]):
        same(db().one("SELECT 1"), ("int4", 1))
        calls = [db().start_query("SELECT pg_sleep(1)") for _ in range(4)]
        wait_for("the first one runs", lambda: backends("query LIKE '%pg_sleep(1)%' AND state = 'active'") == 1)
        start = time.monotonic()
        same(fails(db().one, "SELECT 1"), ("unexpected", "postgres: too many calls are waiting"))
        assert time.monotonic() - start < 0.8
        for c in calls:
            same(c(), [[("pg_sleep", ("null", None))]])
        same(db().one("SELECT 1"), ("int4", 1))


def late_statements_are_cancelled():
    with running([link(POSTGRES_POOL_SIZE="1", POSTGRES_QUERY_TIMEOUT_MS="1000")]) as p:
        when_healthy(p)
        start = time.monotonic()
        same(fails(db().rows, "SELECT pg_sleep(60)"), ("unexpected", "postgres: no answer within 1000 ms"))
        assert 0.9 < time.monotonic() - start < 4
        wait_for("it is cancelled", lambda: backends("query LIKE '%pg_sleep(60)%' AND state = 'active'") == 0, 3)
        same(db().one("SELECT 1"), ("int4", 1))
        first = db().start_query("SELECT pg_sleep(60)")  # and who waits behind it
        second = db().start_query("SELECT 2")
        same(fails(first), ("unexpected", "postgres: no answer within 1000 ms"))
        has(fails(second), "no connection was free within 1000 ms")
        same(fails(db().batch, "SELECT 1; SELECT pg_sleep(60)"), ("unexpected", "postgres: no answer within 1000 ms"))
        wait_for("all are cancelled", lambda: backends("state = 'active'") == 0, 3)
        same(db().one("SELECT 3"), ("int4", 3))
        same(p.health()["healthy"], True)


def results_are_bounded():
    with running([link(POSTGRES_MAX_RESULT_BYTES="1000000")]):
        has(fails(db().rows, "SELECT repeat('x', 1000), generate_series(1, 100000000)"), "larger than the limit")
        has(fails(db().rows, "SELECT repeat('x', 2000000)"), "larger than the limit")
        has(fails(db().rows, "SELECT array_agg(1e131000::numeric) FROM generate_series(1, 1000)"), "larger than the limit")
        wait_for("they are cancelled", lambda: backends("state = 'active'") == 0, 5)
        same(len(db().rows("SELECT repeat('x', 1000) FROM generate_series(1, 500)")), 500)
        same(db().exec(db().prepare("SELECT repeat('x', 1000) FROM generate_series(1, 10000)")), 10000)


def copy_is_refused():
    with running([link(POSTGRES_POOL_SIZE="1")]):
        postgres.sql("CREATE TABLE IF NOT EXISTS cp (a int4)")
        for sql in ("COPY cp FROM STDIN", "COPY cp TO STDOUT"):
            has(fails(db().batch, sql), "COPY cannot be done")
            same(db().one("SELECT 1"), ("int4", 1))
            has(fails(db().rows, sql), "COPY")
            same(db().one("SELECT 1"), ("int4", 1))


def open_transactions_are_told_once():
    with running([link(POSTGRES_POOL_SIZE="1")]) as p:
        for _ in range(3):
            same(db().rows("BEGIN"), [])
        same(db().one("SELECT 1"), ("int4", 1))
        same(backends("state LIKE 'idle in transaction%'"), 0)
        same(p.log().count("left a transaction open"), 1)


# --- configuration ---


def configuration_errors_are_told_in_one_line():
    cases = [({"POSTGRES_HOST": None}, "no POSTGRES_HOST in the link's secrets or config"),
             ({"POSTGRES_USERNAME": None}, "no POSTGRES_USERNAME"), ({"POSTGRES_DATABASE": ""}, "no POSTGRES_DATABASE"),
             ({"sslmode": "maybe"}, "sslmode 'maybe': expected disable, allow"),
             ({"sslmode": "prefer", "POSTGRES_TLS_REQUIRED": "yes"}, "sslmode prefer, but POSTGRES_TLS_REQUIRED is set")]
    with running() as p:
        for i, (changes, want) in enumerate(cases):
            p.put(link(f"bad{i}", **changes))
            p.logged(want, f"bad{i}")
        p.put(link(POSTGRES_POOL_SIZE="many"))
        p.logged("expected a whole number from 1 to 1000", "POSTGRES_POOL_SIZE")
        same(db().one("SELECT 1"), ("int4", 1))
        p.put(lat.link("pg", "comp", {}, package="wasmcloud:postgres", interfaces=("query",)))
        p.logged("a link from this provider")


def keys_are_taken_in_any_case_and_sockets():
    config = {k.lower(): v for k, v in postgres.link_config(POSTGRES_PASSWORD=None, POSTGRES_HOST=postgres.folder).items()}
    with running([lat.link("comp", "pg", config, package="wasmcloud:postgres", interfaces=("query",))]) as p:
        same(db().one("SELECT inet_client_addr()"), ("null", None))
        when_healthy(p)


def wrong_logins_show_no_password():
    with running([link(POSTGRES_PASSWORD="wr0ng")]) as p:
        when_healthy(p, False)
        wait_for("the reason", lambda: "password authentication failed" in str(p.health()))
        wait_for("calls fail at once", lambda: fails(db().rows, "SELECT 1") == ("unexpected", "postgres: not connected"))
        assert "wr0ng" not in p.log() + str(p.health())
        p.put(link())  # changed: a new link
        when_healthy(p)
        same(db().one("SELECT 1"), ("int4", 1))


def tls_modes():
    ssl = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    with running([link(), link("off", sslmode="disable"), link("required", POSTGRES_TLS_REQUIRED="true"),
                  link("full", POSTGRES_HOST="localhost", sslmode="verify-full", sslrootcert=postgres.certificate),
                  link("wrong", sslmode="verify-full", sslrootcert="system-of-nobody"),
                  link("plain", server=victim), link("plain-required", server=victim, POSTGRES_TLS_REQUIRED="true")]) as p:
        for source, want in (("comp", True), ("off", False), ("required", True), ("full", True), ("plain", False)):
            same(db(source).one(ssl), ("bool", want))
        # What TLS has read already, libpq must get without the socket being readable again.
        for size in (100, 16000, 17000, 70000, 1000000):
            same(db().one(f"SELECT repeat('y', {size})"), ("text", "y" * size))
        for source in ("wrong", "plain-required"):
            wait_for("refusal", lambda s=source: fails(db(s).rows, "SELECT 1") == ("unexpected", "postgres: not connected"))
        p.logged("plain-required", "server does not support SSL")


# --- trouble ---


class Load:
    """Calls without a break; what they gave."""

    def __init__(self, source="comp", threads=4):
        self.good, self.errors, self.bad, self.slowest, self.on = 0, {}, [], 0, True
        self.source = source
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(threads)]
        for t in self.threads:
            t.start()

    def work(self):
        n = 0
        while self.on:
            n += 1
            start = time.monotonic()
            try:
                same(db(self.source).one("SELECT $1::int4", ("int4", n)), ("int4", n))
                self.good += 1
            except suite.Failure as e:
                self.errors[str(e.value)] = self.errors.get(str(e.value), 0) + 1
                time.sleep(0.01)
            except Exception as e:  # noqa: BLE001: told by stop
                self.bad.append(repr(e))
            self.slowest = max(self.slowest, time.monotonic() - start)

    def stop(self):
        self.on = False
        for t in self.threads:
            t.join()
        assert not self.bad, self.bad[:5]


def server_is_killed_and_restarted_under_load():
    with running([link(server=victim), link("second")]) as p:
        when_healthy(p)
        load, second = Load(), Load("second", 1)
        wait_for("calls", lambda: load.good > 50)
        victim.kill()
        wait_for("errors", lambda: any("not connected" in e for e in load.errors))
        when_healthy(p, False)
        wait_for("the reason", lambda: "Connection refused" in str(p.health()))
        victim.start()
        before = load.good
        wait_for("calls again", lambda: load.good > before + 50, 15)
        when_healthy(p)
        load.stop()
        second.stop()
        same(second.errors, {})
        assert set(re.sub(r"\d+", "N", e) for e in load.errors) <= {
            "('unexpected', 'postgres: not connected')", "('unexpected', 'postgres: the connection was lost')",
            "('unexpected', 'NPN: terminating connection due to unexpected postmaster exit')",
            "('unexpected', 'NPN: terminating connection because of crash of another server process')",
            "('unexpected', 'NPN: terminating connection due to immediate shutdown command')"}, load.errors


def server_is_paused_under_load():
    with running([link(server=victim, POSTGRES_QUERY_TIMEOUT_MS="700", POSTGRES_CONNECT_TIMEOUT_MS="700"), link("second")]) as p:
        when_healthy(p)
        load, second = Load(), Load("second", 1)
        wait_for("calls", lambda: load.good > 50)
        victim.pause()
        wait_for("errors", lambda: load.errors)
        when_healthy(p, False)
        victim.resume()
        before = load.good
        wait_for("calls again", lambda: load.good > before + 50, 15)
        when_healthy(p)
        load.stop()
        second.stop()
        same(second.errors, {})
        assert load.slowest < 3, load.slowest
        # What was cancelled, or given up, is over on the server, too.
        wait_for("no session is left", lambda: int(victim.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = "
                                                              "'sqldb-postgres' AND state = 'active'")) == 0)


def server_is_not_there_at_first():
    victim.kill()
    with running([link(server=victim)]) as p:
        wait_for("the reason", lambda: "Connection refused" in str(p.health()))
        wait_for("fails at once", lambda: fails(db().rows, "SELECT 1") == ("unexpected", "postgres: not connected"))
        victim.start()
        when_healthy(p)
        same(db().one("SELECT 1"), ("int4", 1))
        pids = "SELECT pid FROM pg_stat_activity WHERE application_name = 'sqldb-postgres'"
        before = victim.sql(pids)
        victim.sql(f"SELECT pg_terminate_backend({before})")
        wait_for("another connection", lambda: victim.sql(pids) not in ("", before))
        same(db().one("SELECT 1"), ("int4", 1))


def something_else_answers():
    """A server that speaks something else, and one that says nothing."""
    def speak(answer):
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
        s.listen(50)
        s.settimeout(0.1)

        def serve():
            held = []
            while on:
                try:
                    c, _ = s.accept()
                except TimeoutError:
                    continue
                held.append(c)
                if answer:
                    c.sendall(answer)
            for c in held:
                c.close()
            s.close()
        t = threading.Thread(target=serve, daemon=True)
        t.start()
        threads.append(t)
        return str(s.getsockname()[1])
    on, threads = True, []
    config = {"POSTGRES_CONNECT_TIMEOUT_MS": "300", "POSTGRES_QUERY_TIMEOUT_MS": "1000"}
    with running([link("web", POSTGRES_PORT=speak(b"HTTP/1.1 400 Bad Request\r\n\r\n"), **config),
                  link("mute", POSTGRES_PORT=speak(b""), **config), link()]) as p:
        for source in ("web", "mute"):
            has(fails(db(source).rows, "SELECT 1"), "not connected")
        p.logged("mute", "not connected within 300 ms")
        same(db().one("SELECT 1"), ("int4", 1))
    on = False
    for t in threads:
        t.join()


def connections_that_the_server_refuses_are_no_harm():
    """It has room for three of ours; the pool would have eight."""
    postgres.sql("DROP ROLE IF EXISTS few")
    postgres.sql("CREATE ROLE few LOGIN CONNECTION LIMIT 3 PASSWORD '" + PASSWORD.replace("'", "''") + "'")
    with running([link(POSTGRES_USERNAME="few", POSTGRES_POOL_SIZE="8")]) as p:
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda i: db().one("SELECT 1 FROM pg_sleep(0.01)"), range(200)))
        same(answers, [("int4", 1)] * 200)
        same(p.health()["healthy"], True)


def links_come_and_go_under_load():
    with running([link()]) as p:
        load = Load()
        wait_for("calls", lambda: load.good > 50)
        for i in range(3):
            p.put(link(POSTGRES_POOL_SIZE=str(i + 1)))
            before = load.good
            wait_for("calls", lambda: load.good > before + 50)
        load.stop()
        same(load.errors, {})
        wait_for("the old pools are gone", lambda: backends() <= 3)
        slow = db().start_query("SELECT 7 FROM pg_sleep(0.5)")
        wait_for("it runs", lambda: backends("query LIKE '%pg_sleep(0.5)%' AND state = 'active'") == 1)
        p.terminate()
        same(slow(), [[("?column?", ("int4", 7))]])
        same(p.wait(), 0)


e2e.run([conformance, links_have_their_own_pools_and_tokens, tokens_work_on_every_connection_and_replica,
         calls_share_the_pool_in_order, overload_is_an_error_at_once, late_statements_are_cancelled, results_are_bounded,
         copy_is_refused, open_transactions_are_told_once, configuration_errors_are_told_in_one_line,
         keys_are_taken_in_any_case_and_sockets, wrong_logins_show_no_password, tls_modes,
         server_is_killed_and_restarted_under_load, server_is_paused_under_load, server_is_not_there_at_first,
         something_else_answers, connections_that_the_server_refuses_are_no_harm, links_come_and_go_under_load])
