#include "bench/weft_bench/table.h"

#include <stdio.h>

static const char *const units[] = {
    [FIGURE_TIME] = "ns",       [FIGURE_PEAK] = "MiB",
    [FIGURE_BYTES] = "B each",  [FIGURE_CPU] = "ms/10 s",
    [FIGURE_BUSY] = "CPU ms",   [FIGURE_WALL] = "wall ms",
    [FIGURE_P50] = "p50 us",    [FIGURE_P99] = "p99 us",
    [FIGURE_WORST] = "most us", [FIGURE_SERVER] = "CPU ns",
    [FIGURE_CALLS] = "calls",
};

static const char *const verdicts[] = {
    [VERDICT_NONE] = "",
    [VERDICT_OK] = "ok",
    [VERDICT_SHORT] = "SHORT",
    [VERDICT_FAILED] = "FAILED",
};

void table_head(void)
{
    printf("%-26s %2s %-7s %10s  %-9s %10s %7s %-15s %-10s\n", "row", "w",
           "figure", "weft", "rival", "", "ratio", "spread", "bar");
}

void table_foot(unsigned shorts, unsigned failures)
{
    printf("\n"
           "w: workers. figure: ns an operation, peak memory, bytes each, or"
           " processor time;\nof a server, its processor time and its system"
           " calls a request. Medians.\nratio: weft / rival, the median over"
           " the pairs; spread: least to most.\nbar: the most the ratio, or"
           " weft's own figure, may be.\n");
    if (shorts > 0)
        printf("SHORT: %u row%s did not reach the bar.\n", shorts,
               shorts == 1 ? "" : "s");
    if (failures > 0)
        printf("FAILED: %u row%s could not be measured.\n", failures,
               failures == 1 ? "" : "s");
}

/* Three figures at least, and no more decimals than mean something. */
static void print_value(char *text, size_t size, double value)
{
    if (value <= 0)
        snprintf(text, size, "-");
    else if (value < 10)
        snprintf(text, size, "%.2f", value);
    else if (value < 100)
        snprintf(text, size, "%.1f", value);
    else
        snprintf(text, size, "%.0f", value);
}

static void print_bar(char *text, size_t size, const struct row *row)
{
    text[0] = '\0';
    if (row->bar > 0)
        snprintf(text, size, "<= %.2f", row->bar);
    else if (row->bound > 0 && row->figure == FIGURE_BYTES)
        snprintf(text, size, "<= %.0f B", row->bound);
    else if (row->bound > 0 && row->figure == FIGURE_CALLS)
        snprintf(text, size, "<= %.1f", row->bound);
    else if (row->bound > 0)
        snprintf(text, size, "<= %.0f %s", row->bound,
                 row->figure == FIGURE_CPU ? "ms" : units[row->figure]);
}

static void table_row(const struct outcome *outcome, const struct row *row,
                      const struct score *score)
{
    char weft[24], other[24], ratio[24] = "-", spread[40] = "", bar[24];
    bool alone = score->rival == RUN_WEFT;

    print_value(weft, sizeof(weft), score->weft);
    print_value(other, sizeof(other), score->other);
    print_bar(bar, sizeof(bar), row);
    if (score->ratio > 0) {
        snprintf(ratio, sizeof(ratio), "%.3f", score->ratio);
        snprintf(spread, sizeof(spread), "%.3f - %.3f", score->least,
                 score->most);
    }
    printf("%-26s %2u %-7s %10s  %-9s %10s %7s %-15s %-10s %s\n",
           outcome->job->label, outcome->task.workers, units[row->figure], weft,
           alone ? "" : runner_name(score->rival), alone ? "" : other,
           alone ? "" : ratio, spread, bar, verdicts[score->verdict]);
    if (score->rival_calls > 0)
        printf("%-26s    ^ %s: %.2f system calls a request by its own count;"
               " more than 2.05 is no rival\n",
               "", runner_name(score->rival), score->rival_calls);
    if (score->why != NULL)
        printf("%-26s    ^ %s: %s\n", "",
               runner_name(score->who), score->why);
}

void table_rows(const struct outcome *outcome, unsigned *shorts,
                unsigned *failures)
{
    for (unsigned i = 0; i < outcome->row_count; i++) {
        const struct row *row = &outcome->rows[i];
        struct score score = score_row(outcome, row);

        if (score.verdict == VERDICT_SHORT)
            ++*shorts;
        if (score.verdict == VERDICT_FAILED)
            ++*failures;
        table_row(outcome, row, &score);
    }
}
