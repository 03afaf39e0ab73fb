/*
 * weft: M:N green threads for C. This header brings all the others.
 */
#ifndef WEFT_WEFT_H
#define WEFT_WEFT_H

#include <weft/api.h>
#include <weft/blocking.h>
#include <weft/chan.h>
#include <weft/cond.h>
#include <weft/error.h>
#include <weft/fiber.h>
#include <weft/io.h>
#include <weft/mutex.h>
#include <weft/net.h>
#include <weft/queue.h>
#include <weft/runtime.h>
#include <weft/select.h>
#include <weft/sem.h>
#include <weft/serve.h>
#include <weft/signal.h>
#include <weft/sim.h>
#include <weft/socket.h>
#include <weft/time.h>
#include <weft/waitgroup.h>

#endif
