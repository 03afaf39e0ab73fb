/* The order arrives as a number: clang makes a branch for each, gcc takes the
 * strongest. Both are right. */
#include "runtime/sim/plain.h"

#include <stdlib.h>

/* EACH(size, M): M(unsigned type) for the type of that many bytes. */
#define EACH(size, M)                                                       \
    do {                                                                    \
        switch (size) {                                                     \
        case 1:                                                             \
            M(uint8_t);                                                     \
        case 2:                                                             \
            M(uint16_t);                                                    \
        case 4:                                                             \
            M(uint32_t);                                                    \
        case 8:                                                             \
            M(uint64_t);                                                    \
        default:                                                            \
            abort(); /* sched/atomic.h has no other types */                \
        }                                                                   \
    } while (0)

uint64_t weft__plain_load(const volatile void *p, unsigned size, int order)
{
#define LOAD(T) return __atomic_load_n((const volatile T *)p, order)
    EACH(size, LOAD);
#undef LOAD
}

void weft__plain_store(volatile void *p, uint64_t value, unsigned size,
                       int order)
{
#define STORE(T)                                                            \
    __atomic_store_n((volatile T *)p, (T)value, order);                     \
    return
    EACH(size, STORE);
#undef STORE
}

uint64_t weft__plain_rmw(volatile void *p, enum weft__seam_op op,
                         uint64_t value, unsigned size, int order)
{
#define RMW(T)                                                              \
    switch (op) {                                                           \
    case WEFT__SEAM_XCHG:                                                   \
        return __atomic_exchange_n((volatile T *)p, (T)value, order);       \
    case WEFT__SEAM_ADD:                                                    \
        return __atomic_fetch_add((volatile T *)p, (T)value, order);        \
    case WEFT__SEAM_SUB:                                                    \
        return __atomic_fetch_sub((volatile T *)p, (T)value, order);        \
    case WEFT__SEAM_OR:                                                     \
        return __atomic_fetch_or((volatile T *)p, (T)value, order);         \
    case WEFT__SEAM_AND:                                                    \
        return __atomic_fetch_and((volatile T *)p, (T)value, order);        \
    }                                                                       \
    abort()
    EACH(size, RMW);
#undef RMW
}

bool weft__plain_cas(volatile void *p, void *seen, uint64_t next,
                     unsigned size, int order)
{
#define CAS(T)                                                              \
    return __atomic_compare_exchange_n((volatile T *)p, (T *)seen, (T)next, \
                                       false, order, __ATOMIC_ACQUIRE)
    EACH(size, CAS);
#undef CAS
}

void weft__plain_fence(int order)
{
    __atomic_thread_fence(order);
}
