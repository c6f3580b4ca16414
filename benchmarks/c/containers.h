/*
 * containers.h: the monotonic clock, rings and byte buffers of the benchmark programs.
 */
#ifndef CONTAINERS_H
#define CONTAINERS_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A member of a ring; a ring's head is a link of its own. */
struct link {
    struct link *prev, *next;
};

struct bytes {
    char *data;
    size_t start, end, capacity;
};

static inline int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static inline void ring_init(struct link *head) { head->prev = head->next = head; }

static inline void ring_append(struct link *head, struct link *item) {
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
}

static inline void ring_remove(struct link *item) {
    if (item->next == NULL) return;
    item->prev->next = item->next;
    item->next->prev = item->prev;
    item->prev = item->next = NULL;
}

/* Moves all members of `from` to the empty ring `to`, in order. */
static inline void ring_take(struct link *to, struct link *from) {
    ring_init(to);
    if (from->next == from) return;
    *to = *from;
    to->next->prev = to;
    to->prev->next = to;
    ring_init(from);
}

static inline size_t held(const struct bytes *b) { return b->end - b->start; }

/* Makes room for `extra` more bytes and one terminating zero. */
static inline void reserve(struct bytes *b, size_t extra) {
    if (b->start == b->end) b->start = b->end = 0;
    if (b->end + extra < b->capacity) return;
    if (held(b) > 0) memmove(b->data, b->data + b->start, held(b));
    b->end -= b->start;
    b->start = 0;
    if (b->end + extra < b->capacity) return;
    b->capacity = (b->end + extra + 1) * 2;
    b->data = realloc(b->data, b->capacity);
    if (b->data == NULL) abort();
}

#endif
