#include "bench/weft_bench/options.h"

#include <getopt.h>
#include <limits.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/weft_bench/score.h"

static const char usage_text[] =
    "usage: weft-bench [options]\n"
    "\n"
    "Runs the same work on weft and on its rivals and prints a table.\n"
    "\n"
    "  --pairs N          how often each is run (10)\n"
    "  --quick            3 pairs, less work\n"
    "  --only REGEX       rows whose name matches: 'chan', '^yield w1$'\n"
    "  --workers LIST     rows with so many workers: 1 or 1,2\n"
    "  --list             name the rows and stop\n"
    "  --peers DIR        where peer-tokio and peer-go are\n"
    "  --pipeline-dir DIR where pipeline-weft and pipeline-pthread are\n"
    "  --input DIR        what the pipeline reads, may be repeated "
    "(/usr/include\n"
    "                     and /usr/share/doc)\n"
    "  --no-pin           leave the choice of cores to the kernel; else a run\n"
    "                     with N workers gets N cores (--pin), and clients\n"
    "                     of a server the others\n"
    "  --json FILE        the figures for programs, too\n";

static void options_refuse(const char *problem)
{
    fprintf(stderr, "weft-bench: %s\n\n%s", problem, usage_text);
    exit(2);
}

static uint64_t options_workers(const char *list)
{
    uint64_t set = 0;

    while (*list != '\0') {
        char *end;
        unsigned long n = strtoul(list, &end, 10);

        if (end == list || n == 0 || n > 63 || (*end != ',' && *end != '\0'))
            options_refuse("--workers wants numbers: 1 or 1,2");
        set |= (uint64_t)1 << n;
        list = *end == ',' ? end + 1 : end;
    }
    return set;
}

static unsigned options_pairs(const char *text)
{
    unsigned long pairs = strtoul(text, NULL, 10);

    if (pairs == 0 || pairs > MOST_PAIRS)
        options_refuse("--pairs wants a number from 1 to 100");
    return (unsigned)pairs;
}

static void options_only(struct options *options, const char *pattern)
{
    if (regcomp(&options->only, pattern, REG_EXTENDED | REG_NOSUB) != 0)
        options_refuse("--only wants an extended regular expression");
    options->filtered = true;
}

/* As the build puts them: bench/weft-bench, bench/servers/, examples/http/. */
static void options_near(struct options *options, const char *self)
{
    static char switch_program[PATH_MAX + 32], pipeline_dir[PATH_MAX + 32];
    static char server_dir[PATH_MAX + 32], http_dir[PATH_MAX + 32];
    static char load[PATH_MAX + 32];
    int length = (int)(strrchr(self, '/') - self);

    snprintf(switch_program, sizeof(switch_program), "%.*s/bench_switch",
             length, self);
    snprintf(pipeline_dir, sizeof(pipeline_dir), "%.*s/../examples/pipeline",
             length, self);
    snprintf(server_dir, sizeof(server_dir), "%.*s/servers", length, self);
    snprintf(http_dir, sizeof(http_dir), "%.*s/../examples/http", length, self);
    snprintf(load, sizeof(load), "%.*s/load/weft-load", length, self);
    options->run.self = self;
    options->programs.switch_program = switch_program;
    options->programs.pipeline_dir = pipeline_dir;
    options->network = (struct network_options){ .server_dir = server_dir,
                                                 .http_dir = http_dir,
                                                 .load = load };
}

void options_parse(struct options *options, const char *self, int argc,
                   char **argv)
{
    enum {
        PAIRS = 1,
        QUICK,
        ONLY,
        WORKERS,
        LIST,
        PEERS,
        PIPELINE,
        INPUT,
        PIN,
        NO_PIN,
        JSON,
        HELP
    };
    static const struct option longs[] = {
        { "pairs", required_argument, NULL, PAIRS },
        { "quick", no_argument, NULL, QUICK },
        { "only", required_argument, NULL, ONLY },
        { "workers", required_argument, NULL, WORKERS },
        { "list", no_argument, NULL, LIST },
        { "peers", required_argument, NULL, PEERS },
        { "pipeline-dir", required_argument, NULL, PIPELINE },
        { "input", required_argument, NULL, INPUT },
        { "pin", no_argument, NULL, PIN },
        { "no-pin", no_argument, NULL, NO_PIN },
        { "json", required_argument, NULL, JSON },
        { "help", no_argument, NULL, HELP },
        { NULL, 0, NULL, 0 },
    };
    unsigned inputs = 0;
    int option;

    *options = (struct options){ .run.pin = true };
    options_near(options, self);
    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (option) {
        case PAIRS:
            options->pairs = options_pairs(optarg);
            break;
        case QUICK:
            options->quick = true;
            break;
        case ONLY:
            options_only(options, optarg);
            break;
        case WORKERS:
            options->workers = options_workers(optarg);
            break;
        case LIST:
            options->list = true;
            break;
        case PEERS:
            options->run.peers = optarg;
            break;
        case PIPELINE:
            options->programs.pipeline_dir = optarg;
            break;
        case INPUT:
            if (inputs == MOST_INPUTS)
                options_refuse("--input may be repeated 8 times");
            options->programs.inputs[inputs++] = optarg;
            break;
        case PIN:
            options->run.pin = true;
            break;
        case NO_PIN:
            options->run.pin = false;
            break;
        case JSON:
            options->json = optarg;
            break;
        case HELP:
            fputs(usage_text, stdout);
            exit(0);
        default:
            options_refuse("no such option");
        }
    }
    if (optind < argc)
        options_refuse("it takes options only");
    if (options->pairs == 0)
        options->pairs = options->quick ? 3 : 10;
    if (inputs == 0) {
        options->programs.inputs[0] = "/usr/include";
        options->programs.inputs[1] = "/usr/share/doc";
    }
    options->programs.pin = options->network.pin = options->run.pin;
}
