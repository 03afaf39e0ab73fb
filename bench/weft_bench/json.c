/*
 * Written by hand: every string but the reasons is one of ours, and a library
 * would be one more thing to install for fifty lines.
 */
#include "bench/weft_bench/json.h"

#include <weft/weft.h>

static const char *const figures[] = {
    [FIGURE_TIME] = "ns_op",       [FIGURE_PEAK] = "peak_mib",
    [FIGURE_BYTES] = "bytes_each", [FIGURE_CPU] = "cpu_ms_per_10_s",
    [FIGURE_BUSY] = "cpu_ms",      [FIGURE_WALL] = "wall_ms",
    [FIGURE_P50] = "p50_us",       [FIGURE_P99] = "p99_us",
    [FIGURE_WORST] = "worst_us",   [FIGURE_SERVER] = "server_ns_op",
    [FIGURE_CALLS] = "calls_op",
};

static const char *const verdicts[] = {
    [VERDICT_NONE] = "",
    [VERDICT_OK] = "ok",
    [VERDICT_SHORT] = "short",
    [VERDICT_FAILED] = "failed",
};

static void json_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20)
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

/* Each pair's figure; null where it has none. */
static void json_values(FILE *out, const struct outcome *outcome,
                        enum figure figure, enum runner who)
{
    fputc('[', out);
    for (unsigned i = 0; i < outcome->pairs; i++) {
        double value = score_figure(outcome, figure, who, i);
        if (i > 0)
            fputs(", ", out);
        if (value > 0)
            fprintf(out, "%.3f", value);
        else
            fputs("null", out);
    }
    fputc(']', out);
}

int json_open(struct json *json, const char *path, unsigned cores, bool quick)
{
    json->any = false;
    json->out = fopen(path, "we");
    if (json->out == NULL)
        return -1;
    fprintf(json->out,
            "{\n  \"version\": \"%s\",\n  \"cores\": %u,\n"
            "  \"quick\": %s,\n  \"rows\": [",
            weft_version(), cores, quick ? "true" : "false");
    return 0;
}

static void json_row(FILE *out, const struct outcome *outcome,
                     const struct row *row)
{
    struct score score = score_row(outcome, row);

    fputs("{ \"row\": ", out);
    json_string(out, outcome->job->label);
    fprintf(out, ", \"workers\": %u, \"figure\": \"%s\", \"weft\": %.3f",
            outcome->task.workers, figures[row->figure], score.weft);
    if (score.rival != RUN_WEFT)
        fprintf(out,
                ", \"rival\": \"%s\", \"other\": %.3f, \"ratio\": %.4f"
                ", \"least\": %.4f, \"most\": %.4f",
                runner_name(score.rival), score.other, score.ratio, score.least,
                score.most);
    fprintf(out, ", \"bar\": %.4f, \"bound\": %.1f, \"verdict\": \"%s\"",
            row->bar, row->bound, verdicts[score.verdict]);
    if (score.rival_calls > 0)
        fprintf(out, ", \"rival_calls\": %.3f", score.rival_calls);
    if (score.why != NULL) {
        fputs(", \"why\": ", out);
        json_string(out, score.why);
    }
    fputs(",\n      \"weft_runs\": ", out);
    json_values(out, outcome, row->figure, RUN_WEFT);
    if (score.rival != RUN_WEFT) {
        fputs(",\n      \"rival_runs\": ", out);
        json_values(out, outcome, row->figure, score.rival);
    }
    fputs(" }", out);
}

void json_rows(struct json *json, const struct outcome *outcome)
{
    for (unsigned i = 0; i < outcome->row_count; i++) {
        fputs(json->any ? ",\n    " : "\n    ", json->out);
        json->any = true;
        json_row(json->out, outcome, &outcome->rows[i]);
    }
}

int json_close(struct json *json)
{
    int failed;

    fputs("\n  ]\n}\n", json->out);
    failed = ferror(json->out);
    return fclose(json->out) != 0 || failed != 0 ? -1 : 0;
}
