/*
 * The number of processors, from an affinity mask and from control groups
 * that a test builds in a folder of its own. Needs no runtime.
 */
#include <check.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/cpus.h"
#include "sched/os.h"

#define V2 "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"
#define V1                                                                     \
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"               \
    "32 31 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"        \
    "33 31 0:30 / /sys/fs/cgroup/cpu rw shared:7 - cgroup cgroup "             \
    "rw,cpuacct,cpu\n"
#define HYBRID                                                                 \
    V1 "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"

/* The root that the current test sees in place of "/". */
static char root[PATH_MAX];

static void make_root(void)
{
    const char *place = getenv("TMPDIR");

    snprintf(root, sizeof(root), "%s/weft-cpus-XXXXXX",
             place != NULL ? place : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static void remove_root(void)
{
    char command[PATH_MAX + 16];

    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    ck_assert_int_eq(system(command), 0);
}

/* Write a file below the root, and the folders on the way to it. */
static void put(const char *path, const char *text)
{
    char full[2 * PATH_MAX];
    FILE *file;

    snprintf(full, sizeof(full), "%s/%s", root, path);
    for (char *slash = full + strlen(root) + 1;
         (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        mkdir(full, 0777);
        *slash = '/';
    }
    file = fopen(full, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

static void put_group(const char *groups, const char *mounts)
{
    put("proc/self/cgroup", groups);
    put("proc/self/mountinfo", mounts);
}

static void ck_quota(unsigned cpus)
{
    ck_assert_uint_eq(weft__cpus_quota(root), cpus);
}

/* --- Version 2 ------------------------------------------------------------ */

START_TEST(v2_quota_is_rounded_up)
{
    static const struct {
        const char *text;
        unsigned cpus;
    } cases[] = {
        { "100000 100000\n", 1 },   { "150000 100000\n", 2 },
        { "200000 100000\n", 2 },   { "200001 100000\n", 3 },
        { "1000 100000\n", 1 },     { "50000 100000\n", 1 },
        { "6400000 100000\n", 64 }, { "25000 10000\n", 3 },
        { "300000\n", 3 },          { "300000", 3 },
    };

    put_group("0::/app\n", V2);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        put("sys/fs/cgroup/app/cpu.max", cases[i].text);
        ck_quota(cases[i].cpus);
    }
}
END_TEST

START_TEST(v2_max_is_no_limit)
{
    put_group("0::/app\n", V2);
    put("sys/fs/cgroup/app/cpu.max", "max 100000\n");
    ck_quota(UINT_MAX);
}
END_TEST

START_TEST(v2_the_smallest_of_all_levels_counts)
{
    put_group("0::/pod/app/worker\n", V2);
    put("sys/fs/cgroup/pod/app/worker/cpu.max", "400000 100000\n");
    ck_quota(4);
    put("sys/fs/cgroup/pod/app/cpu.max", "max 100000\n");
    ck_quota(4);
    put("sys/fs/cgroup/pod/cpu.max", "250000 100000\n");
    ck_quota(3);
    put("sys/fs/cgroup/cpu.max", "200000 100000\n");
    ck_quota(2);
    put("sys/fs/cgroup/pod/app/worker/cpu.max", "100000 100000\n");
    ck_quota(1);
    /* A sibling's limit is none of ours, nor is one above the mount. */
    put("sys/fs/cgroup/pod/other/cpu.max", "1000 100000\n");
    put("sys/fs/cpu.max", "1000 100000\n");
    put("sys/fs/cgroup/pod/app/worker/cpu.max", "max 100000\n");
    ck_quota(2);
}
END_TEST

START_TEST(v2_limit_of_the_parent_when_ours_has_no_file)
{
    put_group("0::/pod/app\n", V2);
    put("sys/fs/cgroup/pod/cpu.max", "300000 100000\n");
    put("sys/fs/cgroup/pod/app/cgroup.procs", "");
    ck_quota(3);
}
END_TEST

START_TEST(v2_at_the_root_of_a_namespace)
{
    put_group("0::/\n", V2);
    ck_quota(UINT_MAX);
    put("sys/fs/cgroup/cpu.max", "300000 100000\n");
    ck_quota(3);
}
END_TEST

START_TEST(v2_nonsense_is_no_limit)
{
    static const char *const texts[] = {
        "",
        "\n",
        " 100000\n",
        "-1 100000\n",
        "0 100000\n",
        "100000 0\n",
        "100000 max\n",
        "1e5 100000\n",
        "0x100 100000\n",
        "100000 -100000\n",
        "ten 100000\n",
        "99999999999999999999999 100000\n",
    };

    put_group("0::/app\n", V2);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        put("sys/fs/cgroup/app/cpu.max", texts[i]);
        ck_quota(UINT_MAX);
    }
    /* And it hides no limit further up. */
    put("sys/fs/cgroup/cpu.max", "200000 100000\n");
    ck_quota(2);
}
END_TEST

/* --- Version 1 ------------------------------------------------------------ */

static void put_v1(const char *folder, const char *quota, const char *period)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "sys/fs/cgroup/cpu%s/cpu.cfs_quota_us",
             folder);
    put(path, quota);
    snprintf(path, sizeof(path), "sys/fs/cgroup/cpu%s/cpu.cfs_period_us",
             folder);
    put(path, period);
}

START_TEST(v1_quota_is_rounded_up)
{
    put_group("5:cpuset:/\n4:cpuacct,cpu:/app\n", V1);
    put_v1("/app", "150000\n", "100000\n");
    ck_quota(2);
    put_v1("/app", "50000\n", "50000\n");
    ck_quota(1);
}
END_TEST

START_TEST(v1_minus_one_is_no_limit)
{
    put_group("4:cpuacct,cpu:/app\n", V1);
    put_v1("/app", "-1\n", "100000\n");
    ck_quota(UINT_MAX);
}
END_TEST

START_TEST(v1_the_smallest_of_all_levels_counts)
{
    put_group("4:cpuacct,cpu:/pod/app\n", V1);
    put_v1("/pod/app", "-1\n", "100000\n");
    put_v1("/pod", "300000\n", "100000\n");
    put_v1("", "-1\n", "100000\n");
    ck_quota(3);
    put_v1("/pod/app", "400000\n", "100000\n");
    ck_quota(3);
    put_v1("/pod/app", "100000\n", "100000\n");
    ck_quota(1);
}
END_TEST

START_TEST(v1_nonsense_and_missing_files_are_no_limit)
{
    put_group("4:cpuacct,cpu:/app\n", V1);
    ck_quota(UINT_MAX);
    put("sys/fs/cgroup/cpu/app/cpu.cfs_quota_us", "100000\n");
    ck_quota(UINT_MAX);
    put_v1("/app", "100000\n", "0\n");
    ck_quota(UINT_MAX);
    put_v1("/app", "", "");
    ck_quota(UINT_MAX);
    put_v1("/app", "many\n", "100000\n");
    ck_quota(UINT_MAX);
}
END_TEST

/* "cpu" is a word of its own: cpuset and cpuacct contain it. */
START_TEST(v1_other_controllers_do_not_count)
{
    put_group("5:cpuset:/app\n4:cpuacct:/app\n1:name=cpu:/app\n", V1);
    put_v1("/app", "100000\n", "100000\n");
    ck_quota(UINT_MAX);
}
END_TEST

/* As Docker does it: the path is the host's, and only our part of the
 * hierarchy is mounted. */
START_TEST(v1_only_our_part_is_mounted)
{
    put_group("4:cpu:/docker/abc/inner\n",
              "33 31 0:30 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup "
              "rw,cpu\n");
    put_v1("", "300000\n", "100000\n");
    ck_quota(3);
    put_v1("/inner", "200000\n", "100000\n");
    ck_quota(2);
    put_v1("/docker/abc/inner", "100000\n", "100000\n");
    ck_quota(2);
}
END_TEST

/* --- Both, and neither ------------------------------------------------------ */

START_TEST(hybrid_v1_has_the_limit)
{
    put_group("4:cpu,cpuacct:/app\n0::/app\n", HYBRID);
    put_v1("/app", "200000\n", "100000\n");
    ck_quota(2);
}
END_TEST

START_TEST(hybrid_v2_has_the_limit)
{
    put_group("4:cpu,cpuacct:/\n0::/app\n", HYBRID);
    put_v1("", "-1\n", "100000\n");
    put("sys/fs/cgroup/unified/app/cpu.max", "300000 100000\n");
    ck_quota(3);
}
END_TEST

START_TEST(a_mount_with_a_blank_in_its_path)
{
    put_group("0::/my app\n",
              "31 23 0:28 / /mnt/control\\040groups rw - cgroup2 none rw\n");
    put("mnt/control groups/my app/cpu.max", "200000 100000\n");
    ck_quota(2);
}
END_TEST

/* A group beside what is mounted: the mount point is all we can see. */
START_TEST(our_group_is_not_below_the_mount)
{
    put_group("0::/../elsewhere\n", V2);
    put("sys/fs/cgroup/cpu.max", "200000 100000\n");
    put("sys/fs/elsewhere/cpu.max", "100000 100000\n");
    ck_quota(2);

    put_group("0::/pods/b\n",
              "31 23 0:28 /pods/a /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    ck_quota(2);
    /* A name that begins like ours is not ours. */
    put_group("0::/pods/ab\n",
              "31 23 0:28 /pods/a /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    put("sys/fs/cgroupb/cpu.max", "100000 100000\n");
    ck_quota(2);
}
END_TEST

/* Another view of the hierarchy is mounted too, and listed first. */
START_TEST(the_mount_that_shows_our_group_is_taken)
{
    put_group("0::/pods/a\n",
              "30 23 0:28 /pods/b /mnt/b rw - cgroup2 cgroup2 rw\n" V2);
    put("mnt/b/cpu.max", "100000 100000\n");
    put("sys/fs/cgroup/pods/a/cpu.max", "300000 100000\n");
    ck_quota(3);
}
END_TEST

START_TEST(missing_files_are_no_limit)
{
    ck_quota(UINT_MAX);
    put("proc/self/cgroup", "0::/app\n");
    ck_quota(UINT_MAX);
    put_group("0::/app\n", V2);
    ck_quota(UINT_MAX);
    put_group("", "");
    ck_quota(UINT_MAX);
    put_group("0::/app\n", "");
    ck_quota(UINT_MAX);
    put_group("", V2);
    ck_quota(UINT_MAX);
}
END_TEST

START_TEST(broken_files_are_no_limit)
{
    put_group(":::\n::\n:\n0\n0:\n0::\n0::app\nx::/app\n\n4:cpu\n4:cpu:\n",
              V2 V1);
    put("sys/fs/cgroup/cpu.max", "100000 100000\n");
    put("sys/fs/cgroup/app/cpu.max", "100000 100000\n");
    put_v1("", "100000\n", "100000\n");
    ck_quota(UINT_MAX);

    put_group("0::/app\n", "31\n31 23\n - cgroup2\n"
                           "31 23 0:28 / /sys/fs/cgroup\n"
                           "31 23 0:28 / /sys/fs/cgroup rw - \n"
                           "31 23 0:28 / /sys/fs/cgroup rw cgroup2 x rw\n");
    ck_quota(UINT_MAX);
}
END_TEST

/* A machine with thousands of mounts: the file is read to its end. */
START_TEST(the_mount_is_behind_thousands_of_others)
{
    size_t size = 1 << 20;
    char *mounts = malloc(size);
    size_t n = 0;

    ck_assert_ptr_nonnull(mounts);
    for (int i = 0; i < 5000; i++)
        n += (size_t)snprintf(mounts + n, size - n,
                              "%d 23 0:28 / /mnt/%d rw - ext4 /dev/sda rw\n",
                              i + 100, i);
    snprintf(mounts + n, size - n, "%s", V2);
    put_group("0::/app\n", mounts);
    free(mounts);
    put("sys/fs/cgroup/app/cpu.max", "200000 100000\n");
    ck_quota(2);
}
END_TEST

/* --- With the affinity mask ------------------------------------------------ */

START_TEST(the_smaller_of_mask_and_quota_counts)
{
    cpu_set_t mask;
    size_t first = 0;

    put_group("0::/app\n", V2);
    put("sys/fs/cgroup/app/cpu.max", "1000000000 1000\n");
    ck_assert_uint_eq(weft__cpus(root), weft__os_affinity());
    put("sys/fs/cgroup/app/cpu.max", "90000 100000\n");
    ck_assert_uint_eq(weft__cpus(root), 1);

    ck_assert_int_eq(sched_getaffinity(0, sizeof(mask), &mask), 0);
    while (!CPU_ISSET(first, &mask))
        first++;
    CPU_ZERO(&mask);
    CPU_SET(first, &mask);
    ck_assert_int_eq(sched_setaffinity(0, sizeof(mask), &mask), 0);
    put("sys/fs/cgroup/app/cpu.max", "max 100000\n");
    ck_assert_uint_eq(weft__cpus(root), 1);
}
END_TEST

START_TEST(on_this_machine_there_is_at_least_one)
{
    ck_assert_uint_ge(weft__cpus(""), 1);
    ck_assert_uint_le(weft__cpus(""), weft__os_affinity());
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpus");
    TCase *quota = tcase_create("quota");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(quota, make_root, remove_root);
    tcase_add_test(quota, v2_quota_is_rounded_up);
    tcase_add_test(quota, v2_max_is_no_limit);
    tcase_add_test(quota, v2_the_smallest_of_all_levels_counts);
    tcase_add_test(quota, v2_limit_of_the_parent_when_ours_has_no_file);
    tcase_add_test(quota, v2_at_the_root_of_a_namespace);
    tcase_add_test(quota, v2_nonsense_is_no_limit);
    tcase_add_test(quota, v1_quota_is_rounded_up);
    tcase_add_test(quota, v1_minus_one_is_no_limit);
    tcase_add_test(quota, v1_the_smallest_of_all_levels_counts);
    tcase_add_test(quota, v1_nonsense_and_missing_files_are_no_limit);
    tcase_add_test(quota, v1_other_controllers_do_not_count);
    tcase_add_test(quota, v1_only_our_part_is_mounted);
    tcase_add_test(quota, hybrid_v1_has_the_limit);
    tcase_add_test(quota, hybrid_v2_has_the_limit);
    tcase_add_test(quota, a_mount_with_a_blank_in_its_path);
    tcase_add_test(quota, our_group_is_not_below_the_mount);
    tcase_add_test(quota, the_mount_that_shows_our_group_is_taken);
    tcase_add_test(quota, missing_files_are_no_limit);
    tcase_add_test(quota, broken_files_are_no_limit);
    tcase_add_test(quota, the_mount_is_behind_thousands_of_others);
    tcase_add_test(quota, the_smaller_of_mask_and_quota_counts);
    tcase_add_test(quota, on_this_machine_there_is_at_least_one);
    suite_add_tcase(suite, quota);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
