"""Goal: real clients work with kv-server, clients without manners harm nobody but themselves, and
the server says what is wrong when it lacks memory, disk or descriptors, and goes on serving.

Method: redis-cli, redis-benchmark and redis-py send every command that docs/kv.md names, and what
comes back is compared with what Redis answers. Raw sockets send what no client would, and each time
another client must be served afterwards. Limits are the kernel's (RLIMIT_FSIZE, RLIMIT_AS).
"""
import os
import random
import resource
import signal
import socket
import subprocess
import threading
import time

import redis

from kv import Error, Raw, Server, Tap, command, is_equal, is_true, serves

tap = Tap()
MIB = 1 << 20


def connect(server, db=0):
    return redis.Redis(port=server.port, db=db, socket_timeout=30)


def refused(what, call, *arguments):
    """Raises unless the call is answered by an error with these words."""
    try:
        result = call(*arguments)
    except redis.RedisError as error:
        is_true(what.lower() in str(error).lower(), f"{error} does not contain {what}")
    else:
        raise AssertionError(f"{arguments!r:.80} gave {result!r:.80}, no error with {what}")


# ---- redis-cli and redis-benchmark ----

def cli(server, *arguments, text=b""):
    done = subprocess.run(["redis-cli", "-p", str(server.port), *arguments], input=text,
                          capture_output=True, timeout=60, check=False)
    is_equal(done.stderr, b"")
    is_equal(done.returncode, 0)
    return done.stdout


def test_cli(server):
    with tap.test("redis-cli: values"):
        is_equal(cli(server, "PING"), b"PONG\n")
        is_equal(cli(server, "SET", "cli", "a value"), b"OK\n")
        is_equal(cli(server, "GET", "cli"), b"a value\n")
        is_equal(cli(server, "--no-raw", "GET", "none"), b"(nil)\n")
        is_equal(cli(server, "-n", "1", "--no-raw", "GET", "cli"), b"(nil)\n")
        large = random.Random(1).randbytes(3 * MIB)
        is_equal(cli(server, "-x", "SET", "large", text=large), b"OK\n")
        is_equal(cli(server, "GET", "large"), large + b"\n")
    with tap.test("redis-cli: commands from its input"):
        is_equal(cli(server, text=b"SET a 1\nINCR a\nSTRLEN a\nDEL a\n"), b"OK\n2\n1\n1\n")
    with tap.test("redis-cli: --scan"):
        names = sorted(b"scan:%d" % i for i in range(500))
        cli(server, text=b"".join(b"SET %b x\n" % name for name in names))
        is_equal(sorted(cli(server, "--scan", "--pattern", "scan:*").split()), names)
    with tap.test("redis-cli: --pipe"):
        text = b"".join(command("SET", f"pipe:{i}", "x" * i) for i in range(2000))
        is_true(b"errors: 0, replies: 2000" in cli(server, "--pipe", text=text), "not all")
        is_equal(cli(server, "STRLEN", "pipe:1999"), b"1999\n")
    with tap.test("redis-cli: INFO, CONFIG GET, COMMAND, CLIENT"):
        is_true(b"redis_version:" in cli(server, "INFO"), "no version")
        is_true(cli(server, "CONFIG", "GET", "maxmemory").startswith(b"maxmemory\n"), "no limit")
        is_true(cli(server, "COMMAND") is not None, "COMMAND")
        is_true(cli(server, "CLIENT", "ID").strip().isdigit(), "no number of the client")
    with tap.test("redis-benchmark: no errors"):
        done = subprocess.run(
            ["redis-benchmark", "-p", str(server.port), "-t", "ping,set,get,incr,mset", "-n",
             "4000", "-c", "20", "-P", "8", "-r", "1000", "-q"],
            capture_output=True, timeout=60, check=True)
        is_equal(done.stdout.count(b"requests per second"), 6)
        is_true(b"rror" not in done.stdout + done.stderr, done.stdout + done.stderr)


# ---- redis-py: every command ----

def test_strings(server):
    r = connect(server)
    with tap.test("PING, ECHO"):
        is_true(r.ping(), "PING")
        with Raw(server.port) as raw:
            is_equal(raw.ask("PING", "text"), b"text")
        is_equal(r.echo(b"\r\n\0"), b"\r\n\0")
    with tap.test("GET and SET of every kind of value"):
        values = [b"", b"x", b"\0", b"\r\n", b"$5\r\nhello\r\n", bytes(range(256))]
        values += [random.Random(2).randbytes(size) for size in
                   (63, 64, 65, 4095, 4096, 4097, 65535, 65536, 65537, MIB, 20 * MIB)]
        for i, value in enumerate(values):
            is_true(r.set(f"v{i}", value), "SET")
            is_equal(r.get(f"v{i}"), value)
        for i, value in enumerate(values):
            is_equal(r.get(f"v{i}"), value)
            is_equal(r.strlen(f"v{i}"), len(value))
        is_equal(r.get("none"), None)
    with tap.test("keys of every kind"):
        for key in (b"\0", b"\r\n", b" ", b"k" * 250, bytes(range(256)), "schlüssel".encode()):
            is_true(r.set(key, key + b"!"), "SET")
            is_equal(r.get(key), key + b"!")
            is_equal(r.delete(key), 1)
    with tap.test("a value is replaced by longer and shorter ones"):
        for size in (10, 10000, 3, 300000, 0, 64, 72, 56):
            r.set("same", b"%d" % size * size)
            is_equal(r.get("same"), b"%d" % size * size)
    with tap.test("SET: NX, XX, GET of what is not there"):
        r.delete("n")
        is_equal(r.set("n", 1, xx=True), None)
        is_equal(r.get("n"), None)
        is_true(r.set("n", 2, nx=True), "NX")
        is_equal(r.set("n", 3, nx=True), None)
        is_equal(r.get("n"), b"2")
        is_true(r.set("n", 4, xx=True), "XX")
        is_equal(r.get("n"), b"4")
        refused("syntax", r.execute_command, "SET", "n", "5", "NX", "XX")
        refused("syntax", r.execute_command, "SET", "n", "5", "EX", "1", "PX", "1")
        refused("syntax", r.execute_command, "SET", "n", "5", "NONSENSE")
        refused("syntax", r.execute_command, "SET", "n", "5", "EX")
        is_equal(r.get("n"), b"4")
    with tap.test("MSET, MGET, EXISTS, DEL"):
        is_true(r.mset({f"m{i}": f"value{i}" for i in range(300)}), "MSET")
        names = [f"m{i}" for i in range(300)]
        is_equal(r.mget(names + ["none"]), [b"value%d" % i for i in range(300)] + [None])
        is_equal(r.exists(*names, "none", "m1"), 301)
        is_equal(r.delete(*names[:100], "none"), 100)
        is_equal(r.exists(*names), 200)
        is_equal(r.mget("m0", "m100"), [None, b"value100"])
        refused("wrong number", r.execute_command, "MSET", "a", "1", "b")
        is_equal(r.get("a"), None)
    with tap.test("APPEND, GETRANGE, STRLEN"):
        r.delete("ap")
        is_equal(r.append("ap", "Hello"), 5)
        is_equal(r.append("ap", " World"), 11)
        is_equal(r.get("ap"), b"Hello World")
        for first, last, want in ((0, 4, b"Hello"), (-5, -1, b"World"), (0, -1, b"Hello World"),
                                  (4, 2, b""), (20, 30, b""), (-100, 1, b"He"), (6, 100, b"World"),
                                  (6, 11, b"World"), (6, 10, b"World"), (10, 11, b"d"),
                                  (11, 11, b""),
                                  (-1, -5, b"")):
            is_equal(r.getrange("ap", first, last), want)
        is_equal(r.getrange("none", 0, -1), b"")
        is_equal(r.strlen("none"), 0)
        for i in range(300):
            r.append("grows", b"%03d" % i * 100)
        is_equal(r.get("grows"), b"".join(b"%03d" % i * 100 for i in range(300)))
    with tap.test("INCR"):
        r.delete("i")
        is_equal([r.incr("i") for _ in range(3)], [1, 2, 3])
        r.set("i", -1)
        is_equal(r.incr("i"), 0)
        r.set("i", 2 ** 63 - 2)
        is_equal(r.incr("i"), 2 ** 63 - 1)
        refused("overflow", r.incr, "i")
        is_equal(r.get("i"), b"%d" % (2 ** 63 - 1))
        for bad in (b"", b"x", b"1.5", b" 1", b"1 ", b"99999999999999999999", b"1\0"):
            r.set("i", bad)
            refused("not an integer", r.incr, "i")
            is_equal(r.get("i"), bad)


def test_time(server):
    r = connect(server)
    with tap.test("SET EX and PX, TTL, EXPIRE: keys end"):
        r.set("px", 1, px=150)
        r.set("ex", 1, ex=100)
        r.set("expire", 1)
        r.set("stays", 1)
        is_equal(r.ttl("ex") in (99, 100), True)
        is_equal(r.ttl("stays"), -1)
        is_equal(r.ttl("none"), -2)
        is_equal(r.expire("expire", 1), 1)
        is_equal(r.expire("none", 1), 0)
        is_equal(r.get("px"), b"1")
        time.sleep(0.2)
        is_equal(r.get("px"), None)
        is_equal(r.exists("px"), 0)
        is_equal(r.ttl("px"), -2)
        time.sleep(1)
        is_equal(r.mget("expire", "stays", "ex"), [None, b"1", b"1"])
    with tap.test("SET ends a time to live, KEEPTTL keeps it"):
        r.set("keep", 1, ex=100)
        r.set("keep", 2, keepttl=True)
        is_equal(r.ttl("keep") in (99, 100), True)
        r.append("keep", "3")
        is_equal(r.ttl("keep") in (99, 100), True)
        r.set("keep", 4)
        is_equal(r.ttl("keep"), -1)
        is_equal(r.get("keep"), b"4")
    with tap.test("a time to live that is none"):
        for bad in ("0", "-1", "x", "9999999999999999999"):
            for word in ("EX", "PX"):
                try:
                    r.execute_command("SET", "bad", "1", word, bad)
                except redis.ResponseError:
                    continue
                raise AssertionError(f"{word} {bad} is accepted")
        is_equal(r.exists("bad"), 0)
        r.set("gone", 1)
        is_equal(r.expire("gone", -1), 1)
        is_equal(r.exists("gone"), 0)


def test_server(server):
    r = connect(server)
    with tap.test("SELECT: tenants have keys of their own"):
        other = connect(server, db=1)
        r.set("mine", "zero")
        other.set("mine", "one")
        is_equal((r.get("mine"), other.get("mine")), (b"zero", b"one"))
        is_equal(other.delete("mine"), 1)
        is_equal(r.get("mine"), b"zero")
        refused("", r.execute_command, "SELECT", "-1")
        refused("", r.execute_command, "SELECT", "99999999")
        refused("", r.execute_command, "SELECT", "x")
    with tap.test("SCAN finds every key, DBSIZE counts them, FLUSHALL ends them"):
        r.flushall()
        is_equal(r.dbsize(), 0)
        pipe = r.pipeline(transaction=False)
        for i in range(5000):
            pipe.set(f"s{i}", i)
        pipe.execute()
        is_equal(r.dbsize(), 5000)
        names = {b"s%d" % i for i in range(5000)}
        is_equal(set(r.scan_iter()), names)
        is_equal(set(r.scan_iter(count=7)), names)
        is_equal(set(r.scan_iter("s1?")), {b"s1%d" % i for i in range(10)})
        stays, cursor, step = {b"s%d" % i for i in range(0, 5000, 2)}, 0, 0
        found = set()
        while True: # keys come and go meanwhile: those that stay must be found
            cursor, some = r.scan(cursor, count=50)
            found.update(some)
            for i in range(step * 50, step * 50 + 50):
                r.delete(f"s{i * 2 + 1}")
                r.set(f"new{i}", "x" * 100)
            step += 1
            if cursor == 0:
                break
        is_true(stays <= found, f"{len(stays - found)} are missing")
        refused("", r.execute_command, "SCAN", "x")
        other = connect(server, db=2)
        other.set("other", 1)
        is_equal((other.dbsize(), list(other.scan_iter())), (1, [b"other"]))
        is_true(r.flushall(), "FLUSHALL")
        is_equal((r.dbsize(), r.get("s0"), list(r.scan_iter())), (0, None, []))
        is_equal((other.dbsize(), other.get("other")), (0, None))
    with tap.test("INFO, CONFIG GET, COMMAND, CLIENT, HELLO"):
        is_true("redis_version" in r.info(), "INFO has no version")
        is_true("used_memory" in r.info(), "INFO has no memory")
        is_true("maxmemory" in r.config_get("maxmemory"), "CONFIG GET")
        is_equal(r.config_get("no-such-thing"), {})
        is_true(r.client_setname("name"), "CLIENT SETNAME")
        is_equal(r.client_getname(), "name")
        is_true(r.client_id() > 0, "CLIENT ID")
        with Raw(server.port) as raw:
            hello = raw.ask("HELLO", "2")
            hello = dict(zip(hello[::2], hello[1::2]))
            is_equal(hello[b"proto"], 2)
            is_true(raw.ask("HELLO", "9").startswith("NOPROTO"), "HELLO 9")
            is_equal(raw.ask("PING"), "PONG")
    with tap.test("QUIT"):
        with Raw(server.port) as raw:
            is_equal(raw.ask("QUIT"), "OK")
            is_true(raw.is_closed(), "the connection stays open")
    with tap.test("errors: unknown commands and wrong numbers of arguments"):
        refused("unknown command", r.execute_command, "NOSUCHCOMMAND", "x")
        refused("unknown command", r.execute_command, "X" * 10000)
        for wrong in (("GET",), ("GET", "a", "b"), ("SET", "a"), ("DEL",), ("EXISTS",), ("MGET",),
                      ("INCR",), ("APPEND", "a"), ("GETRANGE", "a", "1"), ("EXPIRE", "a"), ("TTL",),
                      ("STRLEN",), ("ECHO",), ("SELECT",), ("MSET",)):
            refused("wrong number of arguments", r.execute_command, *wrong)
        refused("not an integer", r.execute_command, "GETRANGE", "a", "x", "1")
        refused("not an integer", r.execute_command, "EXPIRE", "a", "x")
    with tap.test("commands in small letters"):
        with Raw(server.port) as raw:
            is_equal(raw.ask("set", "small", "1", "ex", "100"), "OK")
            is_equal(raw.ask("GeT", "small"), b"1")
    with tap.test("inline commands"):
        with Raw(server.port) as raw:
            raw.send(b"\r\n\nSET inline value\r\nGET inline\nPING\r\n")
            is_equal([raw.answer() for _ in range(3)], ["OK", b"value", "PONG"])


def test_many(server):
    r = connect(server)
    with tap.test("10,000 commands at once are answered in order"):
        with Raw(server.port, 60) as raw:
            words = b"".join(command("SET", f"p{i}", i) + command("GET", f"p{i}")
                             for i in range(5000))
            sender = threading.Thread(target=raw.send, args=(words,))
            sender.start()
            for i in range(5000):
                is_equal(raw.answer(), "OK")
                is_equal(raw.answer(), b"%d" % i)
            sender.join()
    with tap.test("threads that count together lose nothing"):
        r.delete("together")
        threads = [threading.Thread(target=lambda c=connect(server): [c.incr("together")
                                                                      for _ in range(500)])
                   for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        is_equal(r.get("together"), b"4000")
    with tap.test("MGET of large values, more than a socket holds"):
        values = {f"big{i}": random.Random(i).randbytes(300000) for i in range(40)}
        r.mset(values)
        is_equal(r.mget(list(values)), list(values.values()))
        r.delete(*values)


# ---- Clients without manners ----

MALFORMED = {
    "a negative length": b"*3\r\n$3\r\nSET\r\n$-5\r\nk\r\n$1\r\nv\r\n",
    "a length above 64 bits": b"*2\r\n$3\r\nGET\r\n$99999999999999999999\r\nk\r\n",
    "a length of 2^63": b"*2\r\n$3\r\nGET\r\n$9223372036854775808\r\nk\r\n",
    "a length that is no number": b"*2\r\n$3\r\nGET\r\n$x\r\nk\r\n",
    "a length of nothing": b"*2\r\n$3\r\nGET\r\n$\r\nk\r\n",
    "an argument longer than its length": b"*1\r\n$4\r\nPINGxx\r\n",
    "a value above 512 MB": b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870913\r\n",
    "a count above 64 bits": b"*99999999999999999999\r\n",
    "a count of 2^31": b"*2147483648\r\n",
    "a count that is no number": b"*x\r\n",
    "an argument that is no string": b"*1\r\n+PING\r\n",
    "an array in an array": b"*1\r\n*1\r\n$4\r\nPING\r\n",
    "an inline command without end": b"A" * 200000,
    "a count without end": b"*1" + b"1" * 200000,
}


def test_malformed(server):
    for what, data in MALFORMED.items():
        with tap.test(f"malformed: {what}"):
            with Raw(server.port) as raw:
                try:
                    raw.send(data)
                    answer = raw.answer()
                    is_true(isinstance(answer, Error), f"{answer!r:.100} is no error")
                    is_true(raw.is_closed(), "the connection stays open")
                except (EOFError, ConnectionError):
                    pass # closed without a word: the rest had not been read
            serves(server.port)
    with tap.test("malformed: anything, a thousand times"):
        source = random.Random(3)
        pieces = [b"*", b"$", b"\r\n", b"\n", b"-1", b"0", b"3", b"SET", b"GET", b"k", b"\0",
                  b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n", b"99999999", b"+", b":", b" "]
        for _ in range(1000):
            raw = Raw(server.port)
            data = b"".join(source.choice(pieces) for _ in range(source.randrange(1, 30)))
            if source.random() < 0.3:
                data = source.randbytes(source.randrange(1, 500))
            raw.send(data)
            if source.random() < 0.5:
                raw.close()
            else:
                raw.reset()
        serves(server.port)
    with tap.test("malformed: a request in pieces of one byte is none of it"):
        with Raw(server.port) as raw:
            for byte in command("SET", "slow", "x\r\ny") + command("GET", "slow"):
                raw.send(bytes([byte]))
                time.sleep(0.0005)
            is_equal([raw.answer(), raw.answer()], ["OK", b"x\r\ny"])


def test_manners(server):
    r = connect(server)
    with tap.test("a client that closes its side gets all its answers"):
        with Raw(server.port) as raw:
            raw.send(b"".join(command("SET", f"half{i}", i) for i in range(1000)))
            raw.socket.shutdown(socket.SHUT_WR)
            is_equal([raw.answer() for _ in range(1000)], ["OK"] * 1000)
            is_true(raw.is_closed(), "the connection stays open")
    with tap.test("a client that goes in the middle of a request changes nothing"):
        r.set("middle", "before")
        for cut in (1, 5, 20, 30, 40, 1000):
            with Raw(server.port) as raw:
                raw.send(command("SET", "middle", "x" * 2000)[:cut])
        time.sleep(0.05)
        is_equal(r.get("middle"), b"before")
    with tap.test("clients that go in the middle of an answer leave no descriptor"):
        r.set("answer", b"x" * 20 * MIB)
        before = server.files()
        for _ in range(50):
            raw = Raw(server.port)
            raw.send(command("GET", "answer") * 3)
            raw.file.read(1000)
            raw.reset()
        serves(server.port)
        for _ in range(100):
            if server.files() <= before:
                break
            time.sleep(0.05)
        is_true(server.files() <= before, f"{server.files()} descriptors, before {before}")
        r.delete("answer")
    with tap.test("a client that does not read holds bounded memory, and stops nobody"):
        r.set("unread", b"x" * MIB)
        before = server.resident()
        raw = Raw(server.port)
        raw.socket.settimeout(2)
        try:
            for _ in range(400): # 400 MiB of answers
                raw.send(command("GET", "unread"))
        except OSError:
            pass
        start = time.monotonic()
        serves(server.port)
        is_true(time.monotonic() - start < 2, "others wait")
        time.sleep(0.3)
        grown = server.resident() - before
        raw.reset()
        is_true(grown < 128 * MIB, f"{grown} bytes more")
    with tap.test("announced values and arguments cost no memory before they come"):
        before = server.resident()
        some = [Raw(server.port) for _ in range(100)]
        for i, raw in enumerate(some):
            raw.send(b"*3\r\n$3\r\nSET\r\n$9\r\nannounced\r\n$500000000\r\nx" if i % 2 else
                     b"*1000000\r\n$4\r\nMGET\r\n$500000000\r\nx")
        time.sleep(0.3)
        grown = server.resident() - before
        for raw in some:
            raw.reset()
        is_true(grown < 64 * MIB, f"{grown} bytes more")
        serves(server.port)


def test_crowd(server):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(10000, hard - 200)
    with tap.test(f"{count} connections are all served"):
        before = server.files()
        crowd = []
        for _ in range(count):
            crowd.append(socket.create_connection(("127.0.0.1", server.port), 30))
        for i, one in enumerate(crowd):
            one.sendall(command("SET", f"crowd{i}", i) + command("GET", f"crowd{i}"))
        for i, one in enumerate(crowd):
            want, got = b"+OK\r\n$%d\r\n%d\r\n" % (len(str(i)), i), b""
            while len(got) < len(want):
                part = one.recv(1000)
                is_true(part, f"connection {i} is closed")
                got += part
            is_equal(got, want)
        start = time.monotonic()
        for _ in range(100):
            serves(server.port)
        is_true(time.monotonic() - start < 2, "idle connections slow others")
        for one in crowd:
            one.close()
        for _ in range(200):
            if server.files() <= before:
                break
            time.sleep(0.05)
        is_true(server.files() <= before, f"{server.files()} descriptors, before {before}")


# ---- Ends, and lack of everything ----

def test_ends():
    with tap.test("SIGTERM: what was sent is answered, the status is 0"):
        with Server("--memory", "64m") as server:
            idle = [Raw(server.port) for _ in range(20)]
            with Raw(server.port) as raw:
                is_equal(raw.ask("PING"), "PONG")
                server.signal(signal.SIGSTOP) # so that all of it waits when the signal comes
                raw.send(b"".join(command("SET", f"t{i}", "x" * 1000) for i in range(100)))
                server.signal(signal.SIGTERM)
                server.signal(signal.SIGCONT)
                answers = 0
                try:
                    while raw.answer() == "OK":
                        answers += 1
                except (EOFError, ConnectionError):
                    pass
                is_equal(answers, 100)
            is_equal(server.wait(), 0)
            for raw in idle:
                is_true(raw.is_closed(), "an idle connection stays open")
    for name, end in (("SIGINT", signal.SIGINT),
                      ("SIGTERM in the middle of a value", signal.SIGTERM)):
        with tap.test(f"{name}: the end comes within seconds"):
            with Server("--memory", "64m") as server:
                with Raw(server.port) as raw:
                    raw.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000\r\nxxx")
                    time.sleep(0.05)
                    server.signal(end)
                    is_equal(server.wait(5), 0)
    with tap.test("SHUTDOWN"):
        with Server("--memory", "64m") as server:
            with Raw(server.port) as raw:
                raw.send(command("SHUTDOWN"))
                is_true(raw.is_closed(), "the connection stays open")
            is_equal(server.wait(), 0)
    with tap.test("the port is on loopback alone"):
        with Server("--memory", "64m") as server:
            with open("/proc/net/tcp", encoding="ascii") as table:
                ports = [line.split()[1] for line in table if line.split()[3] == "0A"]
            is_equal([at for at in ports if at.endswith(f":{server.port:04X}")],
                     [f"0100007F:{server.port:04X}"])
    with tap.test("a port that is taken is said, and the status is not 0"):
        with Server("--memory", "64m") as server:
            try:
                with Server("--memory", "64m", port=server.port, patience=3):
                    raise RuntimeError("two servers have one port")
            except AssertionError as error:
                is_true(str(error).split(": ", 1)[1].strip() != "", "it says nothing")
            serves(server.port)


def billed(server, account):
    """A client of an account, on one connection."""
    client = redis.Redis(port=server.port, socket_timeout=30, single_connection_client=True)
    is_true(client.execute_command("AUTH", account), "AUTH")
    return client


def test_caps():
    large = random.Random(4).randbytes(MIB)
    with Server("--cap", "small=65536", "--cap", "db3=65536", "--cap", "8m") as server:
        r, small = connect(server), billed(server, "small")
        with tap.test("a request above its account's cap is refused, and the next is served"):
            refused("OOM", small.set, "k", large)
            is_equal(r.get("k"), None)
            is_true(small.set("k", "v"), "SET")
            refused("OOM", small.mset, {"k": "w", "l": large, "m": "x"})
            is_equal(small.mget("k", "l", "m"), [b"v", None, None])
        with tap.test("a reply above its account's cap is refused, and the next is served"):
            is_true(r.set("large", large), "SET")
            refused("OOM", small.get, "large")
            is_equal(small.get("k"), b"v")
            is_equal(r.get("large"), large)
        with tap.test("SELECT chooses the account, unless AUTH did"):
            refused("OOM", connect(server, db=3).set, "k", large)
            is_true(connect(server, db=4).set("k", large), "SET")
            named = billed(server, "named")
            named.execute_command("SELECT", "3")
            is_true(named.set("k", large), "SET")
            refused("OOM", r.set, "larger", large * 9)
        with tap.test("small requests of an account at its cap are answered, in order"):
            with Raw(server.port) as hog, Raw(server.port) as raw:
                is_equal([hog.ask("AUTH", "small"), raw.ask("AUTH", "small")], ["OK", "OK"])
                hog.send(command("SET", "hog", "x" * 64000)[:30000])
                for _ in range(500):
                    if r.info().get("small", 0) > 64000:
                        break
                    time.sleep(0.01)
                raw.send(b"".join(command("SET", f"c{i}", "y" * (i % 400)) +
                                  command("GET", f"c{i}") for i in range(1000)))
                for i in range(1000):
                    is_equal([raw.answer(), raw.answer()], ["OK", b"y" * (i % 400)])
                is_true(raw.ask("SET", "k", "z" * 20000).startswith("OOM"), "no error")
                is_true(raw.ask("GET", "large").startswith("OOM"), "no error")
                is_equal(raw.ask("SCAN", "0", "COUNT", "10")[0] != b"0", True)
                is_true(raw.ask("SCAN", "0", "COUNT", "1000").startswith("OOM"), "no error")
                hog.reset()
        with tap.test("what an account held is given back"):
            for _ in range(500):
                if r.info().get("small", 0) == 0:
                    break
                time.sleep(0.01)
            is_equal(r.info().get("small", 0), 0)
            is_true(small.set("k", "z" * 20000), "SET")


def test_memory():
    with tap.test("a full cache evicts, and serves"):
        with Server("--memory", "16m") as server:
            r = connect(server)
            for i in range(4000):
                is_true(r.set(f"evict{i}", b"%08d" % i * 2500), "SET")
            is_equal(r.get("evict3999"), b"%08d" % 3999 * 2500)
            alive = [i for i in range(4000) if r.exists(f"evict{i}")]
            is_true(100 < len(alive) < 900, f"{len(alive)} values of 20,000 bytes in 16 MiB")
            for i in alive:
                is_equal(r.get(f"evict{i}"), b"%08d" % i * 2500)
            is_true(server.resident() < 64 * MIB, f"{server.resident()} bytes resident")
    with tap.test("a value larger than the memory is refused with -OOM"):
        with Server("--memory", "16m") as server:
            r = connect(server)
            r.set("small", "stays")
            refused("OOM", r.set, "large", b"x" * 40 * MIB)
            is_equal(r.info()["refused"], 1)
            with Raw(server.port) as raw: # the error alone, without the old value
                for words in (("SET", "small", b"x" * 20 * MIB, "GET"),
                              ("GETSET", "small", b"x" * 20 * MIB)):
                    is_true(raw.ask(*words).startswith("OOM"), words[0])
                is_equal(raw.ask("PING"), "PONG")
            is_equal(r.get("large"), None)
            is_true(r.set("small", "served"), "SET")
            is_equal(r.get("small"), b"served")
    with tap.test("the memory of values that are deleted goes back to the system"):
        with Server() as server:
            r, empty = connect(server), server.resident()
            pipe = r.pipeline(transaction=False)
            for i in range(40000):
                pipe.set(f"gone{i}", b"x" * (300 + i % 400))
            pipe.execute()
            full = server.resident() - empty
            pipe.delete(*(f"gone{i}" for i in range(40000) if i % 10))
            pipe.execute()
            for _ in range(100):
                if server.resident() - empty < full / 2:
                    break
                time.sleep(0.1)
            is_true(server.resident() - empty < full / 2,
                    f"{server.resident() - empty} of {full} bytes are left, for a tenth")
    with tap.test("where the system has no memory, errors are answered, and the server lives"):
        with Server("--memory", "2g", limits={resource.RLIMIT_AS: 700 * MIB}) as server:
            r, refusals = connect(server), 0
            for i in range(900):
                try:
                    r.set(f"as{i}", b"%07d." % i * 125000)
                except redis.ResponseError as error:
                    is_true("OOM" in str(error), str(error))
                    refusals += 1
            is_true(server.is_alive(), server.said())
            last = [i for i in range(900) if r.exists(f"as{i}")]
            is_true(last, "nothing is left")
            for i in last:
                is_equal(r.get(f"as{i}"), b"%07d." % i * 125000)
            is_true(r.ping(), "PING")


def test_disk():
    limit = {resource.RLIMIT_FSIZE: 24 * MIB}
    with tap.test("a full disk stops spilling, and the server says so and serves"):
        with Server("--memory", "8m", "--spill", "full", limits=limit) as server:
            r = connect(server)
            for i in range(4000):
                is_true(r.set(f"d{i}", b"%08d" % i * 2500), "SET")
            is_true(server.is_alive(), server.said())
            served = 0
            for i in range(4000):
                value = r.get(f"d{i}")
                served += value is not None
                is_true(value in (None, b"%08d" % i * 2500), f"d{i} is wrong")
            is_true(served > 200, f"only {served} values are left")
            is_true("spill" in server.said().lower(), f"it says: {server.said()}")
    with tap.test("on a full disk, a write that cannot be durable is refused"):
        with Server("--memory", "64m", "--spill", "durable", "--durable", "--sync", "0",
                    limits=limit) as server:
            r, kept, refusals = connect(server), {}, 0
            for i in range(2000):
                try:
                    r.set(f"d{i}", b"%08d" % i * 2500)
                    kept[f"d{i}"] = b"%08d" % i * 2500
                except redis.ResponseError:
                    refusals += 1
            is_true(server.is_alive(), server.said())
            is_true(refusals > 0, "40 MB are acknowledged in a file of 24 MiB")
            is_true(len(kept) > 200, f"only {len(kept)} fit")
            server.kill()
        with Server("--memory", "64m", "--spill", "durable", "--durable") as server:
            r = connect(server)
            for key, value in kept.items():
                is_equal(r.get(key), value)


def test_spill():
    with tap.test("with a spill file, evicted values are served, also after a restart"):
        flags = ("--memory", "8m", "--spill", "spilled")
        with Server(*flags) as server:
            r = connect(server)
            for i in range(2000):
                r.set(f"s{i}", b"%08d" % i * 2500)
            for i in range(2000):
                is_equal(r.get(f"s{i}"), b"%08d" % i * 2500)
            is_true(server.resident() < 64 * MIB, f"{server.resident()} bytes resident")
            server.signal(signal.SIGTERM)
            is_equal(server.wait(), 0)
        with Server(*flags) as server:
            r, served = connect(server), 0
            for i in range(2000):
                value = r.get(f"s{i}")
                is_true(value in (None, b"%08d" % i * 2500), f"s{i} is wrong")
                served += value is not None
            is_true(served > 1400, f"{served} of 2,000 were served")


def main():
    print(f"# redis-py {redis.__version__}")
    with Server("--memory", "512m") as server:
        for test in (test_cli, test_strings, test_time, test_server, test_many, test_malformed,
                     test_manners, test_crowd):
            test(server)
    for test in (test_ends, test_caps, test_memory, test_disk, test_spill):
        test()
    tap.end()


if __name__ == "__main__":
    main()
