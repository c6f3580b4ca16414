/*
 * stream_load.c: a client that keeps many streamed chat completions open, for benchmarks.
 *
 *     stream_load -p PORT -c STREAMS -d SECONDS [-r RAMP_MS] [-w DRAIN_S] [-k KEY] [-m MODEL]
 *                 [-u PATH]
 *
 * One thread, epoll, loopback only. It opens STREAMS connections, spread over RAMP_MS, and on
 * each asks for one streamed completion after the other for SECONDS; then it asks for no more and
 * waits at most DRAIN_S for those under way. Prints one JSON object:
 *
 *     chunks            "data:" events received, without [DONE], over the whole run
 *     chunks_per_s      the same within the SECONDS, per second
 *     done_streams      complete: status 200, well-framed, [DONE] seen
 *     error_streams     any other end; `last_error` holds the status and body of one of them
 *     unfinished_streams    under way when the drain ended
 *     chunks_per_stream_min/_max   over the complete streams: the same for every correct relay
 *     ttfb_*_ms         request written -> first "data:" event
 *     lag_*_ms          upstream.c's sending -> arrival here, for every content chunk. Both sides
 *                       read one clock, so this is the delay that the relay between them adds.
 *
 * The time of arrival is taken once per recv(): all that it brought arrived no later than then.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "containers.h"

enum {
    MAX_EVENTS = 512,
    READ_BYTES = 256 << 10,
    HEAD_BYTES = 8 << 10, /* the longest response head accepted */
    LINE_BYTES = 1 << 10, /* what is kept of a line that is split between two reads */
    SUB_BUCKETS = 64,     /* per power of two: percentiles are exact to 1.6 % */
    MAX_CONNECT_ERRORS = 1000,
};

enum state { HEAD, CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_END, TRAILER, COUNTED_BODY };

struct stream {
    int64_t asked_us, first_us;
    size_t left; /* bytes of the current chunk, or of the counted body */
    size_t head_length, line_length, trailer_length;
    enum state state;
    int fd, status, chunks;
    bool connecting, active, saw_done, keep_alive;
    char head[HEAD_BYTES + 1], line[LINE_BYTES];
};

struct histogram {
    uint64_t count, max, buckets[64 * SUB_BUCKETS];
};

static struct {
    int port, streams, ramp_ms;
    double duration_s, drain_s;
    const char *path, *key, *model;
} options = {.port = 8000,
             .streams = 64,
             .duration_s = 5,
             .drain_s = 10,
             .path = "/v1/chat/completions",
             .key = "",
             .model = "bench/model"};

static int epoll_fd;
static char request[8192];
static size_t request_length;
static int64_t begin_us, end_us, read_us; /* read_us: when the last recv() returned */
static long active_streams, done_streams, error_streams, connect_errors;
static long chunks_total, chunks_in_window, chunks_min = -1, chunks_max = -1;
static struct histogram ttfb, lag;
static char last_error[512];

/* ---------------------------------------------------------------- histograms */

static size_t bucket_of(uint64_t value) {
    if (value < SUB_BUCKETS) return (size_t)value;
    int shift = 63 - __builtin_clzll(value) - 6;
    return (size_t)((uint64_t)(shift + 1) * SUB_BUCKETS + ((value >> shift) - SUB_BUCKETS));
}

static uint64_t value_of(size_t bucket) {
    if (bucket < SUB_BUCKETS) return bucket;
    size_t shift = bucket / SUB_BUCKETS - 1;
    return (uint64_t)(bucket % SUB_BUCKETS + SUB_BUCKETS) << shift;
}

static void add(struct histogram *h, int64_t us) {
    uint64_t value = us > 0 ? (uint64_t)us : 0;
    h->count++;
    h->buckets[bucket_of(value)]++;
    if (value > h->max) h->max = value;
}

static double percentile_ms(const struct histogram *h, double part) {
    uint64_t wanted = (uint64_t)(part * (double)h->count), seen = 0;
    for (size_t i = 0; i < sizeof h->buckets / sizeof *h->buckets; i++) {
        seen += h->buckets[i];
        if (seen > wanted) return (double)value_of(i) / 1000;
    }
    return (double)h->max / 1000;
}

/* ---------------------------------------------------------------- connections */

static bool wants_more(void) { return read_us < end_us; }

static void open_conn(struct stream *s) {
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)options.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = s};
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    s->connecting = true;
    if (s->fd < 0) {
        connect_errors++;
        return;
    }
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(s->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        connect_errors++; /* epoll reports the error, too: on_event() opens another */
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, s->fd, &event);
}

static void reopen(struct stream *s) {
    close(s->fd);
    s->fd = -1;
    if (wants_more() && connect_errors < MAX_CONNECT_ERRORS) open_conn(s);
}

static void ask(struct stream *s) {
    s->state = HEAD;
    s->status = s->chunks = 0;
    s->head_length = s->line_length = s->trailer_length = s->left = 0;
    s->saw_done = false;
    s->first_us = 0;
    s->asked_us = now_us();
    s->active = true;
    active_streams++;
    /* less than any socket buffer: on a socket with nothing unsent it goes out whole */
    if (send(s->fd, request, request_length, MSG_NOSIGNAL) != (ssize_t)request_length) {
        s->active = false;
        active_streams--;
        connect_errors++;
        reopen(s);
    }
}

static void note_error(const struct stream *s, const char *why) {
    error_streams++;
    snprintf(last_error, sizeof last_error, "%s; status %d; %.*s", why, s->status,
             (int)(s->line_length < 300 ? s->line_length : 300), s->line);
    for (char *p = last_error; *p; p++)
        if (*p == '"' || *p == '\\' || (unsigned char)*p < 32) *p = '\'';
}

/* Counts the stream that ended; `why` is NULL when its framing was complete. */
static void end_stream(struct stream *s, const char *why) {
    if (!s->active) return;
    s->active = false;
    active_streams--;
    if (why == NULL && s->status != 200) why = "refused";
    if (why == NULL && !s->saw_done) why = "no [DONE]";
    if (why != NULL) {
        note_error(s, why);
        return;
    }
    done_streams++;
    if (s->first_us) add(&ttfb, s->first_us - s->asked_us);
    if (chunks_min < 0 || s->chunks < chunks_min) chunks_min = s->chunks;
    if (s->chunks > chunks_max) chunks_max = s->chunks;
}

static void finish(struct stream *s) {
    end_stream(s, NULL);
    if (!s->keep_alive) reopen(s);
    else if (wants_more()) ask(s);
}

/* ---------------------------------------------------------------- events of a stream */

static void measure_lag(const char *line, size_t length) {
    static const char marker[] = "\"content\":\"T";
    const char *at = memmem(line, length, marker, sizeof marker - 1);
    int64_t sent_us = 0;
    if (at == NULL) return;
    at += sizeof marker - 1;
    if (at + 16 > line + length) return;
    for (int i = 0; i < 16; i++) sent_us = sent_us * 10 + (at[i] - '0');
    add(&lag, read_us - sent_us);
}

static void on_line(struct stream *s, const char *line, size_t length) {
    if (length < 6 || memcmp(line, "data:", 5) != 0) return;
    if (memmem(line, length < 16 ? length : 16, "[DONE]", 6) != NULL) {
        s->saw_done = true;
        return;
    }
    if (s->first_us == 0) s->first_us = read_us;
    s->chunks++;
    chunks_total++;
    if (read_us < end_us) chunks_in_window++;
    measure_lag(line, length);
}

static void keep(struct stream *s, const char *data, size_t length) {
    size_t room = LINE_BYTES - s->line_length;
    if (length > room) length = room;
    memcpy(s->line + s->line_length, data, length);
    s->line_length += length;
}

/* Splits body bytes into lines; a line within one read is not copied. */
static void on_body(struct stream *s, const char *data, size_t length) {
    if (s->status != 200) {
        keep(s, data, length);
        return;
    }
    while (length > 0) {
        const char *newline = memchr(data, '\n', length);
        if (newline == NULL) {
            keep(s, data, length);
            return;
        }
        size_t taken = (size_t)(newline - data);
        if (s->line_length > 0) {
            keep(s, data, taken);
            on_line(s, s->line, s->line_length);
            s->line_length = 0;
        } else {
            on_line(s, data, taken);
        }
        data += taken + 1;
        length -= taken + 1;
    }
}

/* ---------------------------------------------------------------- HTTP framing */

static const char *header(const char *head, const char *name) {
    size_t length = strlen(name);
    for (const char *line = head; (line = strstr(line, "\r\n")) != NULL;) {
        line += 2;
        if (strncasecmp(line, name, length) == 0 && line[length] == ':') {
            line += length + 1;
            return line + strspn(line, " ");
        }
    }
    return NULL;
}

/* Reads a complete response head: what follows is chunked, counted, or (false) neither. */
static bool read_head(struct stream *s) {
    const char *coding = header(s->head, "transfer-encoding");
    const char *length = header(s->head, "content-length");
    const char *connection = header(s->head, "connection");
    s->status = atoi(s->head + 9);
    s->keep_alive = connection == NULL || strncasecmp(connection, "close", 5) != 0;
    if (coding != NULL && strncasecmp(coding, "chunked", 7) == 0) {
        s->state = CHUNK_SIZE;
        return true;
    }
    if (length == NULL) return false;
    s->state = COUNTED_BODY;
    s->left = strtoul(length, NULL, 10);
    return true;
}

/* Takes bytes up to the end of the head; returns how many belonged to it, 0 when it is bad. */
static size_t feed_head(struct stream *s, const char *data, size_t length) {
    size_t before = s->head_length, room = HEAD_BYTES - before;
    size_t taken = length < room ? length : room;
    memcpy(s->head + before, data, taken);
    s->head_length += taken;
    s->head[s->head_length] = 0;
    char *end = memmem(s->head, s->head_length, "\r\n\r\n", 4);
    if (end == NULL) return s->head_length == HEAD_BYTES ? 0 : taken;
    end[2] = 0;
    return read_head(s) ? (size_t)(end + 4 - s->head) - before : 0;
}

static void feed_size(struct stream *s, char c) {
    if (c == '\n') {
        s->state = s->left > 0 ? CHUNK_DATA : TRAILER;
    } else if (c == ';') {
        s->state = CHUNK_EXTENSION;
    } else if (c != '\r') {
        int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
        s->left = s->left * 16 + (size_t)(digit & 15);
    }
}

/* Takes one byte of framing; true when it was the last of the message. */
static bool feed_framing(struct stream *s, char c) {
    switch (s->state) {
    case CHUNK_SIZE:
        feed_size(s, c);
        return false;
    case CHUNK_EXTENSION:
        if (c == '\n') s->state = s->left > 0 ? CHUNK_DATA : TRAILER;
        return false;
    case CHUNK_END:
        if (c == '\n') s->state = CHUNK_SIZE;
        return false;
    default: /* TRAILER: ends with an empty line */
        if (c == '\n') {
            if (s->trailer_length == 0) return true;
            s->trailer_length = 0;
        } else if (c != '\r') {
            s->trailer_length++;
        }
        return false;
    }
}

static void feed(struct stream *s, const char *data, size_t length) {
    while (length > 0 && s->active) {
        size_t taken = 1;
        if (s->state == HEAD) {
            taken = feed_head(s, data, length);
            if (taken == 0) {
                end_stream(s, "bad head");
                reopen(s);
                return;
            }
        } else if (s->state == CHUNK_DATA || s->state == COUNTED_BODY) {
            taken = length < s->left ? length : s->left;
            on_body(s, data, taken);
            s->left -= taken;
            if (s->left == 0 && s->state == CHUNK_DATA) s->state = CHUNK_END;
        } else if (feed_framing(s, *data)) {
            finish(s);
            return; /* nothing can follow: the next request has only now been written */
        }
        data += taken;
        length -= taken;
        if (s->state == COUNTED_BODY && s->left == 0) {
            finish(s);
            return;
        }
    }
}

/* ---------------------------------------------------------------- events of sockets */

static void on_connected(struct stream *s) {
    int error = 0;
    socklen_t size = sizeof error;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    s->connecting = false;
    if (error) {
        connect_errors++;
        reopen(s);
        return;
    }
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, s->fd, &event);
    if (wants_more()) ask(s);
}

static void on_event(struct stream *s) {
    static char data[READ_BYTES];
    if (s->fd < 0) return;
    if (s->connecting) {
        on_connected(s);
        return;
    }
    ssize_t got = recv(s->fd, data, sizeof data, 0);
    read_us = now_us();
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        end_stream(s, "connection closed");
        reopen(s);
        return;
    }
    feed(s, data, (size_t)got);
}

static void run(struct stream *streams) {
    struct epoll_event events[MAX_EVENTS];
    int64_t last_us = end_us + (int64_t)(options.drain_s * 1e6);
    int opened = 0;
    while ((read_us = now_us()) < last_us && connect_errors < MAX_CONNECT_ERRORS) {
        while (opened < options.streams && wants_more() &&
               read_us >= begin_us + (int64_t)options.ramp_ms * 1000 * opened / options.streams)
            open_conn(&streams[opened++]);
        if (!wants_more() && active_streams == 0) return;
        int count = epoll_wait(epoll_fd, events, MAX_EVENTS, opened < options.streams ? 1 : 50);
        for (int i = 0; i < count; i++) on_event(events[i].data.ptr);
    }
}

static void make_request(void) {
    char body[2048];
    int length = snprintf(
        body, sizeof body,
        "{\"model\":\"%s\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
        "\"messages\":[{\"role\":\"system\",\"content\":\"You are a helpful assistant.\"},"
        "{\"role\":\"user\",\"content\":\"Please tell the benchmark how it is doing.\"}]}",
        options.model);
    request_length = (size_t)snprintf(
        request, sizeof request,
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\n"
        "Content-Type: application/json\r\nAccept: text/event-stream\r\n"
        "User-Agent: stream_load\r\nContent-Length: %d\r\n\r\n%s",
        options.path, options.port, options.key, length, body);
}

static void report(double elapsed_s) {
    double window_s = elapsed_s < options.duration_s ? elapsed_s : options.duration_s;
    printf("{\"chunks\":%ld,\"chunks_per_s\":%.1f,\"elapsed_s\":%.3f,\"done_streams\":%ld,"
           "\"error_streams\":%ld,\"unfinished_streams\":%ld,\"connect_errors\":%ld,"
           "\"chunks_per_stream_min\":%ld,\"chunks_per_stream_max\":%ld,",
           chunks_total, (double)chunks_in_window / window_s, elapsed_s, done_streams,
           error_streams, active_streams, connect_errors, chunks_min, chunks_max);
    printf("\"ttfb_p50_ms\":%.3f,\"ttfb_p99_ms\":%.3f,\"lag_p50_ms\":%.3f,\"lag_p99_ms\":%.3f,"
           "\"lag_max_ms\":%.3f,\"last_error\":\"%s\"}\n",
           percentile_ms(&ttfb, 0.5), percentile_ms(&ttfb, 0.99), percentile_ms(&lag, 0.5),
           percentile_ms(&lag, 0.99), (double)lag.max / 1000, last_error);
}

static bool read_options(int argc, char **argv) {
    int option;
    while ((option = getopt(argc, argv, "p:c:d:r:w:k:m:u:")) != -1) {
        switch (option) {
        case 'p': options.port = atoi(optarg); break;
        case 'c': options.streams = atoi(optarg); break;
        case 'd': options.duration_s = atof(optarg); break;
        case 'r': options.ramp_ms = atoi(optarg); break;
        case 'w': options.drain_s = atof(optarg); break;
        case 'k': options.key = optarg; break;
        case 'm': options.model = optarg; break;
        case 'u': options.path = optarg; break;
        default: return false;
        }
    }
    return options.streams > 0 && options.duration_s > 0 && strlen(options.key) < 1024 &&
           strlen(options.model) < 1024 && strlen(options.path) < 1024;
}

int main(int argc, char **argv) {
    if (!read_options(argc, argv)) {
        fprintf(stderr, "usage: stream_load -p PORT -c STREAMS -d SECONDS [-r RAMP_MS] "
                        "[-w DRAIN_S] [-k KEY] [-m MODEL] [-u PATH]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    make_request();
    struct stream *streams = calloc((size_t)options.streams, sizeof *streams);
    if (streams == NULL) abort();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < options.streams; i++) streams[i].fd = -1;
    begin_us = now_us();
    end_us = begin_us + (int64_t)(options.duration_s * 1e6);
    run(streams);
    report((double)(now_us() - begin_us) / 1e6);
    return 0;
}
