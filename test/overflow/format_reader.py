"""A second reader of region files, written from "The format" in docs/overflow.md alone.

    format_reader.py FILE

Prints a line for each piece of the file, in the order of the file:

    slot OFFSET SIZE TAG SERIAL REF     a live value; OFFSET is that of its bytes
    hole FROM TO
    damage FROM TO WHAT
    free FROM TO

The exit status is 0 if there is no damage, 1 if there is, and 2 if it is no region file of version 2.
"""
import struct
import sys

GRANULE, START, COPIES = 32, 8192, (0, 4096, 6144)
MAGIC = b"ashlar-overflow\n"
MASK32, MASK64 = 2**32 - 1, 2**64 - 1

TABLE = []
for number in range(256):
    for _ in range(8):
        number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
    TABLE.append(number)


def crc(c, *words):
    for word in words:
        for byte in word.to_bytes(8, "little"):
            c = c >> 8 ^ TABLE[(c ^ byte) & 255]
    return c


def value_sum(words):
    lane = [crc(MASK32, *words[i::4]) for i in range(4)]
    m = (lane[1] << 32 | lane[0]) * 0x9E3779B97F4A7C15 & MASK64
    m = (m ^ m >> 32) + (lane[3] << 32 | lane[2]) & MASK64
    m = m * 0xBF58476D1CE4E5B9 & MASK64
    return (m ^ m >> 32) & MASK32


class Region:
    def __init__(self, data):
        self.data = data
        self.end = len(data) // GRANULE
        headers = [(order, self.header_at(at, order)) for at in COPIES for order in "<>"]
        headers = [(order, header) for order, header in headers if header]
        if not headers:
            raise ValueError("no copy of the header holds its check")
        self.order, header = max(headers, key=lambda found: found[1][5])
        self.seed = crc(MASK32, header[4])
        self.limit = header[6]
        self.unwritten = header[6] == header[7]

    def header_at(self, offset, order):
        """The words of a copy, or None if its check does not hold."""
        if len(self.data) < START or self.data[offset : offset + 16] != MAGIC:
            return None
        words = struct.unpack_from(f"{order}9Q", self.data, offset)
        good = words[2] == 0x01020304 << 32 | 2 and words[3] & MASK32 == GRANULE
        return words if good and words[8] == crc(MASK32, *words[:8]) else None

    def words(self, offset, count):
        return struct.unpack_from(f"{self.order}{count}Q", self.data, offset)

    def slot_at(self, place):
        """(granules, size, tag, serial, sum) if there is a slot whose word 3 holds."""
        head, serial, tag_sum, check = self.words(place * GRANULE, 4)
        if head >> 63 == 0 or check != crc(self.seed, place, head, serial, tag_sum):
            return None
        size = head & 2**34 - 1
        granules = 1 + (size + GRANULE - 1) // GRANULE
        return granules, size, tag_sum & MASK32, serial, tag_sum >> 32

    def live_at(self, place):
        slot = self.slot_at(place)
        if not slot or slot[0] > self.end - place or slot[3] >= self.limit + 2**40:
            return None
        words = self.words((place + 1) * GRANULE, (slot[0] - 1) * 4)
        return slot if value_sum(words) == slot[4] else None

    def hole_at(self, place, end):
        """Its length in granules, or 0."""
        head = self.words(place * GRANULE, 1)[0]
        length = head & 2**35 - 1
        if length > end - place or head != crc(self.seed, place, length) >> 4 << 35 | length:
            return 0
        return length

    def is_zero(self, place):
        return not any(self.data[place * GRANULE : (place + 1) * GRANULE])

    def live(self):
        place, found = START // GRANULE, []
        while place < self.end:
            # Nothing but zeros is no slot; this only saves time.
            slot = None if self.is_zero(place) else self.live_at(place)
            if slot:
                found.append((place, slot))
            place += slot[0] if slot else 1
        return found

    def unknown_end(self, place, end):
        last = place + 1
        for at in range(place + 1, end):
            if self.slot_at(at) or self.hole_at(at, end):
                return at
            if not self.is_zero(at):
                last = at + 1
        return end if end < self.end else last

    def piece_at(self, place, end):
        """(kind, end, what) of the piece that begins there, before the next slot at end."""
        head = self.words(place * GRANULE, 1)[0]
        slot, hole = self.slot_at(place), self.hole_at(place, end)
        if slot:
            return "damage", min(end, place + slot[0]), " value"
        if hole:
            return "hole", place + hole, ""
        if head == 0:
            return ("free", end, "") if end == self.end else ("damage", end, " zeros")
        return "damage", self.unknown_end(place, end), " header"

    def pieces(self):
        live = self.live()
        if self.unwritten and not live:
            yield f"free {START} {self.end * GRANULE}"
            return
        place = START // GRANULE
        for begin, slot in live + [(self.end, None)]:
            while place < begin:
                kind, end, what = self.piece_at(place, begin)
                yield f"{kind} {place * GRANULE} {end * GRANULE}{what}"
                place = end
            if slot:
                granules, size, tag, serial, _ = slot
                ref = (serial << 35 | place) & MASK64
                yield f"slot {(place + 1) * GRANULE} {size} {tag} {serial} {ref}"
                place += granules


def main():
    try:
        with open(sys.argv[1], "rb") as file:
            region = Region(file.read())
    except (OSError, ValueError) as error:
        print(f"format_reader: {sys.argv[1]}: {error}", file=sys.stderr)
        return 2
    damage = False
    for piece in region.pieces():
        print(piece)
        damage = damage or piece.startswith("damage")
    return 1 if damage else 0


sys.exit(main())
