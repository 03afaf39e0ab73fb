/*
 * Configuration
 *
 * Each setting is a row of one table: a field of weft_config_t, the variable
 * that wins over it, what it may be and what it is by default. In between all
 * of them are a uint64_t, and so one range check serves them: a negative
 * field turns into a huge one and falls out of its range.
 */
#include "runtime/config.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cpus.h"
#include "sched/fatal.h"

#ifdef WEFT_SIM
#include "runtime/sim/sim.h"
#endif

/* The end of the first version: programs built with it are never refused. */
#define SIZE_FIRST (offsetof(weft_config_t, guard) + sizeof(int))
/* No version will be longer: what claims to be was never initialised, and
 * reading that far could fault. */
#define SIZE_MAX_EVER 4096

enum setting_kind { COUNT, SIZE, DURATION, CHOICE };

enum {
    WORKERS,
    STACK_SIZE,
    STOP_TIMEOUT,
    DEADLOCK,
    LANE_THREADS,
    GUARD,
    FILE_THREADS,
    FD_THREADS,
    RESOLVE_THREADS,
    SETTINGS
};

struct setting {
    const char *variable;
    const char *field;
    enum setting_kind kind;
    uint64_t min; /* a zero in the field means the default, whatever min is */
    uint64_t max;
    const char *const *words; /* of a CHOICE: the names of 0, 1, 2 ... */
    const char *accepted;     /* for the log */
};

static const char *const deadlock_words[] = { "auto", "always", "never" };
static const char *const guard_words[] = { "auto", "mprotect", "canary" };

#define WORKERS_MAX   256
#define STACK_DEFAULT ((uint64_t)64 << 10)
#define STOP_DEFAULT  ((uint64_t)WEFT_SEC(5))
#define LANE_DEFAULT  64
/* Resolvers take turns at the same few servers: more of them bring little. */
#define RESOLVE_DEFAULT 16

static const struct setting settings[SETTINGS] = {
    [WORKERS] = { "WEFT_WORKERS", "workers", COUNT, 1, WORKERS_MAX, NULL,
                  "a whole number from 1 to 256" },
    [STACK_SIZE] = { "WEFT_STACK_SIZE", "stack_size", SIZE, (uint64_t)16 << 10,
                     (uint64_t)1 << 30, NULL,
                     "16K to 1G: bytes, or a number with K, M or G" },
    [STOP_TIMEOUT] = { "WEFT_STOP_TIMEOUT", "stop_timeout", DURATION, 0,
                       INT64_MAX, NULL,
                       "0 or more: nanoseconds, or a number with ns, us, ms, "
                       "s or m" },
    [DEADLOCK] = { "WEFT_DEADLOCK", "deadlock", CHOICE, 0, 2, deadlock_words,
                   "auto, always or never" },
    [LANE_THREADS] = { "WEFT_LANE_THREADS", "lane_threads", COUNT, 1, 4096,
                       NULL, "a whole number from 1 to 4096" },
    [GUARD] = { "WEFT_GUARD", "guard", CHOICE, 0, 2, guard_words,
                "auto, mprotect or canary" },
    [FILE_THREADS] = { "WEFT_FILE_THREADS", "file_threads", COUNT, 1, 4096,
                       NULL, "a whole number from 1 to 4096" },
    [FD_THREADS] = { "WEFT_FD_THREADS", "fd_threads", COUNT, 1, 4096, NULL,
                     "a whole number from 1 to 4096" },
    [RESOLVE_THREADS] = { "WEFT_RESOLVE_THREADS", "resolve_threads", COUNT, 1,
                          4096, NULL, "a whole number from 1 to 4096" },
};

static const struct unit {
    const char *name;
    uint64_t factor;
} size_units[] = {
    { "", 1 },
    { "K", (uint64_t)1 << 10 },
    { "M", (uint64_t)1 << 20 },
    { "G", (uint64_t)1 << 30 },
    { NULL, 0 },
}, duration_units[] = {
    { "", 1 },
    { "ns", 1 },
    { "us", 1000 },
    { "ms", 1000000 },
    { "s", 1000000000 },
    { "m", 60000000000 },
    { NULL, 0 },
}, no_units[] = {
    { "", 1 },
    { NULL, 0 },
};

/* Digits and a unit, and nothing before, between or behind. */
static bool config_number(const char *text, const struct unit *units,
                          uint64_t *value)
{
    uint64_t n = 0;

    if (*text < '0' || *text > '9')
        return false;
    for (; *text >= '0' && *text <= '9'; text++) {
        if (__builtin_mul_overflow(n, (uint64_t)10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n))
            return false;
    }
    for (; units->name != NULL; units++) {
        if (strcmp(text, units->name) == 0)
            return !__builtin_mul_overflow(n, units->factor, value);
    }
    return false;
}

static bool config_parse(const struct setting *s, const char *text,
                         uint64_t *value)
{
    bool read = false;

    switch (s->kind) {
    case COUNT:
        read = config_number(text, no_units, value);
        break;
    case SIZE:
        read = config_number(text, size_units, value);
        break;
    case DURATION:
        read = config_number(text, duration_units, value);
        break;
    case CHOICE:
        for (uint64_t i = 0; i <= s->max && !read; i++) {
            if (strcmp(text, s->words[i]) == 0) {
                *value = i;
                read = true;
            }
        }
        break;
    }
    return read && *value >= s->min && *value <= s->max;
}

/* An older program's struct is shorter: its missing fields are 0, the
 * default. A newer one's may be longer if it does not use what we lack. */
static int config_copy(weft_config_t *config, const weft_config_t *in)
{
    const unsigned char *bytes = (const unsigned char *)in;

    memset(config, 0, sizeof(*config));
    if (in == NULL)
        return 0;
    if (in->size < SIZE_FIRST || in->size > SIZE_MAX_EVER) {
        weft__log(WEFT_LOG_ERROR,
                  "weft_config_t: size is %zu; set it to "
                  "sizeof(weft_config_t), as WEFT_CONFIG_INIT does",
                  in->size);
        return -EINVAL;
    }
    for (size_t i = sizeof(*config); i < in->size; i++) {
        if (bytes[i] != 0) {
            weft__log(WEFT_LOG_ERROR,
                      "weft_config_t: a field is set that weft %s does not "
                      "know; it is older than the program's header",
                      weft_version());
            return -EINVAL;
        }
    }
    memcpy(config, in, in->size < sizeof(*config) ? in->size : sizeof(*config));
    return 0;
}

static int config_check_fields(const uint64_t *value)
{
    int status = 0;

    for (int i = 0; i < SETTINGS; i++) {
        const struct setting *s = &settings[i];

        if (value[i] == 0 || (value[i] >= s->min && value[i] <= s->max))
            continue;
        weft__log(WEFT_LOG_ERROR,
                  "weft_config_t: %s has no sense; accepted: %s", s->field,
                  s->accepted);
        status = -EINVAL;
    }
    return status;
}

/* set[i] says that the environment has decided: a 0 is no default then. */
static int config_read_environment(uint64_t *value, bool *set)
{
    int status = 0;

    for (int i = 0; i < SETTINGS; i++) {
        const struct setting *s = &settings[i];
        /* Not for a program that runs with more rights than its caller. */
        const char *text = secure_getenv(s->variable);

        set[i] = text != NULL;
        if (text == NULL || config_parse(s, text, &value[i]))
            continue;
        weft__log(WEFT_LOG_ERROR, "%s is \"%.80s\"; accepted: %s", s->variable,
                  text, s->accepted);
        status = -EINVAL;
    }
    return status;
}

/* A seed promises a schedule, which only the simulation can keep: saying
 * nothing would let a bug hide behind a replay that never was one. */
static int config_refuse_seed(void)
{
#ifndef WEFT_SIM
    if (secure_getenv("WEFT_SEED") != NULL) {
        weft__log(WEFT_LOG_ERROR,
                  "WEFT_SEED is set, and this program is linked with the "
                  "ordinary library; link it with libweft-sim to replay a "
                  "schedule, or unset WEFT_SEED");
        return -ENOSYS;
    }
#endif
    return 0;
}

static void config_fill_defaults(uint64_t *value, const bool *set)
{
#ifdef WEFT_SIM
    /* A seed means the same on every machine. */
    if (value[WORKERS] == 0 && weft__sim_active())
        value[WORKERS] = weft__sim_workers();
#endif
    if (value[WORKERS] == 0) {
        value[WORKERS] = weft__cpus("");
        if (value[WORKERS] > WORKERS_MAX)
            value[WORKERS] = WORKERS_MAX;
    }
    if (value[STACK_SIZE] == 0)
        value[STACK_SIZE] = STACK_DEFAULT;
    if (value[STOP_TIMEOUT] == 0 && !set[STOP_TIMEOUT])
        value[STOP_TIMEOUT] = STOP_DEFAULT;
    if (value[LANE_THREADS] == 0)
        value[LANE_THREADS] = LANE_DEFAULT;
    if (value[FILE_THREADS] == 0)
        value[FILE_THREADS] = LANE_DEFAULT;
    if (value[FD_THREADS] == 0)
        value[FD_THREADS] = LANE_DEFAULT;
    if (value[RESOLVE_THREADS] == 0)
        value[RESOLVE_THREADS] = RESOLVE_DEFAULT;
}

static size_t config_power_of_two(uint64_t size)
{
    uint64_t power = 1;

    while (power < size)
        power *= 2;
    return (size_t)power;
}

int weft__config_load(weft_config_t *out, const weft_config_t *in)
{
    uint64_t value[SETTINGS];
    bool set[SETTINGS];
    weft_config_t config;
    int status = config_refuse_seed();

    if (status == 0)
        status = config_copy(&config, in);
    if (status != 0)
        return status;

    value[WORKERS] = config.workers;
    value[STACK_SIZE] = config.stack_size;
    value[STOP_TIMEOUT] = (uint64_t)config.stop_timeout;
    value[DEADLOCK] = (uint64_t)(int64_t)config.deadlock;
    value[LANE_THREADS] = config.lane_threads;
    value[GUARD] = (uint64_t)(int64_t)config.guard;
    value[FILE_THREADS] = config.file_threads;
    value[FD_THREADS] = config.fd_threads;
    value[RESOLVE_THREADS] = config.resolve_threads;

    /* A field that has no sense is a mistake also where a variable wins over
     * it: else the program would break when the variable is taken away. */
    status = config_check_fields(value);
    if (config_read_environment(value, set) != 0)
        status = -EINVAL;
    if (status != 0)
        return status;
    config_fill_defaults(value, set);

    config.size = sizeof(config);
    config.workers = (unsigned)value[WORKERS];
    config.stack_size = config_power_of_two(value[STACK_SIZE]);
    config.stop_timeout = (weft_time_t)value[STOP_TIMEOUT];
    config.deadlock = (int)value[DEADLOCK];
    config.lane_threads = (unsigned)value[LANE_THREADS];
    config.guard = (int)value[GUARD];
    config.file_threads = (unsigned)value[FILE_THREADS];
    config.fd_threads = (unsigned)value[FD_THREADS];
    config.resolve_threads = (unsigned)value[RESOLVE_THREADS];
    *out = config;
    return 0;
}
