/* model.h - the scaffolding that all plays share.
 *
 * Goal:   show that the real headers keep their promises in every execution that the C11 memory
 *         model allows.
 * Method: a play is a function of a few lines that starts two or three threads on a tiny pool and
 *         asserts the outcome. Each file holds the plays about one mechanism. It makes two
 *         programs:
 *
 *         with -DMODEL -DPLAY=name   for the model checker GenMC: the program is that one play,
 *                                    which the checker runs once for each possible execution
 *         without                    an ordinary program; its arguments are a play's name and a
 *                                    number of rounds. Without arguments it lists its plays
 *
 * The real header is compiled in. For the checker its memory is static (the checker does not know
 * mmap), and its functions are inlined: the checker requires that each variable is accessed in one
 * size, and a small struct passed by value would be stored as one word and loaded as fields.
 *
 * Payloads are plain variables. Where a header does not order two accesses to a payload, the
 * checker reports a data race: that is how a play proves a happens-before.
 *
 * To add a play, write `play(name) { ... }` at the left margin of a file; run.sh finds it there. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MODEL_INLINE static inline __attribute__((always_inline, unused))
#define MODEL_API    static inline __attribute__((unused))

#ifdef MODEL

/* The checker's own functions. A mutex is the checker's too. assume(false) ends an execution
 * without a verdict: where a thread finds a lock taken, the executions in which it comes later are
 * explored anyway. */
typedef int model_thread;
typedef struct {
    int word;
} model_mutex;
extern int   __VERIFIER_thread_create(const void *attributes, void *(*run)(void *), void *argument);
extern void *__VERIFIER_thread_join(model_thread thread);
extern int   __VERIFIER_mutex_lock(model_mutex *mutex);
extern int   __VERIFIER_mutex_unlock(model_mutex *mutex);
extern void  __VERIFIER_assume(bool condition);
extern void  __VERIFIER_assert_fail(const char *condition, const char *file, int line);

#define must(x) ((x) ? (void)0 : __VERIFIER_assert_fail(#x, __FILE__, __LINE__))

/* A play that does not exist is not defined, which is an error here. */
#pragma clang diagnostic error "-Wundefined-internal"
#define MODEL_NAME_OF(name) play_##name
#define MODEL_PLAY_OF(name) MODEL_NAME_OF(name)
#define play(name)          static void play_##name(void)

static void MODEL_PLAY_OF(PLAY)(void);

int main(void)
{
    MODEL_PLAY_OF(PLAY)();
    return 0;
}

/* Around the include of a header: inlines its helpers too. */
#define MODEL_HEADER_BEGIN                                                                         \
    _Pragma("clang attribute push(__attribute__((always_inline)), apply_to = function)")
#define MODEL_HEADER_END _Pragma("clang attribute pop")

#else
#include <pthread.h>
#include <stdio.h>

typedef pthread_t model_thread;
#define must(x) ((x) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x), abort()))

/* Each play adds itself to the list before main. */
typedef struct model_entry {
    const char         *name;
    void              (*run)(void);
    struct model_entry *next;
} model_entry;

static model_entry *model_plays;

#define play(name)                                                                                 \
    static void play_##name(void);                                                                 \
    __attribute__((constructor)) static void model_add_##name(void)                                \
    {                                                                                              \
        static model_entry entry;                                                                  \
        entry       = (model_entry){#name, play_##name, model_plays};                              \
        model_plays = &entry;                                                                      \
    }                                                                                              \
    static void play_##name(void)

int main(int argc, char **argv)
{
    long rounds = argc > 2 ? atol(argv[2]) : 1;

    for (const model_entry *entry = model_plays; entry; entry = entry->next) {
        if (argc < 2) puts(entry->name);
        else if (strcmp(argv[1], entry->name) == 0) {
            for (; rounds > 0; rounds--) entry->run();
            return 0;
        }
    }
    if (argc > 1) fprintf(stderr, "%s: no play %s\n", argv[0], argv[1]);
    return argc < 2 ? 0 : 2;
}

#define MODEL_HEADER_BEGIN
#define MODEL_HEADER_END
#endif

/* -- Mutants: a read-modify-write torn into a load and a store --
 *
 * mutants.sh turns a header's atomic_fetch_or into torn_fetch_or, and expects a play to fail. */
#define torn_step(object, desired)                                                                 \
    __extension__({                                                                                \
        __auto_type torn_from = atomic_load_explicit(object, memory_order_seq_cst);                \
        __auto_type torn_to   = (desired);                                                         \
        atomic_store_explicit(object, torn_to, memory_order_seq_cst);                              \
        torn_from;                                                                                 \
    })
#define torn_exchange_explicit(object, desired, order)  torn_step(object, desired)
#define torn_fetch_or_explicit(object, operand, order)  torn_step(object, torn_from | (operand))
#define torn_fetch_and_explicit(object, operand, order) torn_step(object, torn_from & (operand))
#define torn_fetch_add_explicit(object, operand, order) torn_step(object, torn_from + (operand))
#define torn_fetch_sub_explicit(object, operand, order) torn_step(object, torn_from - (operand))
#define torn_compare_exchange_strong_explicit(object, expected, desired, order, failure)           \
    __extension__({                                                                                \
        __auto_type torn_from = atomic_load_explicit(object, memory_order_seq_cst);                \
        bool        torn_done = torn_from == *(expected);                                          \
        if (torn_done) atomic_store_explicit(object, desired, memory_order_seq_cst);               \
        else *(expected) = torn_from;                                                              \
        torn_done;                                                                                 \
    })
#define torn_compare_exchange_weak_explicit torn_compare_exchange_strong_explicit

/* -- Threads -- */

MODEL_INLINE model_thread model_start(void *(*run)(void *))
{
#ifdef MODEL
    return __VERIFIER_thread_create(NULL, run, NULL);
#else
    model_thread thread;
    int          error = pthread_create(&thread, NULL, run, NULL);
    must(error == 0);
    return thread;
#endif
}

MODEL_INLINE void model_join(model_thread thread)
{
#ifdef MODEL
    __VERIFIER_thread_join(thread);
#else
    int error = pthread_join(thread, NULL);
    must(error == 0);
#endif
}

/* Returns one of 0 .. count - 1: the checker explores each; an ordinary program takes the next one
 * in each round. Called once in a play, before it starts threads. */
static unsigned          model_choices;
static _Atomic(unsigned) model_choice;

#ifdef MODEL
static void *model_offer(void *unused)
{
    for (unsigned i = 1; i < model_choices; i++)
        atomic_store_explicit(&model_choice, i, memory_order_relaxed);
    return unused;
}
#endif

MODEL_INLINE unsigned model_choose(unsigned count)
{
    model_choices = count;
#ifdef MODEL
    model_thread thread = model_start(model_offer);
    unsigned     choice = atomic_load_explicit(&model_choice, memory_order_relaxed);
    model_join(thread);
    return choice;
#else
    return atomic_fetch_add_explicit(&model_choice, 1, memory_order_relaxed) % count;
#endif
}
