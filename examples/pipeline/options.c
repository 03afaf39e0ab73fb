#include "pipeline.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

static const char usage[] =
    "usage: %s [--workers N] [--out DIR] [--level L] [--no-write] [--quiet]\n"
    "       [--summary-json FILE] INPUT...\n"
    "\n"
    "Read every regular file below the INPUTs, hash it (SHA-256) and compress\n"
    "it (zstd). /a/b is written to DIR/a/b.zst, and all hashes to\n"
    "DIR/" INDEX_NAME ", for `sha256sum -c`.\n"
    "\n"
    "  --workers N          OS threads that compute; default: the CPUs that\n"
    "                       this process may use\n"
    "  --out DIR            default: pipeline-out\n"
    "  --level L            of zstd, 1 to %d; default 3\n"
    "  --no-write           do not write the compressed files; and no index\n"
    "                       either, unless --out is given\n"
    "  --quiet              no progress line, no summary\n"
    "  --summary-json FILE  write the summary as one JSON object\n"
    "\n"
    "Symbolic links below an INPUT are not followed, special files are left\n"
    "out, and so is DIR itself. If DIR has a directory b.zst beside a file b,\n"
    "b goes to b.zst.zst. Outputs are not flushed to the disk one by one.\n"
    "\n"
    "exit code: 0    all is well\n"
    "           1    the index is complete but for the files listed on\n"
    "                stderr, or some of them changed while they were read\n"
    "           2    bad usage, or stopped by an error (a full disk): there\n"
    "                is no index\n"
    "           130  stopped by SIGINT (143: SIGTERM): there is no index; a\n"
    "                second one kills\n";

enum { OPT_NO_WRITE = 256, OPT_QUIET, OPT_JSON };

static const struct option long_options[] = {
    { "workers", required_argument, NULL, 'w' },
    { "out", required_argument, NULL, 'o' },
    { "level", required_argument, NULL, 'l' },
    { "no-write", no_argument, NULL, OPT_NO_WRITE },
    { "quiet", no_argument, NULL, OPT_QUIET },
    { "summary-json", required_argument, NULL, OPT_JSON },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

static int options_refuse(void)
{
    fprintf(stderr, "Try '%s --help'.\n", port_program);
    return EXIT_STOPPED;
}

/* A whole number from 1 to `most`; false, with a message, if it is none. */
static bool options_number(const char *option, const char *text, long most,
                           long *value)
{
    char *end;

    errno = 0;
    *value = strtol(text, &end, 10);
    if (errno == 0 && end != text && *end == '\0' && *value >= 1 &&
        *value <= most)
        return true;
    fprintf(stderr, "%s: --%s is '%s'; it is 1 to %ld\n", port_program, option,
            text, most);
    return false;
}

int options_parse(struct options *options, int argc, char **argv)
{
    bool out_given = false;
    long number;
    int c;

    *options =
        (struct options){ .out = "pipeline-out", .level = 3, .write = true };
    while ((c = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        switch (c) {
        case 'w':
            if (!options_number("workers", optarg, 256, &number))
                return options_refuse();
            options->workers = (unsigned)number;
            break;
        case 'o':
            options->out = optarg;
            out_given = true;
            break;
        case 'l':
            if (!options_number("level", optarg, ZSTD_maxCLevel(), &number))
                return options_refuse();
            options->level = (int)number;
            break;
        case OPT_NO_WRITE:
            options->write = false;
            break;
        case OPT_QUIET:
            options->quiet = true;
            break;
        case OPT_JSON:
            options->summary_json = optarg;
            break;
        case 'h':
            printf(usage, port_program, ZSTD_maxCLevel());
            return 0;
        default:
            return options_refuse();
        }
    }
    if (optind == argc) {
        fprintf(stderr, "%s: no INPUT\n", port_program);
        return options_refuse();
    }
    if (!options->write && !out_given)
        options->out = NULL;
    options->inputs = argv + optind;
    options->input_count = (size_t)(argc - optind);
    return -1;
}
