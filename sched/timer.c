/*
 * The heap
 *
 * 4-ary: half the levels of a binary one, and the four children of an entry
 * are one cache line. For that the root is at 3, its children at 4 to 7, and
 * so on: those of p begin at 4 (p - 2), and the parent of p is p / 4 + 2.
 *
 * Each record knows the place of its entry, so that an earlier deadline finds
 * it. The places are an array of their own and not in the cold records: an
 * entry that comes up moves ten others, and in an array of four bytes each
 * these are near, where each record would be a page of its own.
 *
 * Room
 *
 * A park cannot fail, so the room for an entry is there before the fiber is:
 * the heaps take their memory by chunks from a common pool, and whoever makes
 * records sees that the pool has enough for one entry of each of them, in
 * whichever heaps they meet. A heap holds as many chunks as its entries need,
 * and at most one more (it gives one back when one and a half are empty); with
 * W heaps and R records that is at most R / CHUNK + 2 W + 1. Chunks are never
 * given back to the system; like records they are there for the next start.
 */
#include "sched/timer.h"

#include <errno.h>

#include "sched/fatal.h"
#include "sched/os.h"
#include "sched/park.h"
#include "sched/sanitizer.h"
#include "sched/worker.h"

enum {
    ROOT = 3,
    ARITY = 4,
    EXPIRE_BATCH = 30, /* taken out together, for one fence */
    EXPIRE_MOST = 60,  /* about as many as are run until the next look */
    RESERVE_MIN = 16   /* chunks mapped at once */
};

#define CHUNK_BYTES (WEFT__TIMER_CHUNK * sizeof(struct weft__timer_entry))

_Static_assert(sizeof(struct weft__timer_entry) == 16, "four to a line");
_Static_assert(WEFT__WORKERS_MAX - 1 <= WEFT__TIMER_HEAP_MASK,
               "the mark has room for a heap's number");

struct weft__timer_heap *weft__timer_heaps;

/* --- Room -------------------------------------------------------------------- */

/* A free chunk: its first bytes are the link. */
struct chunk {
    struct chunk *next;
};

static struct {
    weft__lock_t lock;
    struct chunk *free;
    size_t made;
    unsigned workers;
    uint32_t records;
} room = { .lock = WEFT__LOCK_INIT(WEFT__RANK_LEAF) };

static void chunk_give(void *chunk)
{
    struct chunk *c = chunk;

    weft__lock_acquire(&room.lock);
    c->next = room.free;
    room.free = c;
    weft__lock_release(&room.lock);
}

static void *chunk_take(void)
{
    struct chunk *c;

    weft__lock_acquire(&room.lock);
    c = room.free;
    WEFT__CHECK(c, "the timers' room was counted wrong");
    room.free = c->next;
    weft__lock_release(&room.lock);
    return c;
}

/* As many chunks as these may ever hold. Under the lock. */
static int room_fill(unsigned workers, uint32_t records)
{
    size_t wanted = records / WEFT__TIMER_CHUNK + 2 * (size_t)workers + 1;
    size_t n;
    char *chunks;

    if (room.made >= wanted)
        return 0;
    n = wanted - room.made;
    if (n < RESERVE_MIN)
        n = RESERVE_MIN;
    chunks = weft__os_map(n * CHUNK_BYTES);
    if (!chunks)
        return -ENOMEM;
    /* The lowest is taken first. */
    for (size_t i = n; i-- > 0;) {
        struct chunk *c = (struct chunk *)(chunks + i * CHUNK_BYTES);

        c->next = room.free;
        room.free = c;
    }
    room.made += n;
    return 0;
}

int weft__timer_reserve(uint32_t records)
{
    int status;

    weft__lock_acquire(&room.lock);
    status = room_fill(room.workers, records);
    if (status == 0 && records > room.records)
        room.records = records;
    weft__lock_release(&room.lock);
    return status;
}

int weft__timer_setup(unsigned workers)
{
    int status;

    if (!weft__timer_heaps) {
        weft__timer_heaps =
            weft__os_map(WEFT__WORKERS_MAX * sizeof(*weft__timer_heaps));
        if (!weft__timer_heaps)
            return -ENOMEM;
    }
    weft__lock_acquire(&room.lock);
    status = room_fill(workers, room.records);
    if (status == 0)
        room.workers = workers;
    weft__lock_release(&room.lock);
    for (unsigned i = 0; status == 0 && i < workers; i++) {
        weft__timer_heaps[i].lock.b.rank = WEFT__RANK_HEAP;
        weft__init(&weft__timer_heaps[i].head, WEFT_FOREVER);
    }
    return status;
}

/* --- The heap; all under its lock ---------------------------------------------- */

static inline struct weft__timer_entry *at(struct weft__timer_heap *heap,
                                           uint32_t place)
{
    return &heap->chunk[place / WEFT__TIMER_CHUNK]
                       [place % WEFT__TIMER_CHUNK];
}

static inline void put_at(struct weft__timer_heap *heap, uint32_t place,
                          struct weft__timer_entry entry)
{
    *at(heap, place) = entry;
    weft__fiber_timer_places[entry.fiber] = place;
}

static void sift_up(struct weft__timer_heap *heap, uint32_t place,
                    struct weft__timer_entry entry)
{
    while (place > ROOT) {
        uint32_t parent = place / ARITY + 2;
        struct weft__timer_entry above = *at(heap, parent);

        if (above.when <= entry.when)
            break;
        put_at(heap, place, above);
        place = parent;
    }
    put_at(heap, place, entry);
}

/* The earliest child of `place`, or 0. `end` is behind the last entry. */
static inline uint32_t least_child(struct weft__timer_heap *heap,
                                   uint32_t place, uint32_t end)
{
    uint32_t first = ARITY * (place - 2);
    uint32_t n = end - first;
    uint32_t least = 0;
    const struct weft__timer_entry *child;

    if (first >= end)
        return 0;
    if (n > ARITY)
        n = ARITY;
    child = at(heap, first); /* the four are neighbours */
    for (uint32_t i = 1; i < n; i++)
        if (child[i].when < child[least].when)
            least = i;
    return first + least;
}

static void sift_down(struct weft__timer_heap *heap, uint32_t place,
                      struct weft__timer_entry entry)
{
    uint32_t end = ROOT + heap->len;
    uint32_t child;

    while ((child = least_child(heap, place, end)) != 0) {
        struct weft__timer_entry below = *at(heap, child);

        if (entry.when <= below.when)
            break;
        put_at(heap, place, below);
        place = child;
    }
    put_at(heap, place, entry);
}

/* What those see who do not hold the lock. */
static void publish(struct weft__timer_heap *heap)
{
    /* relaxed: see weft__timer_head(). */
    weft__store(&heap->head, heap->len ? at(heap, ROOT)->when : WEFT_FOREVER,
                RELAXED);
    weft__store(&heap->standing, heap->len, RELAXED);
}

/* `when` is at least one step of the mark, which else might read as NONE. */
static void push(struct weft__timer_heap *heap, struct weft__fiber *f,
                 int64_t when)
{
    uint32_t place = ROOT + heap->len;
    struct weft__timer_entry entry = { .fiber = weft__fiber_index(f) };

    entry.when = when > (int64_t)WEFT__TIMER_HEAP_MASK
                     ? when
                     : (int64_t)WEFT__TIMER_HEAP_MASK + 1;
    if (place / WEFT__TIMER_CHUNK == heap->chunks)
        heap->chunk[heap->chunks++] = chunk_take();
    heap->len++;
    sift_up(heap, place, entry);
    /* release: for its fiber, which reads it without the lock. */
    weft__store(&weft__fiber_cold(f)->timer,
                ((uint64_t)entry.when & WEFT__TIMER_WHEN_MASK) |
                    (uint64_t)(heap - weft__timer_heaps),
                RELEASE);
}

/* Take the entry at `place` out; its mark is the caller's to set. */
static void pull(struct weft__timer_heap *heap, uint32_t place)
{
    uint32_t end = ROOT + --heap->len;
    struct weft__timer_entry last = *at(heap, end);

    /* The last one fills the gap, in which it may have to rise: it is no
     * descendant of this place, unless the place is the root. */
    if (place != end) {
        if (place > ROOT && at(heap, place / ARITY + 2)->when > last.when)
            sift_up(heap, place, last);
        else
            sift_down(heap, place, last);
    }
    if (end + WEFT__TIMER_CHUNK / 2 <=
        (heap->chunks - 1) * (uint32_t)WEFT__TIMER_CHUNK)
        chunk_give(heap->chunk[--heap->chunks]);
}

/* --- Arming ------------------------------------------------------------------ */

/* Where the fiber has an entry that is too late, or cannot rely on: true if it
 * has none any more. */
static bool entry_leave(struct weft__fiber_cold *cold,
                        struct weft__timer_heap *own, uint32_t index,
                        int64_t deadline)
{
    uint64_t mark = weft__load(&cold->timer, RELAXED); /* the lock decides */
    struct weft__timer_heap *heap =
        weft__timer_heaps + (mark & WEFT__TIMER_HEAP_MASK);
    uint32_t place;
    bool gone = true;

    if (mark == WEFT__TIMER_NONE)
        return true;
    weft__lock_acquire(&heap->lock);
    if (weft__load(&cold->timer, RELAXED) != WEFT__TIMER_NONE) {
        place = weft__fiber_timer_places[index];
        gone = at(heap, place)->when > deadline;
        if (gone) {
            pull(heap, place);
            weft__store(&cold->timer, WEFT__TIMER_NONE, RELAXED);
            /* Its own worker is awake, and puts it back at once. */
            if (heap != own)
                publish(heap);
        }
    }
    weft__lock_release(&heap->lock);
    return gone;
}

/* noinline: slow, and seldom; see weft__timer_arm(). */
__attribute__((noinline)) void weft__timer_put(struct weft__fiber *self,
                                               int64_t deadline)
{
    struct weft__timer_heap *own = self->worker->timers;

    weft__order_hide();
    if (entry_leave(weft__fiber_cold(self), own, weft__fiber_index(self),
                    deadline)) {
        weft__lock_acquire(&own->lock);
        push(own, self, deadline);
        publish(own);
        weft__count(&own->armed, 1);
        weft__lock_release(&own->lock);
    }
    weft__order_show();
}

/* --- Expiry ------------------------------------------------------------------ */

/* Take out up to `most`, a batch at the utmost, of those whose time has come. */
static unsigned take_due(struct weft__timer_heap *heap, int64_t now,
                         struct weft__fiber *due[EXPIRE_BATCH], unsigned most)
{
    uint64_t gone = WEFT__TIMER_GONE | (uint64_t)(heap - weft__timer_heaps);
    unsigned n = 0;

    if (most > EXPIRE_BATCH)
        most = EXPIRE_BATCH;
    while (n < most && heap->len > 0 && at(heap, ROOT)->when <= now) {
        struct weft__fiber *f = weft__fiber_at(at(heap, ROOT)->fiber);

        __builtin_prefetch(f);
        pull(heap, ROOT);
        /* relaxed: the fence comes before any look at the fiber. */
        weft__store(&weft__fiber_cold(f)->timer, gone, RELAXED);
        due[n++] = f;
    }
    return n;
}

/* What became of the wait for which this entry stood? true: it was ended here,
 * and the fiber is the caller's to let go. See invariant 3. */
static bool look_at(struct weft__timer_heap *heap, struct weft__fiber *f,
                    int64_t now)
{
    struct weft__fiber_cold *cold = weft__fiber_cold(f);
    /* acquire: the deadline of this wait, or a later one's. */
    uint64_t wake = weft__load(&f->wake, ACQUIRE);
    uint64_t state = wake & WEFT__WAKE_STATE_MASK;
    int64_t deadline = weft__load(&cold->deadline, RELAXED);
    bool open = state == WEFT__WAKE_OPEN || state == WEFT__WAKE_PARKED;
    bool won = false;

    if (open && deadline > now && deadline != WEFT_FOREVER) {
        push(heap, f, deadline);
        return false;
    }
    if (open && deadline <= now)
        won = weft__claim(f, wake & WEFT__WAKE_GEN_MASK, WEFT__CAUSE_TIMEOUT);
    /* relaxed: the fiber puts an entry there under a lock. */
    weft__store(&cold->timer, WEFT__TIMER_NONE, RELAXED);
    return won;
}

/* One fiber is about to be run by us; for more another worker is woken. */
static void let_go(struct weft__worker *w, struct weft__fiber *won[],
                   unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (weft__release(won[i]))
            weft__worker_push(w, weft__fiber_index(won[i]) << 1);
    if (n > 1)
        weft__idle_hint();
}

void weft__timer_expire(struct weft__worker *w, struct weft__timer_heap *heap,
                        int64_t now)
{
    struct weft__fiber *due[EXPIRE_BATCH];
    unsigned left = EXPIRE_MOST, n;

    weft__order_hide();
    /* A ring that is half full is not to overflow: what is due waits better in
     * the heap, in order. But as many as left the ring may come. */
    if (weft__runq_len(&w->runq) > w->runq.mask / 2)
        left = w->budget;
    do {
        unsigned won = 0;

        weft__lock_acquire(&heap->lock);
        n = take_due(heap, now, due, left);
        /* seq_cst: our marks, then our looks: invariant 3. */
        if (n > 0)
            weft__fence(SEQ_CST);
        for (unsigned k = 0; k < n; k++)
            if (look_at(heap, due[k], now))
                due[won++] = due[k];
        publish(heap);
        weft__count(&heap->expired, won);
        weft__lock_release(&heap->lock);
        let_go(w, due, won);
        left -= n;
    } while (n == EXPIRE_BATCH && left > 0);
    weft__order_show();
}

/* --- The end, and a look inside --------------------------------------------------- */

void weft__timer_clear(unsigned workers)
{
    for (unsigned i = 0; i < workers; i++) {
        struct weft__timer_heap *heap = &weft__timer_heaps[i];

        for (uint32_t k = 0; k < heap->len; k++)
            weft__init(&weft__fiber_colds[at(heap, ROOT + k)->fiber].timer,
                       WEFT__TIMER_NONE);
        while (heap->chunks > 0)
            chunk_give(heap->chunk[--heap->chunks]);
        heap->len = 0;
        weft__init(&heap->head, WEFT_FOREVER);
        weft__init(&heap->standing, 0);
        weft__init(&heap->armed, 0);
        weft__init(&heap->expired, 0);
    }
}

uint64_t weft__timer_audit(struct weft__timer_heap *heap)
{
    uint64_t wrong = 0;

    weft__lock_acquire(&heap->lock);
    for (uint32_t place = ROOT; place < ROOT + heap->len; place++) {
        struct weft__timer_entry entry = *at(heap, place);
        uint64_t mark =
            weft__load(&weft__fiber_colds[entry.fiber].timer, RELAXED);

        if ((place > ROOT &&
             at(heap, place / ARITY + 2)->when > entry.when) ||
            weft__fiber_timer_places[entry.fiber] != place ||
            mark != (((uint64_t)entry.when & WEFT__TIMER_WHEN_MASK) |
                     (uint64_t)(heap - weft__timer_heaps)))
            wrong++;
    }
    if (weft__load(&heap->head, RELAXED) !=
        (heap->len ? at(heap, ROOT)->when : WEFT_FOREVER))
        wrong++;
    weft__lock_release(&heap->lock);
    return wrong;
}

void weft__timer_forked(void)
{
    room.lock = (weft__lock_t)WEFT__LOCK_INIT(WEFT__RANK_LEAF);
}
