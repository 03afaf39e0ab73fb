/*
 * What the twins differ in
 *
 * pipeline-weft and pipeline-pthread are one program over two sets of the
 * functions below: main_weft.c gives them on fibers and channels,
 * main_pthread.c on OS threads with mutexes and condition variables. All the
 * rest, and so everything a user can observe, is shared.
 *
 * Such a unit of concurrency is called a runner here: a fiber in one twin, an
 * OS thread in the other.
 */
#ifndef PIPELINE_PORT_H
#define PIPELINE_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What the program calls itself in messages. */
extern const char port_program[];

/*
 * Run entry(arg) with `workers` OS threads for the work of the CPU; 0 means
 * as many as this process may use. Answers what entry answered, or -errno if
 * it was not called.
 */
int port_run(unsigned workers, int (*entry)(void *), void *arg);

/* How many workers there are. From inside port_run(). */
unsigned port_workers(void);

/* A bounded queue of pointers: who puts waits while it is full, who gets
 * while it is empty. */
typedef struct port_queue port_queue_t;

/* With one reference, the caller's. NULL if there is no memory. */
port_queue_t *port_queue_create(size_t capacity);
port_queue_t *port_queue_ref(port_queue_t *q);
/* The last one frees; NULL is ignored. Values left inside are not touched. */
void port_queue_unref(port_queue_t *q);

/* Answers how many were put: fewer than n only if the queue was closed. */
size_t port_queue_put(port_queue_t *q, void *const *values, size_t n);

/* Waits for one value, then takes up to n that are there. 0: the queue is
 * closed and drained. What the other side wrote before it put the value, or
 * before it closed, is visible. */
size_t port_queue_get(port_queue_t *q, void **values, size_t n);

/* Nothing more will be put, or nothing more will be got. */
void port_queue_close(port_queue_t *q);

/* A runner's handle: a fiber's id or a pthread_t. */
typedef uint64_t port_runner_t;

/* 0 or -errno. */
int port_start(port_runner_t *r, const char *name, void *(*entry)(void *),
               void *arg);
void port_join(port_runner_t r);

/* Call job(arg), which may block its OS thread, and wait for its end. */
void port_block(void (*job)(void *), void *arg);

/* sys_open() and sys_pread(), which block on a cold disk. */
int port_open(int dir, const char *name, int flags);
ssize_t port_pread(int fd, void *buf, size_t n, off_t offset);

/* Between two pieces of computing: let others run, if it is time. */
void port_checkpoint(void);

#endif
