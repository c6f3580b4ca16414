/*
 * answers.h: what upstream.c says, ready-made, with places for an id and a sending time.
 */
#ifndef ANSWERS_H
#define ANSWERS_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { DIGITS = 16, PROMPT_TOKENS = 24 };

#define DIGITS_PLACE "0000000000000000"
#define ID_PLACE "chatcmpl-bench-" DIGITS_PLACE
#define STAMP_PLACE "T" DIGITS_PLACE
#define USAGE_DETAILS                                                     \
    "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0}," \
    "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0}"
#define CHUNK_HEAD                                                         \
    "data: {\"id\":\"" ID_PLACE "\",\"object\":\"chat.completion.chunk\"," \
    "\"created\":1750000000,\"model\":\"gpt-4o-mini-2024-07-18\","        \
    "\"system_fingerprint\":\"fp_benchmark\","
#define CHUNK_TAIL "\"usage\":null}\n\n"
#define CONTENT_CHUNK(delta)                                       \
    CHUNK_HEAD "\"choices\":[{\"index\":0,\"delta\":" delta        \
               ",\"logprobs\":null,\"finish_reason\":null}]," CHUNK_TAIL

static const char JSON_BODY[] =
    "{\"id\":\"" ID_PLACE "\",\"object\":\"chat.completion\",\"created\":1750000000,"
    "\"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
    "\"content\":\"A fixed answer, about as long as a short reply in a chat: it has a beginning, "
    "a middle and an end, and nobody had to think for long to write all of it down.\",\"refusal\":null,"
    "\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
    "\"usage\":{\"prompt_tokens\":24,\"completion_tokens\":34,\"total_tokens\":58," USAGE_DETAILS
    "},\"service_tier\":\"default\",\"system_fingerprint\":\"fp_benchmark\"}";

static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    "Cache-Control: no-cache\r\nx-request-id: req_benchmark\r\n"
    "Transfer-Encoding: chunked\r\n\r\n";

/* A ready-made piece of output; `stamp_at` is 0 where no sending time belongs. */
struct template {
    char data[1024];
    size_t length, id_at, stamp_at;
};

static struct template json_answer, first_chunk, next_chunk;

static void put_digits(char *place, uint64_t value) {
    for (int i = DIGITS - 1; i >= 0; i--, value /= 10) place[i] = (char)('0' + value % 10);
}

static void find_places(struct template *t) {
    const char *stamp = strstr(t->data, STAMP_PLACE);
    t->length = strlen(t->data);
    t->id_at = (size_t)(strstr(t->data, DIGITS_PLACE) - t->data);
    t->stamp_at = stamp == NULL ? 0 : (size_t)(stamp - t->data) + 1;
}

/* Writes `event` as one HTTP chunk and returns its length. */
static size_t frame(char *to, size_t room, const char *event) {
    return (size_t)snprintf(to, room, "%zx\r\n%s\r\n", strlen(event), event);
}

static void make_templates(void) {
    snprintf(json_answer.data, sizeof json_answer.data,
             "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
             "x-request-id: req_benchmark\r\nContent-Length: %zu\r\n\r\n%s",
             sizeof JSON_BODY - 1, JSON_BODY);
    frame(first_chunk.data, sizeof first_chunk.data,
          CONTENT_CHUNK("{\"role\":\"assistant\",\"content\":\"" STAMP_PLACE "\"}"));
    frame(next_chunk.data, sizeof next_chunk.data,
          CONTENT_CHUNK("{\"content\":\"" STAMP_PLACE "\"}"));
    find_places(&json_answer);
    find_places(&first_chunk);
    find_places(&next_chunk);
}

/* Writes the finish chunk, the usage chunk, [DONE] and the end of the body; returns the length. */
static size_t put_tail(char *to, size_t room, uint64_t id, int chunks) {
    char event[1024];
    size_t length;
    snprintf(event, sizeof event, "%s",
             CHUNK_HEAD "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,"
                        "\"finish_reason\":\"stop\"}]," CHUNK_TAIL);
    put_digits(strstr(event, DIGITS_PLACE), id);
    length = frame(to, room, event);
    snprintf(event, sizeof event,
             CHUNK_HEAD "\"choices\":[],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,"
                        "\"total_tokens\":%d," USAGE_DETAILS "}}\n\n",
             PROMPT_TOKENS, chunks, PROMPT_TOKENS + chunks);
    put_digits(strstr(event, DIGITS_PLACE), id);
    length += frame(to + length, room - length, event);
    length += frame(to + length, room - length, "data: [DONE]\n\n");
    return length + (size_t)snprintf(to + length, room - length, "0\r\n\r\n");
}

#endif
