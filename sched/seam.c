/*
 * The seam's plain side
 *
 * What the atomics of libweft-sim do: ask the table, or, while there is none,
 * be the plain operation of that size. The plain ones are sequentially
 * consistent whatever was asked for: a run outside a simulation is rare, and
 * the builtins want an order known at compile time.
 */
#ifdef WEFT_SIM

#include "sched/seam.h"

#include <stddef.h>

#include "sched/fatal.h"

const struct weft__seam *weft__seam;

/* Run `statement` with T being the unsigned type of `size` bytes. */
#define SEAM_BY_SIZE(size, statement)                                          \
    do {                                                                       \
        switch (size) {                                                        \
        case 1: {                                                              \
            typedef uint8_t T;                                                 \
            statement;                                                         \
        } break;                                                               \
        case 4: {                                                              \
            typedef uint32_t T;                                                \
            statement;                                                         \
        } break;                                                               \
        case 8: {                                                              \
            typedef uint64_t T;                                                \
            statement;                                                         \
        } break;                                                               \
        default:                                                               \
            WEFT__CHECK(false, "an atomic has a size that weft never uses");   \
        }                                                                      \
    } while (0)

uint64_t weft__seam_load(const volatile void *p, unsigned size, int order)
{
    uint64_t value = 0;

    if (weft__seam != NULL && weft__seam->load != NULL)
        return weft__seam->load(p, size, order);
    SEAM_BY_SIZE(
        size, value = __atomic_load_n((const volatile T *)p, __ATOMIC_SEQ_CST));
    return value;
}

void weft__seam_store(volatile void *p, uint64_t value, unsigned size,
                      int order)
{
    if (weft__seam != NULL && weft__seam->store != NULL) {
        weft__seam->store(p, value, size, order);
        return;
    }
    SEAM_BY_SIZE(size,
                 __atomic_store_n((volatile T *)p, (T)value, __ATOMIC_SEQ_CST));
}

#define SEAM_RMW(size, builtin)                                                \
    SEAM_BY_SIZE(size,                                                         \
                 seen = builtin((volatile T *)p, (T)value, __ATOMIC_SEQ_CST))

uint64_t weft__seam_rmw(volatile void *p, enum weft__seam_op op, uint64_t value,
                        unsigned size, int order)
{
    uint64_t seen = 0;

    if (weft__seam != NULL && weft__seam->rmw != NULL)
        return weft__seam->rmw(p, op, value, size, order);

    switch (op) {
    case WEFT__SEAM_XCHG:
        SEAM_RMW(size, __atomic_exchange_n);
        break;
    case WEFT__SEAM_ADD:
        SEAM_RMW(size, __atomic_fetch_add);
        break;
    case WEFT__SEAM_SUB:
        SEAM_RMW(size, __atomic_fetch_sub);
        break;
    case WEFT__SEAM_OR:
        SEAM_RMW(size, __atomic_fetch_or);
        break;
    case WEFT__SEAM_AND:
        SEAM_RMW(size, __atomic_fetch_and);
        break;
    }
    return seen;
}

bool weft__seam_cas(volatile void *p, void *seen, uint64_t next, unsigned size,
                    int order)
{
    bool won = false;

    if (weft__seam != NULL && weft__seam->cas != NULL)
        return weft__seam->cas(p, seen, next, size, order);
    SEAM_BY_SIZE(size, won = __atomic_compare_exchange_n(
                           (volatile T *)p, (T *)seen, (T)next, false,
                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    return won;
}

void weft__seam_fence(int order)
{
    if (weft__seam != NULL && weft__seam->fence != NULL) {
        weft__seam->fence(order);
        return;
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

#else

/* A translation unit is never empty. */
typedef int weft__seam_is_not_here;

#endif
