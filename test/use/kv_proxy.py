"""Goal: several kv-servers behind twemproxy are one cache: keys are spread, what the proxy passes
on works, and when a server goes, the keys of the others are served.

Method: three servers behind nutcracker, with examples/kv/nutcracker.yml; redis-py writes through
the proxy, one server is killed, every key of the others is read; the server comes back empty.
"""
import os
import re
import socket
import subprocess
import sys
import time

import redis

from kv import Server, Tap, is_equal, is_true

tap = Tap()
KEYS = 600


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Proxy:
    """nutcracker, with examples/kv/nutcracker.yml and other ports."""

    def __init__(self, servers):
        self.port, stats = free_port(), free_port()
        with open(sys.argv[1], encoding="utf-8") as file:
            text = file.read()
        ports = iter([self.port] + [server.port for server in servers])
        text = re.sub(r"127\.0\.0\.1:\d+", lambda _: f"127.0.0.1:{next(ports)}", text)
        with open("nutcracker.yml", "w", encoding="utf-8") as file:
            file.write(text)
        tested = subprocess.run(["nutcracker", "-t", "-c", "nutcracker.yml"], capture_output=True,
                                check=False)
        is_equal(tested.returncode, 0)
        self.process = subprocess.Popen(
            ["nutcracker", "-c", "nutcracker.yml", "-s", str(stats), "-a", "127.0.0.1",
             "-o", "nutcracker.log"], stdin=subprocess.DEVNULL)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("the proxy does not listen")

    def end(self):
        self.process.kill()
        self.process.wait()


def read_all(client, keys):
    """Which of the keys are served, which give an error. A wrong value raises."""
    served, failed = set(), set()
    for key in keys:
        for _ in range(2):
            try:
                value = client.get(key)
            except redis.RedisError:
                failed.add(key)
                continue
            failed.discard(key)
            if value is not None:
                is_equal(value, f"value of {key}".encode())
                served.add(key)
            break
    return served, failed


def through(client):
    with tap.test("commands that the proxy passes on"):
        is_true(client.set("a", 1, ex=100), "SET EX")
        is_equal(client.incr("a"), 2)
        is_equal(client.append("a", "3"), 2)
        is_equal(client.getrange("a", 0, 0), b"2")
        is_equal(client.strlen("a"), 2)
        is_true(client.ttl("a") > 90, "TTL")
        is_true(client.expire("a", 50), "EXPIRE")
        is_true(client.mset({f"m{i}": i for i in range(100)}), "MSET")
        is_equal(client.mget([f"m{i}" for i in range(100)]), [b"%d" % i for i in range(100)])
        is_equal(client.delete(*[f"m{i}" for i in range(100)]), 100)
        is_equal(client.exists("a", "m1", "a"), 2)
        is_true(client.ping(), "PING")
    with tap.test("commands that it does not"):
        for words in (("SCAN", "0"), ("DBSIZE",), ("FLUSHALL",), ("INFO",), ("SELECT", "1"),
                      ("CONFIG", "GET", "maxmemory"), ("CLIENT", "ID"), ("HELLO", "2"),
                      ("ECHO", "x"), ("SHUTDOWN",)):
            try:
                client.execute_command(*words)
            except redis.RedisError:
                client.connection_pool.disconnect()
                continue
            raise AssertionError(f"{words[0]} is passed on: docs/kv.md says that it is not")


def main():
    servers, proxy = [], None
    try:
        for _ in range(3):
            servers.append(Server("--memory", "32m"))
        proxy = Proxy(servers)
        client = redis.Redis(port=proxy.port, socket_timeout=10)
        through(client)
        keys = [f"key{i}" for i in range(KEYS)]
        with tap.test("keys are spread over the servers"):
            for key in keys:
                is_true(client.set(key, f"value of {key}"), "SET")
            held = [{key for key in keys if redis.Redis(port=server.port).exists(key)}
                    for server in servers]
            is_equal(sum(len(some) for some in held), KEYS)
            is_true(min(len(some) for some in held) > KEYS / 10, f"{[len(s) for s in held]}")
        with tap.test("a server is killed: the keys of the others are served"):
            servers[1].kill()
            served, _ = read_all(client, keys)
            served, failed = read_all(client, keys)
            is_equal(served, held[0] | held[2])
            is_true(not failed, f"{len(failed)} keys give errors: the server is not ejected")
        with tap.test("its keys are written anew, to the others"):
            for key in held[1]:
                is_true(client.set(key, f"value of {key}"), "SET")
            served, failed = read_all(client, keys)
            is_equal((len(served), len(failed)), (KEYS, 0))
        with tap.test("it comes back empty, and is used again"):
            servers[1] = Server("--memory", "32m", port=servers[1].port)
            back = redis.Redis(port=servers[1].port)
            for _ in range(100):
                for key in held[1]:
                    try:
                        client.set(key, f"value of {key}")
                    except redis.RedisError:
                        pass
                if back.dbsize() == len(held[1]):
                    break
                time.sleep(0.1)
            is_equal(back.dbsize(), len(held[1]))
            served, failed = read_all(client, keys)
            is_equal((len(served), len(failed)), (KEYS, 0))
    finally:
        if proxy:
            proxy.end()
        for server in servers:
            server.kill()
    tap.end()


if __name__ == "__main__":
    main()
