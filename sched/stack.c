#include "sched/stack.h"

#include <errno.h>
#include <stdlib.h>

#include "sched/atomic.h"
#include "sched/fatal.h"
#include "sched/guard.h"
#include "sched/lock.h"
#include "sched/os.h"
#include "sched/sanitizer.h"

enum {
    STACK_ARENA = 16 << 20, /* bytes, at the least, where there is room */
    STACK_ARENA_MAX = 256 << 20,
    STACK_WARM_MAX = 16384, /* idle stacks of a class that keep their pages */
    STACK_TRIM = 256,       /* others that give them back at a time */
    STACK_BATCH = WEFT__STACK_CACHE / 2,
    STACK_SHARE = 8, /* of what is there, made ahead in one go */
    STACK_COLOURS = 16,
    STACK_COLOUR = 64
};

#define STACK_TRIM_EVERY ((int64_t)10000000) /* ns */
#define STACK_PERIOD ((int64_t)1000000000)

/* Address space that the depot's list of free stacks may take. */
#define STACK_LIST_BYTES ((size_t)128 << 20)

/* One size of stacks. All fields are read and written under the lock. */
struct depot {
    weft__lock_t lock;
    size_t reserved;     /* stacks that someone may take */
    size_t slots;        /* slots in arenas: at least `reserved` */
    size_t carved;       /* of these, so many have been handed out once */
    char *fresh;         /* the arena that slots are carved from */
    size_t fresh_slots;  /* what is left of it */
    size_t bytes;
    size_t unguarded;
    weft__stack_t *list; /* idle ones, the warmest last */
    size_t count;
    size_t capacity;
    size_t cold;   /* of these the first ones, that have given their pages back */
    size_t held;   /* the first ones, not to be taken: some give theirs back */
    size_t low;    /* the least count in this period */
    size_t before; /* and in the one before */
    struct arena *arenas; /* that have not been carved from yet */
};

/* An arena that waits: described in its own first slot's upper page. */
struct arena {
    struct arena *next;
    char *base;
    size_t slots;
};

static struct depot depots[WEFT__STACK_CLASSES];

/* The monitor's, but for the classes. */
static struct {
    weft__au32 classes; /* a bit for each that has pages to give back */
    int64_t due;        /* the next time that some do */
    int64_t period;     /* the end of this period */
} trims;

#if defined(WEFT__VALGRIND)
unsigned weft__on_valgrind;
#endif

void weft__stack_setup(int guard)
{
#if defined(WEFT__VALGRIND)
    weft__on_valgrind = RUNNING_ON_VALGRIND;
#endif
    for (unsigned i = 0; i < WEFT__STACK_CLASSES; i++)
        depots[i].lock.b.rank = WEFT__RANK_LEAF;
    weft__guard_setup(guard);
}

int weft__stack_class(size_t size)
{
    unsigned log = WEFT__STACK_MIN_LOG;

    while (((size_t)1 << log) < size && log <= WEFT__STACK_MAX_LOG)
        log++;
    return log > WEFT__STACK_MAX_LOG ? -EINVAL
                                     : (int)(log - WEFT__STACK_MIN_LOG);
}

size_t weft__stack_class_size(unsigned class)
{
    return (size_t)1 << (WEFT__STACK_MIN_LOG + class);
}

/* --- Reserving ----------------------------------------------------------- */

/* Arenas double with what the class has, between the two bounds; where that
 * much is not to be had, halve down to what is asked. Under the lock. */
static int depot_grow(struct depot *depot, unsigned class, size_t slots)
{
    size_t size = weft__stack_class_size(class);
    size_t least = slots * size;
    size_t bytes = depot->bytes;
    char *base;

    if (least / size != slots)
        return -ENOMEM;
    if (bytes < STACK_ARENA)
        bytes = STACK_ARENA;
    if (bytes > STACK_ARENA_MAX)
        bytes = STACK_ARENA_MAX;
    bytes -= bytes % size;
    if (bytes < least)
        bytes = least;
    while (!(base = weft__os_map(bytes))) {
        if (bytes == least)
            return -ENOMEM;
        bytes = bytes / 2 - bytes / 2 % size;
        if (bytes < least)
            bytes = least;
    }

    /* The last words of the arena's last slot: the first page that its
     * taker would touch anyway. */
    struct arena *arena = (struct arena *)(void *)(base + bytes) - 1;

    arena->base = base;
    arena->slots = bytes / size;
    arena->next = depot->arenas;
    depot->arenas = arena;
    depot->slots += arena->slots;
    depot->bytes += bytes;
    return 0;
}

static int depot_list_make(struct depot *depot, unsigned class)
{
    /* Every slot that a list of this length can name is 1 TiB of stacks. */
    size_t bytes = STACK_LIST_BYTES >> class;

    if (bytes < WEFT__PAGE * 16)
        bytes = WEFT__PAGE * 16;
    while (!(depot->list = weft__os_map(bytes))) {
        bytes /= 2;
        if (bytes < WEFT__PAGE)
            return -ENOMEM;
    }
    depot->capacity = bytes / sizeof(*depot->list);
    return 0;
}

int weft__stack_reserve(unsigned class, size_t n)
{
    struct depot *depot = &depots[class];
    int status = 0;

    weft__lock_acquire(&depot->lock);
    if (!depot->list)
        status = depot_list_make(depot, class);
    if (status == 0 && depot->reserved + n > depot->capacity)
        status = -ENOMEM;
    if (status == 0 && depot->reserved + n > depot->slots)
        status = depot_grow(depot, class, depot->reserved + n - depot->slots);
    if (status == 0)
        depot->reserved += n;
    weft__lock_release(&depot->lock);
    return status;
}

void weft__stack_unreserve(unsigned class, size_t n)
{
    struct depot *depot = &depots[class];

    weft__lock_acquire(&depot->lock);
    WEFT__CHECK(depot->reserved >= n, "more stacks unreserved than reserved");
    depot->reserved -= n;
    weft__lock_release(&depot->lock);
}

/* Make stacks of `n` neighbours that have never been used. */
static __attribute__((noinline)) void
slots_make(struct depot *depot, unsigned class, char *base, size_t n,
           weft__stack_t *out)
{
    size_t size = weft__stack_class_size(class);
    size_t unguarded;

    for (size_t i = 0; i < n; i++) {
        char *slot = base + i * size;

        out[i] = (uintptr_t)slot | class;
        weft__stack_register(slot + WEFT__PAGE, slot + size);
    }
    unguarded = weft__guard_make(out, n);
    if (unguarded == 0)
        return;
    weft__lock_acquire(&depot->lock);
    depot->unguarded += unguarded;
    weft__lock_release(&depot->lock);
}

/* --- Taking and giving --------------------------------------------------- */

/* Upwards, so that a cache may move down within itself. A loop, not memcpy:
 * TSan would look into that and take a worker's own cache for shared. */
static void stacks_copy(weft__stack_t *to, const weft__stack_t *from,
                        size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[i];
}

/* Carve neighbours that have never been used, one or for a cache as well: a
 * process that has many gets them by the dozen, since guards are cheaper so.
 * NULL: there is none. Under the lock. */
static char *depot_carve(struct depot *depot, unsigned class, bool more,
                         size_t *n)
{
    size_t room = depot->capacity - depot->carved; /* on the list */

    if (room == 0)
        return NULL;
    if (depot->fresh_slots == 0) {
        struct arena *arena = depot->arenas;

        if (!arena)
            return NULL;
        depot->arenas = arena->next;
        depot->fresh = arena->base;
        depot->fresh_slots = arena->slots;
    }

    char *base = depot->fresh;

    *n = more ? 1 + depot->carved / STACK_SHARE : 1;
    if (*n > STACK_BATCH)
        *n = STACK_BATCH;
    if (*n > depot->fresh_slots)
        *n = depot->fresh_slots;
    if (*n > room)
        *n = room;
    depot->fresh += *n * weft__stack_class_size(class);
    depot->fresh_slots -= *n;
    depot->carved += *n;
    return base;
}

static size_t slot_room(weft__stack_t stack)
{
    return (size_t)(weft__stack_base(stack) + weft__stack_size(stack) -
                    weft__stack_limit(stack));
}

static inline void slot_open(weft__stack_t stack)
{
    if (weft__memory_watched())
        weft__unpoison(weft__stack_limit(stack), slot_room(stack));
}

static inline void slot_shut(weft__stack_t stack)
{
    if (weft__memory_watched())
        weft__poison(weft__stack_limit(stack), slot_room(stack));
}

/* The lock is held. */
static void depot_taken(struct depot *depot)
{
    if (depot->count < depot->cold)
        depot->cold = depot->count;
    if (depot->count < depot->low)
        depot->low = depot->count;
}

/* A stack and some for the cache; or 0, and where to make so many. */
static weft__stack_t depot_take(struct depot *depot, unsigned class,
                                struct weft__stack_cache *cache, char **base,
                                size_t *n)
{
    weft__stack_t stack = 0;

    weft__lock_acquire(&depot->lock);
    /* Those that are held come back in the time of a system call or two; the
     * monitor, which has them, waits for no worker. */
    while (depot->count == depot->held &&
           !(*base = depot_carve(depot, class, cache != NULL, n))) {
        WEFT__CHECK(depot->held > 0,
                    "a stack was taken that no one had reserved");
        weft__lock_release(&depot->lock);
        weft__os_thread_yield();
        weft__lock_acquire(&depot->lock);
    }
    if (!*base) {
        stack = depot->list[--depot->count];
        *n = depot->count - depot->held;
        if (*n > STACK_BATCH)
            *n = STACK_BATCH;
        if (cache) {
            depot->count -= *n;
            stacks_copy(cache->stacks, depot->list + depot->count, *n);
            cache->count = (unsigned)*n;
        }
        depot_taken(depot);
    }
    weft__lock_release(&depot->lock);
    return stack;
}

static __attribute__((noinline)) weft__stack_t
stack_take_slow(struct weft__stack_cache *cache, unsigned class)
{
    struct depot *depot = &depots[class];
    weft__stack_t made[STACK_BATCH];
    char *base = NULL;
    size_t n = 0;
    weft__stack_t stack = depot_take(depot, class, cache, &base, &n);

    if (stack)
        return stack;
    slots_make(depot, class, base, n, made);
    /* The lowest is taken first. */
    while (n > 1) {
        slot_shut(made[--n]);
        cache->stacks[cache->count++] = made[n];
    }
    return made[0];
}

weft__stack_t weft__stack_take(struct weft__stack_cache *cache,
                               unsigned class, unsigned cache_class)
{
    weft__stack_t stack;

    if (class != cache_class)
        cache = NULL;
    if (cache && cache->count > 0)
        stack = cache->stacks[--cache->count];
    else
        stack = stack_take_slow(cache, class);
    slot_open(stack);
    return stack;
}

/* Give `n` stacks of one class to the depot. */
static void depot_put(unsigned class, const weft__stack_t *stacks, size_t n)
{
    struct depot *depot = &depots[class];

    weft__lock_acquire(&depot->lock);
    WEFT__CHECK(depot->count + n <= depot->capacity,
                "more stacks given back than were ever made");
    stacks_copy(depot->list + depot->count, stacks, n);
    depot->count += n;
    /* relaxed, here and below: under the lock, for who only looks. */
    if (depot->count > depot->cold + STACK_WARM_MAX &&
        !(weft__load(&trims.classes, RELAXED) & 1u << class))
        weft__fetch_or(&trims.classes, 1u << class, RELAXED);
    weft__lock_release(&depot->lock);
}

void weft__stack_give(struct weft__stack_cache *cache, weft__stack_t stack,
                      unsigned cache_class)
{
    unsigned class = weft__stack_class_of(stack);

    if (stack & WEFT__STACK_CANARY)
        weft__guard_check(stack);
    slot_shut(stack);
    if (!cache || class != cache_class) {
        depot_put(class, &stack, 1);
        return;
    }
    if (cache->count == WEFT__STACK_CACHE) {
        /* The older half leaves: the newer one is warm. */
        depot_put(class, cache->stacks, STACK_BATCH);
        cache->count -= STACK_BATCH;
        stacks_copy(cache->stacks, cache->stacks + STACK_BATCH, cache->count);
    }
    cache->stacks[cache->count++] = stack;
}

void weft__stack_cache_flush(struct weft__stack_cache *cache,
                             unsigned cache_class)
{
    if (cache->count > 0)
        depot_put(cache_class, cache->stacks, cache->count);
    cache->count = 0;
}

/* --- Giving pages back ------------------------------------------------------ */

static int by_address(const void *a, const void *b)
{
    weft__stack_t one = *(const weft__stack_t *)a;
    weft__stack_t other = *(const weft__stack_t *)b;

    return (one > other) - (one < other);
}

/* A system call for each run of neighbours: each makes all other cores drop
 * what they know of these pages. Guards stay, by their nature; canaries are
 * written again. */
static void stacks_discard(weft__stack_t *stacks, size_t n)
{
    size_t end;

    qsort(stacks, n, sizeof(*stacks), by_address);
    for (size_t i = 0; i < n; i = end) {
        char *base = weft__stack_base(stacks[i]);
        size_t size = weft__stack_size(stacks[i]);

        for (end = i + 1;
             end < n && weft__stack_base(stacks[end]) == base + size; end++)
            size += weft__stack_size(stacks[end]);
        weft__os_discard(base, size);
    }
    for (size_t i = 0; i < n; i++)
        weft__guard_renew(stacks[i]);
}

/* How many are to give their pages back. The lock is held. */
static size_t depot_surplus(struct depot *depot, bool all)
{
    size_t least = depot->low < depot->before ? depot->low : depot->before;
    size_t warm = depot->cold + STACK_WARM_MAX;

    if (all)
        return depot->count > warm ? depot->count - warm : 0;
    if (least <= warm)
        return 0;
    return least - warm < STACK_TRIM ? least - warm : STACK_TRIM;
}

/* The lock is held. */
static void depot_settle(struct depot *depot, unsigned class)
{
    if (depot->count <= depot->cold + STACK_WARM_MAX)
        weft__fetch_and(&trims.classes, ~(1u << class), RELAXED);
}

/* All, or some that nobody has wanted in this period and the one before; how
 * many. */
static size_t depot_trim(unsigned class, bool all, bool period)
{
    struct depot *depot = &depots[class];
    weft__stack_t *stacks;
    size_t n;

    weft__lock_acquire(&depot->lock);
    n = depot_surplus(depot, all);
    stacks = depot->list + depot->cold;
    if (n > 0)
        depot->held = depot->cold + n;
    else
        depot_settle(depot, class);
    if (period) {
        depot->before = depot->low;
        depot->low = depot->count;
    }
    weft__lock_release(&depot->lock);
    if (n == 0)
        return 0;

    /* Outside the lock. What is held is ours alone. */
    stacks_discard(stacks, n);

    weft__lock_acquire(&depot->lock);
    depot->cold = depot->held;
    depot->held = 0;
    depot_settle(depot, class);
    weft__lock_release(&depot->lock);
    return n;
}

int64_t weft__stack_trim(int64_t now)
{
    uint32_t classes = weft__load(&trims.classes, RELAXED);
    bool period = now >= trims.period;
    size_t n = 0;

    if (classes == 0)
        return INT64_MAX;
    if (now < trims.due)
        return trims.due;
    if (period)
        trims.period = now + STACK_PERIOD;
    for (unsigned i = 0; i < WEFT__STACK_CLASSES; i++)
        if (classes & 1u << i)
            n += depot_trim(i, false, period);
    trims.due = n > 0 ? now + STACK_TRIM_EVERY : trims.period;
    return weft__load(&trims.classes, RELAXED) ? trims.due : INT64_MAX;
}

void weft__stack_trim_all(void)
{
    uint32_t classes = weft__load(&trims.classes, RELAXED);

    for (unsigned i = 0; i < WEFT__STACK_CLASSES; i++)
        if (classes & 1u << i)
            depot_trim(i, true, false);
}

/* --- Asking -------------------------------------------------------------- */

char *weft__stack_top(weft__stack_t stack)
{
    size_t size = weft__stack_size(stack);
    size_t colour = (stack / size) % STACK_COLOURS;

    return weft__stack_base(stack) + size - colour * STACK_COLOUR;
}

char *weft__stack_limit(weft__stack_t stack)
{
    return weft__stack_base(stack) +
           (stack & WEFT__STACK_CANARY ? WEFT__CANARY_BYTES : WEFT__PAGE);
}

size_t weft__stack_high_water(weft__stack_t stack)
{
    /* A guard or canary page is not part of what was used. */
    return weft__os_touched(weft__stack_base(stack) + WEFT__PAGE,
                            weft__stack_size(stack) - WEFT__PAGE);
}

void weft__stack_stats(struct weft__stack_stats *out)
{
    *out = (struct weft__stack_stats){ 0 };
    for (unsigned i = 0; i < WEFT__STACK_CLASSES; i++) {
        struct depot *depot = &depots[i];

        weft__lock_acquire(&depot->lock);
        out->slots += depot->carved;
        out->bytes += depot->bytes;
        out->unguarded += depot->unguarded;
        weft__lock_release(&depot->lock);
    }
}

void weft__stack_forked(void)
{
    for (unsigned i = 0; i < WEFT__STACK_CLASSES; i++)
        depots[i].lock = (weft__lock_t)WEFT__LOCK_INIT(WEFT__RANK_LEAF);
}
