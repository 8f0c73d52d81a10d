/* All four implementations in one C file: what a program in another language links with. */
#define SLAB_IMPLEMENTATION
#define OVERFLOW_IMPLEMENTATION
#define FIXEDPOOL_IMPLEMENTATION
#define BUFPOOL_IMPLEMENTATION
#include "bufpool.h"
#include "fixedpool.h"
#include "overflow.h"
#include "slab.h"
