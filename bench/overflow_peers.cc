/* Boost.Interprocess's managed_mapped_file for overflow_bench: its default allocator, the best-fit
 * tree, without a lock, since there is one owner. bench/run.sh compiles it where Boost and a C++
 * compiler are installed. */
#include <boost/interprocess/indexes/iset_index.hpp>
#include <boost/interprocess/managed_mapped_file.hpp>
#include <boost/interprocess/mem_algo/rbtree_best_fit.hpp>
#include <boost/interprocess/sync/mutex_family.hpp>
#include <cstddef>
#include <exception>
#include <new>
#include <sys/mman.h>

namespace ipc = boost::interprocess;

typedef ipc::basic_managed_mapped_file<char, ipc::rbtree_best_fit<ipc::null_mutex_family>,
                                       ipc::iset_index>
    file;

static file *region;

extern "C" {

/* Where the file is mapped, or NULL. */
void *boost_open(const char *path, size_t bytes)
{
    try {
        region = new file(ipc::create_only, path, bytes);
        return region->get_address();
    } catch (const std::exception &) {
        return nullptr;
    }
}

/* NULL: there is no room. */
void *boost_allocate(size_t size) { return region->allocate(size, std::nothrow); }

void boost_free(void *memory) { region->deallocate(memory); }

/* Its own flush() is msync with MS_ASYNC, which does nothing on Linux. */
bool boost_sync()
{
    char       *begin = static_cast<char *>(region->get_address());
    std::size_t odd   = reinterpret_cast<std::size_t>(begin) % 4096;
    return msync(begin - odd, region->get_size() + odd, MS_SYNC) == 0;
}
}
