/*
 * upstream.c: an OpenAI-compatible host that costs almost nothing, for benchmarks.
 *
 *     upstream PORT [-c CHUNKS] [-i INTERVAL_MS] [-t LIFETIME_S]
 *
 * One thread, epoll, HTTP/1.1 with keep-alive, loopback only. In Python the upstream would be
 * what the benchmark measures. It answers under any path prefix, so one process can play many
 * hosts:
 *
 *     POST <any>/chat/completions   a JSON answer of about 700 bytes or, if the body holds
 *     POST <any>/completions        "stream": true, server-sent events: CHUNKS content chunks of
 *                                   about 280 bytes, one finish chunk, one usage chunk, [DONE]
 *     GET /_pace?chunks=64&interval_ms=20    sets the pace of the streams that start from now on
 *     GET /_counts                  {"requests":..,"streams":..,"chunks":..,"connections":..}
 *     GET <anything else>           200 {"status":"ok"}
 *
 * An interval of 0 means: as fast as the reader takes them, one write() per chunk, round robin.
 * Paced streams leave on whole milliseconds (a timer wheel): their chunks leave in small bursts,
 * as tokens leave a host that decodes in batches.
 *
 * Every content chunk holds "T" and 16 digits, the CLOCK_MONOTONIC time of its sending in
 * microseconds: stream_load.c subtracts it from the time of arrival. Every answer has an id of
 * its own, as those of real hosts have, so that an index over ids meets what it would in use.
 *
 * Not here, on purpose: chunked request bodies (411), TLS, anything that a benchmark on loopback
 * does not need.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answers.h"
#include "containers.h"

enum {
    MAX_EVENTS = 512,
    MAX_REQUEST_BYTES = 64 << 20, /* twice the gateway's default body limit */
    PARK_ABOVE_BYTES = 64 << 10,  /* a stream with more unsent bytes waits for its reader */
    WHEEL_SLOTS = 4096,           /* one per millisecond, so intervals are below 4 s */
};

struct conn {
    struct link link; /* in `unpaced`, in a slot of the wheel, in `graveyard`, or in none */
    struct bytes in, out;
    int64_t due_ms;
    uint64_t id;
    int fd, chunks_sent, chunks, interval_ms;
    bool streaming, parked, close_after, wants_out, dead;
};

static int epoll_fd;
static int pace_chunks = 64, pace_interval_ms = 0;
static uint64_t requests_seen, streams_seen, chunks_sent, connections_seen;
static struct link unpaced, graveyard, wheel[WHEEL_SLOTS];
static int64_t wheel_ms;   /* all slots up to here have been served */
static long paced_streams; /* how many connections stand in the wheel */

static struct conn *conn_of(struct link *link) {
    return (struct conn *)((char *)link - offsetof(struct conn, link));
}

/* ---------------------------------------------------------------- connections */

static void close_conn(struct conn *c) {
    if (c->dead) return;
    c->dead = true;
    if (c->streaming && c->link.next != NULL && c->interval_ms > 0) paced_streams--;
    ring_remove(&c->link);
    close(c->fd);
    ring_append(&graveyard, &c->link); /* events of this round may still name it */
}

static void bury(void) {
    while (graveyard.next != &graveyard) {
        struct conn *c = conn_of(graveyard.next);
        ring_remove(&c->link);
        free(c->in.data);
        free(c->out.data);
        free(c);
    }
}

static void watch(struct conn *c, bool writable) {
    if (c->wants_out == writable) return;
    c->wants_out = writable;
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
    if (writable) e.events |= EPOLLOUT;
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
}

/* Sends now what the socket takes and keeps the rest for later. */
static void write_out(struct conn *c, const char *data, size_t length) {
    if (c->dead) return;
    if (held(&c->out) == 0) {
        ssize_t sent = send(c->fd, data, length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            close_conn(c);
            return;
        }
        if (sent > 0) data += sent, length -= (size_t)sent;
        if (length == 0) return;
    }
    reserve(&c->out, length);
    memcpy(c->out.data + c->out.end, data, length);
    c->out.end += length;
    watch(c, true);
}

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
        if (fd < 0) return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct conn *c = calloc(1, sizeof *c);
        if (c == NULL) abort();
        c->fd = fd;
        connections_seen++;
        struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
    }
}

/* ---------------------------------------------------------------- answers */

static void answer(struct conn *c, int status, const char *reason, const char *body) {
    char text[1024];
    int length = snprintf(text, sizeof text,
                          "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n"
                          "Content-Length: %zu\r\n\r\n%s",
                          status, reason, strlen(body), body);
    write_out(c, text, (size_t)length);
}

static void answer_json(struct conn *c) {
    put_digits(json_answer.data + json_answer.id_at, requests_seen);
    write_out(c, json_answer.data, json_answer.length);
}

static void answer_counts(struct conn *c) {
    char body[256];
    snprintf(body, sizeof body,
             "{\"requests\":%llu,\"streams\":%llu,\"chunks\":%llu,\"connections\":%llu}",
             (unsigned long long)requests_seen, (unsigned long long)streams_seen,
             (unsigned long long)chunks_sent, (unsigned long long)connections_seen);
    answer(c, 200, "OK", body);
}

static void set_pace(struct conn *c, const char *target) {
    const char *chunks = strstr(target, "chunks="), *interval = strstr(target, "interval_ms=");
    int new_chunks = chunks != NULL ? atoi(chunks + strlen("chunks=")) : pace_chunks;
    int new_interval = interval != NULL ? atoi(interval + strlen("interval_ms=")) : pace_interval_ms;
    if (new_chunks < 1 || new_interval < 0 || new_interval >= WHEEL_SLOTS) {
        answer(c, 400, "Bad Request", "{\"error\":\"chunks >= 1 and 0 <= interval_ms < 4096\"}");
        return;
    }
    pace_chunks = new_chunks;
    pace_interval_ms = new_interval;
    answer(c, 200, "OK", "{\"status\":\"ok\"}");
}

/* ---------------------------------------------------------------- streams */

static void enqueue(struct conn *c, int64_t now_ms) {
    if (c->interval_ms == 0) {
        ring_append(&unpaced, &c->link);
        return;
    }
    c->due_ms += c->interval_ms;
    if (c->due_ms <= now_ms) c->due_ms = now_ms + c->interval_ms; /* late: no burst follows */
    ring_append(&wheel[c->due_ms % WHEEL_SLOTS], &c->link);
    paced_streams++;
}

static void send_tail(struct conn *c) {
    char text[2048];
    write_out(c, text, put_tail(text, sizeof text, c->id, c->chunks));
}

static void send_chunk(struct conn *c, struct template *t, int64_t time_us) {
    put_digits(t->data + t->id_at, c->id);
    put_digits(t->data + t->stamp_at, (uint64_t)time_us);
    write_out(c, t->data, t->length);
    c->chunks_sent++;
    chunks_sent++;
}

static void start_stream(struct conn *c) {
    int64_t time_us = now_us();
    c->streaming = true;
    c->id = requests_seen;
    c->chunks = pace_chunks;
    c->interval_ms = pace_interval_ms;
    c->chunks_sent = 0;
    c->due_ms = time_us / 1000;
    streams_seen++;
    write_out(c, STREAM_HEAD, sizeof STREAM_HEAD - 1);
    send_chunk(c, &first_chunk, time_us);
    if (!c->dead) enqueue(c, c->due_ms);
}

static void serve_buffered(struct conn *c);

/* Sends the next event of a stream whose turn it is. */
static void step(struct conn *c) {
    int64_t time_us = now_us();
    ring_remove(&c->link);
    if (c->interval_ms > 0) paced_streams--;
    if (held(&c->out) > PARK_ABOVE_BYTES) {
        c->parked = true;
        return;
    }
    if (c->chunks_sent < c->chunks) {
        send_chunk(c, &next_chunk, time_us);
        if (!c->dead) enqueue(c, time_us / 1000);
        return;
    }
    send_tail(c);
    c->streaming = false;
    if (!c->dead) serve_buffered(c);
}

/* One turn for every stream that stood in `ring` when the round began. */
static void step_all(struct link *ring) {
    struct link turn;
    ring_take(&turn, ring);
    while (turn.next != &turn) step(conn_of(turn.next));
}

static void step_due(void) {
    int64_t now_ms = now_us() / 1000;
    if (paced_streams == 0 || now_ms - wheel_ms > WHEEL_SLOTS) {
        /* nothing stands in the wheel, or it was overtaken: every slot gets at most one turn */
        int64_t oldest = now_ms - (paced_streams == 0 ? 0 : WHEEL_SLOTS - 1);
        wheel_ms = oldest - 1;
    }
    while (wheel_ms < now_ms) step_all(&wheel[++wheel_ms % WHEEL_SLOTS]);
    step_all(&unpaced);
}

/* ---------------------------------------------------------------- requests */

struct request {
    const char *target, *body;
    size_t target_length, body_length, total_length;
    bool is_post, close, chunked;
};

static bool is_header(const char *line, const char *name, size_t length) {
    return strncasecmp(line, name, length) == 0;
}

/* Reads one header line (zero-terminated buffer, so it cannot run over the end). */
static void read_header(struct request *r, const char *line) {
    if ((*line | 0x20) == 'c') {
        if (is_header(line, "content-length:", 15)) r->body_length = strtoul(line + 15, NULL, 10);
        if (is_header(line, "connection:", 11)) {
            line += 11;
            while (*line == ' ') line++;
            r->close = strncasecmp(line, "close", 5) == 0;
        }
    } else if (is_header(line, "transfer-encoding:", 18)) {
        r->chunked = true;
    }
}

/* Parses the request at the start of `in`: 1 when complete, 0 when more is needed, -1 when bad. */
static int read_request(struct bytes *in, struct request *r) {
    char *start = in->data + in->start;
    start[held(in)] = 0;
    char *end = memmem(start, held(in), "\r\n\r\n", 4);
    if (end == NULL) return held(in) > 64 << 10 ? -1 : 0;
    char *space = memchr(start, ' ', (size_t)(end - start));
    if (space == NULL) return -1;
    memset(r, 0, sizeof *r);
    r->is_post = strncmp(start, "POST ", 5) == 0;
    r->target = space + 1;
    r->target_length = strcspn(r->target, " ?\r");
    for (char *line = start; line < end;) {
        line = memchr(line, '\n', (size_t)(end + 2 - line));
        if (line == NULL || ++line >= end) break;
        read_header(r, line);
    }
    if (r->body_length > MAX_REQUEST_BYTES) return -1;
    r->body = end + 4;
    r->total_length = (size_t)(r->body - start) + r->body_length;
    return held(in) >= r->total_length;
}

static bool ends_with(const struct request *r, const char *suffix) {
    size_t length = strlen(suffix);
    return r->target_length >= length &&
           memcmp(r->target + r->target_length - length, suffix, length) == 0;
}

/* Whether the body holds "stream": true ("stream_options" has no quote after stream). */
static bool wants_stream(const struct request *r) {
    const char *at = r->body, *end = r->body + r->body_length;
    while ((at = memmem(at, (size_t)(end - at), "\"stream\"", 8)) != NULL) {
        at += 8;
        while (at < end && (*at == ' ' || *at == ':')) at++;
        if (end - at >= 4 && memcmp(at, "true", 4) == 0) return true;
    }
    return false;
}

static void serve(struct conn *c, const struct request *r) {
    requests_seen++;
    if (r->chunked) {
        c->close_after = true;
        answer(c, 411, "Length Required", "{\"error\":\"send a Content-Length\"}");
    } else if (r->is_post && ends_with(r, "/completions")) {
        if (wants_stream(r)) start_stream(c);
        else answer_json(c);
    } else if (r->is_post) {
        answer(c, 404, "Not Found", "{\"error\":\"POST <prefix>/chat/completions\"}");
    } else if (strncmp(r->target, "/_pace", 6) == 0) {
        set_pace(c, r->target);
    } else if (strncmp(r->target, "/_counts", 8) == 0) {
        answer_counts(c);
    } else {
        answer(c, 200, "OK", "{\"status\":\"ok\"}");
    }
}

/* Serves what is buffered, until a stream runs or a request is incomplete. */
static void serve_buffered(struct conn *c) {
    while (!c->dead && !c->streaming) {
        struct request r;
        if (c->close_after) {
            if (held(&c->out) == 0) close_conn(c);
            return;
        }
        if (held(&c->in) == 0) return;
        int complete = read_request(&c->in, &r);
        if (complete < 0) close_conn(c);
        if (complete <= 0) return;
        c->close_after = r.close;
        serve(c, &r);
        c->in.start += r.total_length;
    }
}

/* ---------------------------------------------------------------- events */

static void on_writable(struct conn *c) {
    ssize_t sent = send(c->fd, c->out.data + c->out.start, held(&c->out), MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN) close_conn(c);
        return;
    }
    c->out.start += (size_t)sent;
    if (held(&c->out) > 0) return;
    watch(c, false);
    if (c->parked) {
        c->parked = false;
        enqueue(c, now_us() / 1000);
    } else if (!c->streaming) {
        serve_buffered(c);
    }
}

static void on_readable(struct conn *c) {
    reserve(&c->in, 4096);
    /* reserve() keeps one byte for the zero that read_request() writes */
    size_t room = c->in.capacity - c->in.end - 1;
    ssize_t got = recv(c->fd, c->in.data + c->in.end, room, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN)) {
        close_conn(c);
        return;
    }
    if (got < 0) return;
    c->in.end += (size_t)got;
    if (held(&c->in) > MAX_REQUEST_BYTES) close_conn(c);
    else if (!c->streaming) serve_buffered(c);
}

static void on_event(struct conn *c, uint32_t events) {
    if (c->dead) return;
    if (events & (EPOLLERR | EPOLLHUP)) {
        close_conn(c);
        return;
    }
    if (events & EPOLLOUT) on_writable(c);
    if (c->dead) return;
    if (events & EPOLLIN) on_readable(c);
    else if (events & EPOLLRDHUP) close_conn(c);
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) {
        perror("upstream: cannot listen");
        exit(1);
    }
    return fd;
}

/* How long epoll may sleep: not at all, to the next slot of the wheel, or a second. */
static int sleep_ms(void) {
    if (unpaced.next != &unpaced) return 0;
    return paced_streams > 0 ? 1 : 1000;
}

static void run(int listener, int64_t end_us) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[MAX_EVENTS];
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    while (end_us == 0 || now_us() < end_us) {
        int count = epoll_wait(epoll_fd, events, MAX_EVENTS, sleep_ms());
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL) accept_all(listener);
            else on_event(events[i].data.ptr, events[i].events);
        }
        step_due();
        bury();
    }
}

int main(int argc, char **argv) {
    int option, lifetime_s = 0;
    while ((option = getopt(argc, argv, "c:i:t:")) != -1) {
        if (option == 'c') pace_chunks = atoi(optarg);
        else if (option == 'i') pace_interval_ms = atoi(optarg);
        else if (option == 't') lifetime_s = atoi(optarg);
        else return 2;
    }
    if (optind + 1 != argc || pace_chunks < 1 || pace_interval_ms < 0 ||
        pace_interval_ms >= WHEEL_SLOTS) {
        fprintf(stderr, "usage: upstream [-c CHUNKS] [-i INTERVAL_MS] [-t LIFETIME_S] PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    ring_init(&unpaced);
    ring_init(&graveyard);
    for (int i = 0; i < WHEEL_SLOTS; i++) ring_init(&wheel[i]);
    make_templates();
    run(listen_on(atoi(argv[optind])), lifetime_s ? now_us() + (int64_t)lifetime_s * 1000000 : 0);
    return 0;
}
