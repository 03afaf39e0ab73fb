/*
 * The CPU quota of our control groups
 *
 *     /proc/self/cgroup      in which groups we are: "0::/user/app" (v2) or
 *                            "4:cpu,cpuacct:/user/app" (v1), a path from the
 *                            root of that hierarchy
 *     /proc/self/mountinfo   where the hierarchy is mounted, and which part
 *                            of it: a container often sees only its own
 *     <mount>/<path>/        cpu.max (v2), cpu.cfs_quota_us and
 *                            cpu.cfs_period_us (v1)
 *
 * A group's limit holds for all below it, so each level from ours up to the
 * mount point is asked and the smallest counts. What is missing or makes no
 * sense is no limit: the worst that can follow is too many workers, and a
 * system that hides these files is no reason not to start.
 */
#include "runtime/cpus.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sched/os.h"

#define NO_LIMIT UINT_MAX

/* A whole line or word that is a number; false if it is anything else. */
static bool cpus_number(const char *text, uint64_t *number)
{
    uint64_t n = 0;

    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || n > UINT32_MAX * (uint64_t)1000)
            return false;
        n = n * 10 + (uint64_t)(*text - '0');
    }
    *number = n;
    return true;
}

static unsigned cpus_of(const char *quota, const char *period)
{
    uint64_t q;
    uint64_t p;
    uint64_t cpus;

    /* "max", "-1" and nonsense are all no numbers. */
    if (!cpus_number(quota, &q) || !cpus_number(period, &p) || q == 0 || p == 0)
        return NO_LIMIT;
    cpus = (q + p - 1) / p;
    return cpus < NO_LIMIT ? (unsigned)cpus : NO_LIMIT;
}

static unsigned cpus_min(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static char *cpus_read(const char *folder, const char *name)
{
    char *path = NULL;
    char *text;

    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return NULL;
    text = weft__os_read_file(path);
    free(path);
    return text;
}

static unsigned cpus_folder_v2(const char *folder)
{
    char *text = cpus_read(folder, "cpu.max");
    char *rest = text;
    const char *quota;
    const char *period;
    unsigned cpus = NO_LIMIT;

    if (text == NULL)
        return NO_LIMIT;
    quota = strsep(&rest, " \n");
    period = rest != NULL ? strsep(&rest, " \n") : NULL;
    /* The kernel always writes both, and takes a period of 100 ms where only
     * a quota was given. */
    if (period == NULL || *period == '\0')
        period = "100000";
    cpus = cpus_of(quota, period);
    free(text);
    return cpus;
}

static unsigned cpus_folder_v1(const char *folder)
{
    char *quota = cpus_read(folder, "cpu.cfs_quota_us");
    char *period = cpus_read(folder, "cpu.cfs_period_us");
    unsigned cpus = NO_LIMIT;

    if (quota != NULL && period != NULL) {
        quota[strcspn(quota, "\n")] = '\0';
        period[strcspn(period, "\n")] = '\0';
        cpus = cpus_of(quota, period);
    }
    free(quota);
    free(period);
    return cpus;
}

/* Is `word` one of the comma-separated words of `list`? */
static bool cpus_listed(const char *list, const char *word)
{
    size_t length = strlen(word);

    while (*list != '\0') {
        size_t n = strcspn(list, ",");

        if (n == length && memcmp(list, word, n) == 0)
            return true;
        list += n;
        if (*list == ',')
            list++;
    }
    return false;
}

/* mountinfo writes a blank in a path as \040, and so on. In place. */
static void cpus_unescape(char *path)
{
    char *to = path;

    for (char *from = path; *from != '\0'; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' &&
            from[2] >= '0' && from[2] <= '7' && from[3] >= '0' &&
            from[3] <= '7') {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 +
                         (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

struct cgroup_mount {
    char *root;  /* which part of the hierarchy is mounted */
    char *point; /* and where */
};

/*
 * One line of mountinfo, cut in place:
 *
 *     36 35 0:30 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw
 *     id parent dev root point options optional...     - type source super
 *
 * Is it the hierarchy that controls the CPU?
 */
static bool cpus_mount(char *line, bool v2, struct cgroup_mount *mount)
{
    char *rest = line;
    char *field[5];
    const char *type;
    const char *super;

    for (int i = 0; i < 5; i++) {
        field[i] = strsep(&rest, " ");
        if (rest == NULL)
            return false;
    }
    rest = strstr(rest, " - ");
    if (rest == NULL)
        return false;
    rest += 3;

    type = strsep(&rest, " ");
    (void)strsep(&rest, " "); /* the source: any name */
    super = rest != NULL ? rest : "";
    if (v2 ? strcmp(type, "cgroup2") != 0
           : strcmp(type, "cgroup") != 0 || !cpus_listed(super, "cpu"))
        return false;

    mount->root = field[3];
    mount->point = field[4];
    cpus_unescape(mount->root);
    cpus_unescape(mount->point);
    return true;
}

/*
 * What of our group's path lies below what is mounted: NULL if it does not
 * lie there, as when the mount was made outside our cgroup namespace.
 */
static const char *cpus_below(const char *path, const char *root)
{
    size_t n = strlen(root);

    if (strstr(path, "/..") != NULL)
        return NULL;
    if (strcmp(root, "/") == 0)
        return path;
    if (strncmp(path, root, n) != 0 || (path[n] != '/' && path[n] != '\0'))
        return NULL;
    return path + n;
}

/* The smallest limit from <root><point><below> up to <root><point>. */
static unsigned cpus_walk(const char *root, const char *point,
                          const char *below, bool v2)
{
    unsigned cpus = NO_LIMIT;
    char *folder = NULL;
    size_t top = strlen(root) + strlen(point);
    size_t length;

    if (asprintf(&folder, "%s%s%s", root, point, below) < 0)
        return NO_LIMIT;

    length = strlen(folder);
    for (;;) {
        cpus = cpus_min(cpus,
                        v2 ? cpus_folder_v2(folder) : cpus_folder_v1(folder));
        while (length > top && folder[length - 1] != '/')
            length--;
        while (length > top && folder[length - 1] == '/')
            length--;
        if (folder[length] == '\0')
            break; /* that was the top */
        folder[length] = '\0';
    }
    free(folder);
    return cpus;
}

/* The limit of a group at `path` in a hierarchy. `mounts` is mountinfo. */
static unsigned cpus_hierarchy(const char *root, const char *mounts,
                               const char *path, bool v2)
{
    char *copy = strdup(mounts);
    char *rest = copy;
    unsigned cpus = NO_LIMIT;
    bool seen = false;

    /* The first mount that shows our group tells all; one that does not can
     * only tell of a group around us. */
    while (rest != NULL) {
        char *line = strsep(&rest, "\n");
        struct cgroup_mount mount;
        const char *below;

        if (!cpus_mount(line, v2, &mount))
            continue;
        below = cpus_below(path, mount.root);
        if (below == NULL && seen)
            continue;
        cpus = cpus_walk(root, mount.point, below != NULL ? below : "", v2);
        seen = true;
        if (below != NULL)
            break;
    }
    free(copy);
    return cpus;
}

unsigned weft__cpus_quota(const char *root)
{
    unsigned cpus = NO_LIMIT;
    char *folder = NULL;
    char *groups = NULL;
    char *mounts = NULL;
    char *rest;

    if (asprintf(&folder, "%s/proc/self", root) < 0)
        return NO_LIMIT;
    groups = cpus_read(folder, "cgroup");
    mounts = cpus_read(folder, "mountinfo");
    free(folder);

    rest = mounts != NULL ? groups : NULL;
    while (rest != NULL) {
        char *line = strsep(&rest, "\n");
        const char *id = strsep(&line, ":");
        const char *controllers = line != NULL ? strsep(&line, ":") : NULL;
        bool v2;

        if (line == NULL || *line != '/')
            continue;
        v2 = strcmp(id, "0") == 0 && *controllers == '\0';
        if (v2 || cpus_listed(controllers, "cpu"))
            cpus = cpus_min(cpus, cpus_hierarchy(root, mounts, line, v2));
    }
    free(groups);
    free(mounts);
    return cpus;
}

unsigned weft__cpus(const char *root)
{
    return cpus_min(weft__os_affinity(), weft__cpus_quota(root));
}
