"""Goal: a Python program uses all four headers by ctypes: structs by value and by pointer,
constants, a callback, pointers to opaque types.
Method: a round trip in each; an assertion names the line that failed. The implementations are C,
in a shared object.

    use.py SHARED_OBJECT HEADERS_DIRECTORY VERSION
"""
import ctypes
import errno
import os
import re
import sys
import threading
from ctypes import (CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_size_t, c_ubyte,
                    c_uint16, c_uint32, c_uint64, c_void_p)

lib = ctypes.CDLL(os.path.abspath(sys.argv[1]))


def constant(header, name):
    """The value of '#define NAME number' in a header."""
    with open(os.path.join(sys.argv[2], header + ".h"), encoding="utf-8") as text:
        found = re.search(rf"^#define {name} +(?:UINT32_C\()?(\w+)", text.read(), re.MULTILINE)
    assert found, f"{header}.h does not define {name} as a number"
    return int(found[1].rstrip("uU"), 0)


def declare(name, result, *arguments):
    function = getattr(lib, name)
    function.restype, function.argtypes = result, arguments
    return function


class SlabId(Structure):
    _fields_ = [("core", c_uint16), ("page", c_uint16), ("gen", c_uint32)]


class OverflowConfig(Structure):
    _fields_ = [("initial_bytes", c_size_t), ("max_bytes", c_size_t), ("flags", c_uint32)]


class FixedpoolConfig(Structure):
    _fields_ = [("frame_size", c_uint32), ("frame_count", c_uint32), ("flags", c_uint32)]


class BufpoolView(Structure):
    _fields_ = [("data", POINTER(c_ubyte)), ("len", c_size_t), ("buf", c_void_p)]


OVERFLOW_FRESH, OVERFLOW_TEMPORARY = 1, 2
BUFPOOL_MEDIUM = 1
NO_REF = constant("slab", "SLAB_NO_REF")


def use_pool():
    create = declare("slab_pool_create", c_int, POINTER(c_void_p), c_void_p)
    put = declare("slab_pool_put", c_int, c_void_p, c_char_p, c_size_t, POINTER(SlabId))
    read = declare("slab_pool_read", c_void_p, c_void_p, SlabId, POINTER(c_size_t))
    give_back = declare("slab_pool_return", c_int, c_void_p, SlabId)
    destroy = declare("slab_pool_destroy", c_size_t, c_void_p)
    pool, page, size, answers = c_void_p(), SlabId(), c_size_t(), []
    assert create(byref(pool), None) == 0
    assert put(pool, b"hello", 5, byref(page)) == 0 and page.gen % 2 == 1
    assert ctypes.string_at(read(pool, page, byref(size)), size.value) == b"hello"
    for _ in range(2):
        thread = threading.Thread(target=lambda: answers.append(give_back(pool, page)))
        thread.start()
        thread.join()
    assert answers == [0, -errno.ESTALE], answers
    assert destroy(pool) == 0


def use_store():
    moved_fn = CFUNCTYPE(None, c_void_p, c_uint32, c_uint32, c_void_p, c_size_t)
    create = declare("slab_store_create", c_int, POINTER(c_void_p), c_void_p)
    put = declare("slab_store_put", c_int, c_void_p, c_char_p, c_size_t, POINTER(c_uint32))
    get = declare("slab_store_get", c_void_p, c_void_p, c_uint32, c_size_t)
    free = declare("slab_store_free", c_int, c_void_p, c_uint32, c_size_t)
    compact = declare("slab_store_compact", c_size_t, c_void_p, c_size_t, moved_fn, c_void_p)
    destroy = declare("slab_store_destroy", None, c_void_p)
    store, ref, refs, wrong = c_void_p(), c_uint32(), {}, []
    assert create(byref(store), None) == 0
    for number in range(8192):
        assert put(store, b"%08d" % number, 8, byref(ref)) == 0
        refs[number] = ref.value
    for number in [number for number in refs if number % 8]:
        assert free(store, refs.pop(number), 8) == 0

    def moved(_context, source, target, value, _room):
        number = int(ctypes.string_at(value, 8))
        if refs[number] != source: # an exception would end here, in the callback
            wrong.append(number)
        refs[number] = target

    assert compact(store, 8192, moved_fn(moved), None) > 0 and not wrong
    for number, at in refs.items():
        value = get(store, at, 8)
        assert value and ctypes.string_at(value, 8) == b"%08d" % number
    assert put(store, None, 1, byref(ref)) == -errno.EINVAL and ref.value == NO_REF
    destroy(store)


def use_region():
    opens = declare("overflow_open", c_int, POINTER(c_void_p), c_char_p, POINTER(OverflowConfig))
    write = declare("overflow_write", c_int, c_void_p, c_char_p, c_size_t, c_uint32,
                    POINTER(c_uint64))
    read = declare("overflow_read", c_void_p, c_void_p, c_uint64, POINTER(c_size_t))
    free = declare("overflow_free", c_int, c_void_p, c_uint64)
    close = declare("overflow_close", c_int, c_void_p)
    region, ref, size = c_void_p(), c_uint64(), c_size_t()
    config = OverflowConfig(0, 1 << 20, OVERFLOW_FRESH | OVERFLOW_TEMPORARY)
    assert opens(byref(region), b"use_py.region", byref(config)) == 0
    assert write(region, b"hello", 5, 7, byref(ref)) == 0
    assert ctypes.string_at(read(region, ref, byref(size)), size.value) == b"hello"
    assert free(region, ref) == 0 and free(region, ref) == -errno.ESTALE
    assert close(region) == 0 and not os.path.exists("use_py.region")


def use_frames():
    create = declare("fixedpool_create", c_int, POINTER(c_void_p), POINTER(FixedpoolConfig))
    alloc = declare("fixedpool_alloc", c_int, c_void_p)
    free = declare("fixedpool_free", c_int, c_void_p, c_int)
    pointer = declare("fixedpool_ptr", c_void_p, c_void_p, c_int)
    frame_of = declare("fixedpool_frame_of", c_int, c_void_p, c_void_p)
    destroy = declare("fixedpool_destroy", c_int, c_void_p)
    pool = c_void_p()
    assert create(byref(pool), FixedpoolConfig(4096, 2, 0)) == 0
    frame = alloc(pool)
    assert frame >= 0 and pointer(pool, frame) % 4096 == 0
    ctypes.memset(pointer(pool, frame), 1, 4096)
    assert frame_of(pool, pointer(pool, frame) + 4095) == frame
    assert destroy(pool) == -errno.EBUSY
    assert free(pool, frame) == 0 and free(pool, frame) == -errno.EALREADY
    assert destroy(pool) == 0


def use_buffers():
    create = declare("bufpool_create", c_int, POINTER(c_void_p), c_void_p)
    tenant_get = declare("bufpool_tenant_get", c_void_p, c_void_p, c_char_p, c_size_t)
    acquire = declare("bufpool_acquire", c_void_p, c_void_p, c_size_t, c_void_p)
    release = declare("bufpool_release", c_int, c_void_p)
    data = declare("bufpool_data", c_void_p, c_void_p)
    class_of = declare("bufpool_class_of", c_int, c_void_p)
    view_of = declare("bufpool_view_of", c_int, c_void_p, c_size_t, c_size_t, POINTER(BufpoolView))
    view_drop = declare("bufpool_view_drop", c_int, POINTER(BufpoolView))
    metrics = declare("bufpool_metrics", c_size_t, c_void_p, c_char_p, c_size_t)
    destroy = declare("bufpool_destroy", c_size_t, c_void_p)
    pool, view = c_void_p(), BufpoolView()
    assert create(byref(pool), None) == 0
    buf = acquire(pool, 5000, tenant_get(pool, b"acme", 4))
    assert class_of(buf) == BUFPOOL_MEDIUM
    ctypes.memmove(data(buf) + 10, b"hello", 5)
    assert view_of(buf, 10, 5, byref(view)) == 0 and release(buf) == 1
    assert bytes(view.data[:view.len]) == b"hello"
    text = ctypes.create_string_buffer(metrics(pool, None, 0) + 1)
    metrics(pool, text, len(text))
    assert b'tenant_live_bytes{tenant_id="acme"} 5000\n' in text.value
    assert view_drop(byref(view)) == 0 and destroy(pool) == 0


for name in ["slab", "overflow", "fixedpool", "bufpool"]:
    assert constant(name, name.upper() + "_VERSION") == int(sys.argv[3]), name
use_pool()
use_store()
use_region()
use_frames()
use_buffers()
