/*
 * A program's configuration, made whole: checked, with defaults filled in and
 * the environment's say applied.
 */
#ifndef WEFT_RUNTIME_CONFIG_H
#define WEFT_RUNTIME_CONFIG_H

#include <weft/runtime.h>

/*
 * `in` may be NULL, and may come from a program built with an older or newer
 * header. On return 0 every field of `out` has its final value: workers,
 * stack_size (a power of two) and the bounds of the lanes are not 0, and a
 * stop_timeout of 0 means not to wait. Otherwise `out` is unchanged, and a log line names
 * what was wrong.
 *
 * Returns 0; -EINVAL: a field or a variable has no sense; -ENOSYS: WEFT_SEED
 * is set, and this is the ordinary library.
 */
int weft__config_load(weft_config_t *out, const weft_config_t *in);

#endif
