"""Goal: with --durable, kill -9 loses nothing that was acknowledged, at whatever moment it comes.
Without it, a value may be gone after kill -9, but an older one does not come back.

Method: clients change keys of their own, many requests under way at a time, with values from one
byte to 200 KB in less memory than they need, so that the server evicts and spills meanwhile. An
oracle follows each key: the value after the last acknowledged change, and after each change that
was still under way. The server is killed at a random moment and started again, KILLS times in at
most TIME_LIMIT; then each key must have one of these values, and that one is the next round's.

    kv_storm.py [FLAGS OF THE SERVER...]
"""
import os
import random
import sys
import threading
import time

from kv import Raw, Server, Tap, command, is_true

KILLS = int(os.environ.get("KILLS", "50"))
TIME_LIMIT = float(os.environ.get("TIME_LIMIT", "60"))
CLIENTS, KEYS, UNDER_WAY = 4, 500, 24


class Client:
    """Owns its keys. values: after each acknowledged change. under_way: in order, the key, its
    value then, and whether that is read."""

    def __init__(self, number, seed):
        self.number = number
        self.random = random.Random(seed * 1000 + number)
        self.values = {}
        self.under_way = []
        self.changes = 0
        self.wrong = []

    def size(self):
        kind = self.random.random()
        if kind < 0.02:
            return self.random.randrange(50000, 200000)
        return int(self.random.lognormvariate(6, 1.2)) + 1

    def change(self, state):
        """A random change: the request, the key with its new value, whether it is read."""
        key = f"{self.number}:{self.random.randrange(KEYS)}"
        old = state.get(key)
        kind = self.random.random()
        if kind > 0.7:
            return command("GET", key), key, old, True
        self.changes += 1
        if kind < 0.1:
            return command("DEL", key), key, None, False
        if kind < 0.2 and (old is None or len(old) < 300000):
            piece = b"<%d>" % self.changes
            return command("APPEND", key, piece), key, (old or b"") + piece, False
        if kind < 0.3:
            counter = f"{self.number}:counter{self.random.randrange(4)}"
            new = int(state.get(counter) or 0) + 1
            return command("INCR", counter), counter, b"%d" % new, False
        stamp = b"%d.%d." % (self.number, self.changes)
        size = self.size()
        value = (stamp * (size // len(stamp) + 1))[:size]
        return command("SET", key, value), key, value, False

    def run(self, port):
        """Until the server is gone."""
        try:
            with Raw(port) as raw:
                while True:
                    self._window(raw)
        except (EOFError, OSError):
            pass

    def _window(self, raw):
        state, requests = dict(self.values), []
        for _ in range(self.random.randrange(1, UNDER_WAY)):
            request, key, value, reads = self.change(state)
            state[key] = value
            self.under_way.append((key, value, reads))
            requests.append(request)
        raw.send(b"".join(requests))
        for _ in requests:
            answer = raw.answer()
            key, value, reads = self.under_way[0]
            if reads and answer != value:
                self.wrong.append(f"{key}: read {answer!r:.60}, not {value!r:.60}")
            if isinstance(answer, str) and answer != "OK":
                self.wrong.append(f"{key}: {answer}")
            self.values[key] = value
            del self.under_way[0]

    def verify(self, raw, durable):
        """What is there must be the last acknowledged value, or a later one that was under way."""
        names = [f"{self.number}:{i}" for i in range(KEYS)]
        names += [f"{self.number}:counter{i}" for i in range(4)]
        for name in names:
            allowed = [self.values.get(name)]
            allowed += [value for key, value, _ in self.under_way if key == name]
            found = raw.ask("GET", name)
            if found not in allowed and (durable or found is not None):
                self.wrong.append(f"{name}: {found!r:.60}, not one of {len(allowed)}, the first of "
                                  f"which is {allowed[0]!r:.60}")
            self.values[name] = found
        self.under_way.clear()


def storm(seed, flags):
    """Returns the number of kills and of acknowledged changes."""
    clients = [Client(number, seed) for number in range(CLIENTS)]
    moment = random.Random(seed)
    end = time.monotonic() + TIME_LIMIT
    kills = 0
    while kills < KILLS and time.monotonic() < end:
        with Server(*flags) as server:
            threads = [threading.Thread(target=client.run, args=(server.port,))
                       for client in clients]
            if kills:
                with Raw(server.port) as raw:
                    for client in clients:
                        client.verify(raw, "--durable" in flags)
            for thread in threads:
                thread.start()
            time.sleep(moment.random() ** 2 * 0.5)
            is_true(server.is_alive(), "the server ended by itself: " + server.said())
            server.kill()
            for thread in threads:
                thread.join()
        wrong = [line for client in clients for line in client.wrong]
        is_true(not wrong, f"after kill {kills}, seed {seed}:\n" + "\n".join(wrong[:20]))
        kills += 1
    return kills, sum(client.changes for client in clients)


def main():
    tap = Tap()
    flags = sys.argv[1:]
    seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
    print(f"# seed {seed}")
    what = "loses nothing" if "--durable" in flags else "brings nothing back"
    with tap.test(f"kill -9 {what}: {' '.join(flags)}"):
        kills, changes = storm(seed, flags)
        print(f"# {kills} kills, {changes} changes")
        is_true(kills >= min(KILLS, 5), f"only {kills} kills in {TIME_LIMIT} seconds")
    tap.end()


if __name__ == "__main__":
    main()
