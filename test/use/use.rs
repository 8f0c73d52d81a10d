// Goal: a Rust program uses all four headers by hand-written declarations: structs by value and by
// pointer, constants, a callback, pointers to opaque types, ids through threads.
// Method: a round trip in each; an assertion names the line that failed. The implementations are C,
// linked from another object. language_test.sh sets EXPECTED, the version of this tree, and
// SLAB_VERSION, OVERFLOW_VERSION, FIXEDPOOL_VERSION, BUFPOOL_VERSION, the values of the macros.
#![allow(non_camel_case_types)]

use std::ffi::{c_void, CString};
use std::os::raw::{c_char, c_int, c_uint};
use std::ptr;

macro_rules! opaque {
    ($($name:ident)*) => { $(#[repr(C)] pub struct $name { _private: [u8; 0] })* }
}
opaque! { slab_pool slab_store overflow_region overflow_reader fixedpool fixedpool_cache
    bufpool bufpool_buf bufpool_tenant }

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct slab_id {
    core: u16,
    page: u16,
    gen: u32,
}
#[repr(C)]
pub struct slab_pool_config {
    core: u16,
    page_size: u32,
    page_count: u32,
    memory: *mut c_void,
    memory_size: usize,
    fd: c_int,
    lends: bool,
    recycled: Option<extern "C" fn(*mut c_void, slab_id)>,
    context: *mut c_void,
}
pub type slab_ref = u32;
const SLAB_NO_REF: slab_ref = 0xffff_ffff;
type slab_moved_fn = extern "C" fn(*mut c_void, slab_ref, slab_ref, *mut c_void, usize);

#[repr(C)]
pub struct overflow_config {
    initial_bytes: usize,
    max_bytes: usize,
    flags: u32,
}
const OVERFLOW_FRESH: u32 = 1 << 0;
const OVERFLOW_TEMPORARY: u32 = 1 << 1;

#[repr(C)]
pub struct fixedpool_config {
    frame_size: u32,
    frame_count: u32,
    flags: u32,
}
const FIXEDPOOL_POPULATE: u32 = 1 << 1;

#[repr(C)]
pub struct bufpool_view {
    data: *const u8,
    len: usize,
    buf: *mut bufpool_buf,
}
const BUFPOOL_MEDIUM: c_uint = 1;

const EINVAL: c_int = 22;
const ESTALE: c_int = 116;
const EALREADY: c_int = 114;

extern "C" {
    fn slab_pool_create(pool: *mut *mut slab_pool, config: *const slab_pool_config) -> c_int;
    fn slab_pool_destroy(pool: *mut slab_pool) -> usize;
    fn slab_pool_alloc(pool: *mut slab_pool, len: usize, id: *mut slab_id) -> *mut c_void;
    fn slab_pool_read(pool: *const slab_pool, id: slab_id, len: *mut usize) -> *const c_void;
    fn slab_pool_return(pool: *mut slab_pool, id: slab_id) -> c_int;
    fn slab_pool_want(pool: *mut slab_pool) -> bool;

    fn slab_store_create(store: *mut *mut slab_store, config: *const c_void) -> c_int;
    fn slab_store_destroy(store: *mut slab_store);
    fn slab_store_put(store: *mut slab_store, data: *const c_void, len: usize,
                      value: *mut slab_ref) -> c_int;
    fn slab_store_get(store: *const slab_store, value: slab_ref, len: usize) -> *const c_void;
    fn slab_store_free(store: *mut slab_store, value: slab_ref, len: usize) -> c_int;
    fn slab_store_compact(store: *mut slab_store, max_moves: usize, moved: slab_moved_fn,
                          context: *mut c_void) -> usize;

    fn overflow_open(region: *mut *mut overflow_region, path: *const c_char,
                     config: *const overflow_config) -> c_int;
    fn overflow_close(region: *mut overflow_region) -> c_int;
    fn overflow_write(region: *mut overflow_region, data: *const c_void, size: usize, tag: u32,
                      value: *mut u64) -> c_int;
    fn overflow_free(region: *mut overflow_region, value: u64) -> c_int;
    fn overflow_reader_open(reader: *mut *mut overflow_reader, path: *const c_char) -> c_int;
    fn overflow_reader_close(reader: *mut overflow_reader);
    fn overflow_reader_read(reader: *mut overflow_reader, value: u64, buffer: *mut c_void,
                            capacity: usize, size: *mut usize) -> c_int;

    fn fixedpool_create(pool: *mut *mut fixedpool, config: *const fixedpool_config) -> c_int;
    fn fixedpool_destroy(pool: *mut fixedpool) -> c_int;
    fn fixedpool_alloc(pool: *mut fixedpool) -> c_int;
    fn fixedpool_free(pool: *mut fixedpool, frame: c_int) -> c_int;
    fn fixedpool_ptr(pool: *const fixedpool, frame: c_int) -> *mut c_void;
    fn fixedpool_cache_open(pool: *mut fixedpool) -> *mut fixedpool_cache;
    fn fixedpool_cache_close(cache: *mut fixedpool_cache);
    fn fixedpool_cache_alloc(cache: *mut fixedpool_cache) -> c_int;

    fn bufpool_create(pool: *mut *mut bufpool, config: *const c_void) -> c_int;
    fn bufpool_destroy(pool: *mut bufpool) -> usize;
    fn bufpool_tenant_get(pool: *mut bufpool, name: *const c_char, len: usize)
        -> *mut bufpool_tenant;
    fn bufpool_acquire(pool: *mut bufpool, size: usize, tenant: *mut bufpool_tenant)
        -> *mut bufpool_buf;
    fn bufpool_release(buf: *mut bufpool_buf) -> c_int;
    fn bufpool_data(buf: *mut bufpool_buf) -> *mut c_void;
    fn bufpool_class_of(buf: *const bufpool_buf) -> c_uint;
    fn bufpool_view_of(buf: *mut bufpool_buf, offset: usize, len: usize,
                       view: *mut bufpool_view) -> c_int;
    fn bufpool_view_drop(view: *mut bufpool_view) -> c_int;
    fn bufpool_metrics(pool: *const bufpool, text: *mut u8, capacity: usize) -> usize;
}

struct Pool(*mut slab_pool);
unsafe impl Send for Pool {}
unsafe impl Sync for Pool {} // read and return; the owner keeps the rest to itself

impl Drop for Pool {
    fn drop(&mut self) {
        assert_eq!(unsafe { slab_pool_destroy(self.0) }, 0, "pages were lost");
    }
}

fn use_pool() {
    let config = slab_pool_config { core: 7, page_size: 4096, page_count: 1,
                                    memory: ptr::null_mut(), memory_size: 0, fd: 0, lends: false,
                                    recycled: None, context: ptr::null_mut() };
    let mut raw = ptr::null_mut();
    assert_eq!(unsafe { slab_pool_create(&mut raw, &config) }, 0);
    let pool = Pool(raw);
    let mut id = slab_id { core: 0, page: 0, gen: 0 };
    let page = unsafe { slab_pool_alloc(pool.0, 5, &mut id) } as *mut u8;
    assert!(!page.is_null() && id.core == 7 && id.gen % 2 == 1);
    unsafe { ptr::copy_nonoverlapping("hello".as_ptr(), page, 5) };
    assert!(unsafe { slab_pool_want(pool.0) });
    let foreign = slab_id { core: 8, ..id };
    let pool = &pool;
    std::thread::scope(|scope| {
        scope.spawn(move || unsafe {
            let mut len = 0;
            let data = slab_pool_read(pool.0, id, &mut len) as *const u8;
            assert_eq!(std::slice::from_raw_parts(data, len), b"hello");
            assert_eq!(slab_pool_return(pool.0, foreign), -EINVAL);
            assert_eq!(slab_pool_return(pool.0, id), 1, "the owner wants to be woken");
            assert_eq!(slab_pool_return(pool.0, id), -ESTALE);
        });
    });
}

extern "C" fn note_move(context: *mut c_void, from: slab_ref, to: slab_ref, value: *mut c_void,
                       _room: usize) {
    let refs = unsafe { &mut *(context as *mut Vec<slab_ref>) };
    let index = unsafe { *(value as *const u64) } as usize;
    assert_eq!(refs[index], from);
    refs[index] = to;
}

fn use_store() {
    unsafe {
        let mut store = ptr::null_mut();
        assert_eq!(slab_store_create(&mut store, ptr::null()), 0);
        let mut refs = vec![SLAB_NO_REF; 8192];
        for i in 0..refs.len() {
            let value = i as u64;
            assert_eq!(slab_store_put(store, &value as *const u64 as *const c_void, 8,
                                      &mut refs[i]), 0);
        }
        for i in (0..refs.len()).filter(|i| i % 8 != 0) {
            assert_eq!(slab_store_free(store, refs[i], 8), 0);
        }
        let context = &mut refs as *mut Vec<slab_ref> as *mut c_void;
        assert!(slab_store_compact(store, usize::MAX, note_move, context) > 0);
        for i in (0..refs.len()).step_by(8) {
            let value = slab_store_get(store, refs[i], 8) as *const u64;
            assert!(!value.is_null() && *value == i as u64);
        }
        let mut none = 0;
        assert_eq!(slab_store_put(store, ptr::null(), 1, &mut none), -EINVAL);
        assert_eq!(none, SLAB_NO_REF);
        slab_store_destroy(store);
    }
}

fn use_region() {
    let path = CString::new("use_rs.region").unwrap();
    let config = overflow_config { initial_bytes: 0, max_bytes: 1 << 20,
                                   flags: OVERFLOW_FRESH | OVERFLOW_TEMPORARY };
    let (mut region, mut reader) = (ptr::null_mut(), ptr::null_mut());
    let (mut value, mut size, mut copy) = (0, 0, [0u8; 8]);
    unsafe {
        assert_eq!(overflow_open(&mut region, path.as_ptr(), &config), 0);
        assert_eq!(overflow_reader_open(&mut reader, path.as_ptr()), 0);
        assert_eq!(overflow_write(region, "hello".as_ptr() as *const c_void, 5, 7, &mut value), 0);
        assert_eq!(overflow_reader_read(reader, value, copy.as_mut_ptr() as *mut c_void, 8,
                                        &mut size), 0);
        assert_eq!(&copy[..size], b"hello");
        assert_eq!(overflow_free(region, value), 0);
        assert_eq!(overflow_free(region, value), -ESTALE);
        overflow_reader_close(reader);
        assert_eq!(overflow_close(region), 0);
    }
    assert!(!std::path::Path::new("use_rs.region").exists());
}

fn use_frames() {
    let config = fixedpool_config { frame_size: 4096, frame_count: 64, flags: FIXEDPOOL_POPULATE };
    let mut pool = ptr::null_mut();
    unsafe {
        assert_eq!(fixedpool_create(&mut pool, &config), 0);
        let cache = fixedpool_cache_open(pool);
        let (one, two) = (fixedpool_cache_alloc(cache), fixedpool_alloc(pool));
        assert!(one >= 0 && two >= 0 && one != two);
        *(fixedpool_ptr(pool, two) as *mut u8).add(4095) = 1;
        assert_eq!(fixedpool_free(pool, one), 0);
        assert_eq!(fixedpool_free(pool, one), -EALREADY);
        assert_eq!(fixedpool_free(pool, two), 0);
        fixedpool_cache_close(cache);
        assert_eq!(fixedpool_destroy(pool), 0);
    }
}

fn use_buffers() {
    let mut pool = ptr::null_mut();
    let mut view = bufpool_view { data: ptr::null(), len: 0, buf: ptr::null_mut() };
    unsafe {
        assert_eq!(bufpool_create(&mut pool, ptr::null()), 0);
        let acme = bufpool_tenant_get(pool, "acme".as_ptr() as *const c_char, 4);
        let buf = bufpool_acquire(pool, 5000, acme);
        assert_eq!(bufpool_class_of(buf), BUFPOOL_MEDIUM);
        *(bufpool_data(buf) as *mut u8).add(10) = b'x';
        assert_eq!(bufpool_view_of(buf, 10, 20, &mut view), 0);
        assert_eq!(bufpool_release(buf), 1);
        assert_eq!((*view.data, view.len), (b'x', 20));
        let mut text = vec![0u8; bufpool_metrics(pool, ptr::null_mut(), 0) + 1];
        bufpool_metrics(pool, text.as_mut_ptr(), text.len());
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("tenant_live_bytes{tenant_id=\"acme\"} 5000\n"));
        assert_eq!(bufpool_view_drop(&mut view), 0);
        assert_eq!(bufpool_destroy(pool), 0);
    }
}

fn main() {
    for version in [env!("SLAB_VERSION"), env!("OVERFLOW_VERSION"), env!("FIXEDPOOL_VERSION"),
                    env!("BUFPOOL_VERSION")] {
        assert_eq!(version, env!("EXPECTED"));
    }
    use_pool();
    use_store();
    use_region();
    use_frames();
    use_buffers();
}
