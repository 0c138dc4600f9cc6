/* work.h: what the process keeps of work that runs on the thread pool. */
#ifndef IO_WORK_H
#define IO_WORK_H

#include <stddef.h>

/* The loop's data points to this, so that wcp_work finds it from the instance. */
struct work_count {
    size_t running;
    void (*idle)(void *ctx); /* the last one is done */
    void *ctx;
};

#endif
