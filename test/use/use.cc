// Goal: a C++20 program uses all four headers: owners as RAII types, views as std::span, pages that
// another thread returns.
// Method: a round trip in each; an exception names the line that failed. The implementations are C,
// linked from another object. -DVERSION= is the version that the macros must have.
#include "bufpool.h"
#include "fixedpool.h"
#include "overflow.h"
#include "slab.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <source_location>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

static_assert(SLAB_VERSION == VERSION && OVERFLOW_VERSION == VERSION);
static_assert(FIXEDPOOL_VERSION == VERSION && BUFPOOL_VERSION == VERSION);

namespace
{

void check(bool condition, std::source_location where = std::source_location::current())
{
    if (!condition) throw std::runtime_error("use.cc:" + std::to_string(where.line()));
}

template <auto destroy> struct Destroy {
    template <typename T> void operator()(T *object) const { (void)destroy(object); }
};
template <typename T, auto destroy> using Owner = std::unique_ptr<T, Destroy<destroy>>;

using Pool    = Owner<slab_pool, slab_pool_destroy>;
using Store   = Owner<slab_store, slab_store_destroy>;
using Region  = Owner<overflow_region, overflow_close>;
using Reader  = Owner<overflow_reader, overflow_reader_close>;
using Frames  = Owner<fixedpool, fixedpool_destroy>;
using Cache   = Owner<fixedpool_cache, fixedpool_cache_close>;
using Buffers = Owner<bufpool, bufpool_destroy>;

// Calls create(T **, arguments...) and takes over the object.
template <typename Owned, typename Create, typename... Arguments>
Owned make(Create create, Arguments... arguments)
{
    typename Owned::pointer object;
    check(create(&object, arguments...) == 0);
    return Owned(object);
}

// A live page, returned when this goes out of scope, in any thread.
class Page
{
  public:
    Page(slab_pool *pool, std::string_view text) : pool_(pool)
    {
        check(slab_pool_put(pool, text.data(), text.size(), &id_) == 0);
    }
    Page(Page &&other) noexcept : pool_(std::exchange(other.pool_, nullptr)), id_(other.id_) {}
    Page &operator=(Page &&) = delete;
    ~Page()
    {
        if (pool_) slab_pool_return(pool_, id_);
    }
    std::span<const char> bytes() const
    {
        std::size_t len;
        auto        data = static_cast<const char *>(slab_pool_read(pool_, id_, &len));
        check(data != nullptr);
        return {data, len};
    }

  private:
    slab_pool *pool_;
    slab_id    id_{};
};

void use_pool()
{
    auto pool = make<Pool>(slab_pool_create, nullptr);
    for (int i = 0; i < 1000; i++) { // more than there are pages: each must come back
        Page page(pool.get(), "hello");
        std::jthread([page = std::move(page)] { check(page.bytes().size() == 5); });
    }
    struct slab_pool_info info;
    slab_pool_stats(pool.get(), &info);
    check(info.allocs == 1000 && info.available == info.page_count && info.refused == 0);
}

void note_move(void *context, slab_ref from, slab_ref to, void *value, std::size_t room)
{
    auto &refs = *static_cast<std::vector<slab_ref> *>(context);
    auto  at   = std::find(refs.begin(), refs.end(), from);
    check(at != refs.end() && value != nullptr && room == 64);
    *at = to;
}

void use_store()
{
    slab_store_config     config{};
    config.max_bytes = 16 << 20;
    auto                  store = make<Store>(slab_store_create, &config);
    std::vector<slab_ref> refs(8192);
    for (std::size_t i = 0; i < refs.size(); i++)
        check(slab_store_put(store.get(), &i, sizeof i, &refs[i]) == 0 && refs[i] != SLAB_NO_REF);
    for (std::size_t i = 0; i < refs.size(); i++) {
        if (i % 8 == 0) continue;
        slab_ref ref = std::exchange(refs[i], SLAB_NO_REF);
        check(slab_store_free(store.get(), ref, sizeof i) == 0);
    }
    check(slab_store_compact(store.get(), SIZE_MAX, note_move, &refs) > 0);
    for (std::size_t i = 0; i < refs.size(); i += 8) {
        const void *value = slab_store_get(store.get(), refs[i], sizeof i);
        check(value != nullptr && *static_cast<const std::size_t *>(value) == i);
    }
}

void use_region()
{
    overflow_config config{
        .initial_bytes = 0, .max_bytes = 1 << 20, .flags = OVERFLOW_FRESH | OVERFLOW_TEMPORARY};
    auto         region = make<Region>(overflow_open, "use_cc.region", &config);
    auto         reader = make<Reader>(overflow_reader_open, "use_cc.region");
    overflow_ref ref;
    char         copy[8];
    std::size_t  size;
    check(overflow_write(region.get(), "hello", 5, 7, &ref) == 0);
    check(overflow_reader_read(reader.get(), ref, copy, sizeof copy, &size) == 0);
    check(std::string_view(copy, size) == "hello");
    overflow_slot slot;
    check(overflow_describe(region.get(), ref, &slot) == 0 && slot.tag == 7);
    check(overflow_free(region.get(), ref) == 0 && !overflow_read(region.get(), ref, &size));
}

void use_frames()
{
    fixedpool_config config{.frame_size = 4096, .frame_count = 64, .flags = FIXEDPOOL_POPULATE};
    auto             pool = make<Frames>(fixedpool_create, &config);
    Cache            cache(fixedpool_cache_open(pool.get()));
    int              frame = fixedpool_cache_alloc(cache.get());
    check(frame >= 0);
    auto bytes = static_cast<unsigned char *>(fixedpool_ptr(pool.get(), frame));
    std::span(bytes, fixedpool_frame_size(pool.get())).back() = 1;
    check(fixedpool_frame_of(pool.get(), bytes + 4095) == frame);
    check(fixedpool_free(pool.get(), frame) == 0 && fixedpool_free(pool.get(), frame) < 0);
}

void use_buffers()
{
    auto         pool = make<Buffers>(bufpool_create, nullptr);
    auto         acme = bufpool_tenant_get(pool.get(), "acme", 4);
    auto         buf  = bufpool_acquire(pool.get(), 5000, acme);
    bufpool_view view;
    check(buf && bufpool_class_of(buf) == BUFPOOL_MEDIUM);
    check(bufpool_view_of(buf, 10, 20, &view) == 0 && bufpool_release(buf) == 1);
    struct bufpool_tenant_info info;
    bufpool_tenant_stats(acme, &info);
    check(info.live_bytes == 5000);
    std::string text(bufpool_metrics(pool.get(), nullptr, 0) + 1, '\0');
    check(bufpool_metrics(pool.get(), text.data(), text.size()) < text.size());
    check(text.find("tenant_live_bytes{tenant_id=\"acme\"} 5000\n") != std::string::npos);
    check(bufpool_view_drop(&view) == 0 && bufpool_destroy(pool.release()) == 0);
}

} // namespace

int main()
{
    try {
        use_pool();
        use_store();
        use_region();
        use_frames();
        use_buffers();
    } catch (const std::exception &failure) {
        std::fprintf(stderr, "%s\n", failure.what());
        return 1;
    }
}
