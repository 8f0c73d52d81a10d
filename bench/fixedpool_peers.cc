/* boost::lockfree::stack for fixedpool_bench, of a capacity that is fixed, so that it takes no
 * memory while it works; its push of many does not compile with one. bench/run.sh compiles it where
 * Boost and a C++ compiler are installed. */
#include <boost/lockfree/stack.hpp>
#include <cstdint>

static boost::lockfree::stack<std::uint32_t, boost::lockfree::capacity<256>> frames;

extern "C" {

void boost_create(std::uint32_t count)
{
    while (count-- > 0) frames.bounded_push(count);
}

/* false: there is none. */
bool boost_alloc(std::uint32_t *frame) { return frames.pop(*frame); }

void boost_free(std::uint32_t frame) { frames.bounded_push(frame); }
}
