// A Kafka topic as somebody writes to it. Waiting sinks refuse a record when librdkafka's queue is full; those that
// drop the oldest have an outbox in front of that queue, bounded in bytes, which lets the oldest go, counts it and
// reports its batch. They refuse a record only when the oldest is of its own batch. Owned by the producer. What fails
// for good (too large, not allowed) is told in the result.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "kafka.h"

// Of a batch in Kafka's format around one record.
#define OVERHEAD 128
// What outboxes may have in librdkafka's queue, where the oldest can no longer be let go.
#define WINDOW (4U << 20)

static enum sink_result put(struct sink *sink, const struct sink_record *record, char *error, size_t size) {
    return kafka_sink_put((struct kafka_sink *)sink, record, NULL, error, size);
}

static struct wakeup *room(struct sink *sink) {
    return &((struct kafka_sink *)sink)->room;
}

static const struct sink_ops ops = {put, room};

struct kafka_sink *kafka_sink_new(struct kafka_topic *topic, bool drop_oldest, size_t max_bytes) {
    struct kafka_sink *sink = xcalloc(1, sizeof *sink);
    sink->sink.ops = &ops;
    sink->topic = topic;
    sink->drop_oldest = drop_oldest;
    sink->max_bytes = max_bytes;
    return sink;
}

void kafka_sink_forget_instance(struct kafka_sink *sink) {
    if (sink->rkt) rd_kafka_topic_destroy(sink->rkt);
    sink->rkt = NULL;
    sink->rkt_of = NULL;
}

void kafka_sink_settle(struct kafka_sink *sink) {
    struct kafka_producer *producer = sink->topic->producer;
    int limit = sink->topic->limit;
    if (producer->max_message && limit > producer->max_message) limit = producer->max_message;
    if ((size_t)limit > producer->queue_bytes / 2) limit = (int)(producer->queue_bytes / 2);
    if (sink->drop_oldest && (size_t)limit > sink->max_bytes) limit = (int)sink->max_bytes;  // it must fit the outbox
    if (limit < 1024) limit = 1024;                                                          // librdkafka's own least
    sink->sink.limit = (size_t)limit - OVERHEAD;
    struct kafka_lane *lane = kafka_producer_lane(producer, limit);
    if (lane == sink->lane) return;
    sink->lane = lane;
    kafka_sink_forget_instance(sink);
}

// Records wait for their topic to be created, and the first for its limit, but for that not for ever.
static bool is_held(const struct kafka_topic *topic) {
    return topic->held || (!topic->known && clock_monotonic_ns() < topic->hold_until_ns);
}

// A record may go to librdkafka now.
static bool is_open(struct kafka_sink *sink, size_t bytes) {
    struct kafka_lane *lane = sink->lane;
    if (!lane->kafka || lane->dying || lane->full || is_held(sink->topic)) return false;
    return !sink->drop_oldest || lane->drop_bytes == 0 || lane->drop_bytes + bytes <= WINDOW;
}

static enum sink_result refuse(struct kafka_sink *sink, rd_kafka_resp_err_t code, size_t bytes, char *error,
                               size_t size) {
    if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
        snprintf(error, size, "a record of %zu bytes is more than topic '%s' takes (%zu)", bytes, sink->topic->name,
                 sink->sink.limit);
    else kafka_explain(code, sink->topic->name, "Write", error, size);
    if (code != RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE) kafka_topic_look_again(sink->topic);
    return SINK_ERROR;
}

// Gives a record to librdkafka, which copies it. The batch has been told of it already or is after SINK_OK.
static enum sink_result produce(struct kafka_sink *sink, const struct sink_record *record, rd_kafka_headers_t *headers,
                                char *error, size_t size) {
    struct kafka_lane *lane = sink->lane;
    size_t bytes = record->key_len + record->value_len;
    if (lane->stopped) {
        snprintf(error, size, "topic '%s': %s", sink->topic->name, lane->failure);
        return SINK_ERROR;
    }
    if (!is_open(sink, bytes)) return SINK_FULL;
    if (bytes > sink->sink.limit) return refuse(sink, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, bytes, error, size);
    if (sink->rkt_of != lane->kafka) {
        kafka_sink_forget_instance(sink);
        sink->rkt = rd_kafka_topic_new(lane->kafka->rk, sink->topic->name, NULL);
        if (!sink->rkt) return refuse(sink, rd_kafka_last_error(), bytes, error, size);
        sink->rkt_of = lane->kafka;
    }
    uintptr_t opaque = (uintptr_t)record->batch | (sink->drop_oldest ? KAFKA_FROM_OUTBOX : 0);
    rd_kafka_resp_err_t code =
        rd_kafka_producev(lane->kafka->rk, RD_KAFKA_V_RKT(sink->rkt), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                          RD_KAFKA_V_KEY((void *)record->key, record->key_len),
                          RD_KAFKA_V_VALUE((void *)record->value, record->value_len), RD_KAFKA_V_OPAQUE((void *)opaque),
                          RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL || code == RD_KAFKA_RESP_ERR__FATAL) {
        lane->full = true;
        return SINK_FULL;
    }
    if (code) return refuse(sink, code, bytes, error, size);
    lane->in_flight++;
    if (sink->drop_oldest) lane->drop_bytes += bytes;
    return SINK_OK;
}

static void admit(struct batch *batch) {
    if (!batch) return;
    batch_ref(batch);
    batch->pending++;
    batch->sent++;
}

// ---- outbox ----------------------------------------------------------------

// What it takes in memory, which the bound is about.
static size_t parcel_size(const struct kafka_parcel *parcel) {
    return sizeof *parcel + parcel->key_len + parcel->value_len;
}

static void pop(struct kafka_sink *sink) {
    struct kafka_parcel *parcel = sink->first;
    sink->first = parcel->next;
    if (!sink->first) sink->last = NULL;
    sink->bytes -= parcel_size(parcel);
    sink->count--;
    if (parcel->headers) rd_kafka_headers_destroy(parcel->headers);
    free(parcel);
}

static void give_up(struct kafka_sink *sink, const char *cause) {
    if (sink->first->batch) batch_report(sink->first->batch, cause);
    pop(sink);
}

static void tell_dropping(struct kafka_sink *sink, bool dropping) {
    if (sink->dropping == dropping) return;
    struct kafka_producer *producer = sink->topic->producer;
    struct kafka_report *report = producer->report;
    sink->dropping = dropping;
    report->dropping = false;
    for (struct kafka_sink *other = producer->sinks; other; other = other->next) report->dropping |= other->dropping;
    if (dropping) snprintf(report->dropped, sizeof report->dropped, "%s", sink->topic->name);
    else
        kafka_report_add(report, 4, "topic '%s' takes records again; %llu of the oldest were dropped so far",
                         sink->topic->name, (unsigned long long)sink->dropped);
    wakeup_signal(&report->changed);
}

static void keep(struct kafka_sink *sink, const struct sink_record *record, rd_kafka_headers_t *headers) {
    size_t bytes = record->key_len + record->value_len;
    struct kafka_parcel *parcel = xmalloc(sizeof *parcel + bytes);
    *parcel = (struct kafka_parcel){.batch = record->batch,
                                    .headers = headers,
                                    .has_key = record->key != NULL,
                                    .key_len = record->key_len,
                                    .value_len = record->value_len};
    if (record->key_len) memcpy(parcel->bytes, record->key, record->key_len);
    if (record->value_len) memcpy(parcel->bytes + record->key_len, record->value, record->value_len);
    if (sink->last) sink->last->next = parcel;
    else sink->first = parcel;
    sink->last = parcel;
    sink->bytes += parcel_size(parcel);
    sink->count++;
    while (sink->bytes > sink->max_bytes) {
        sink->dropped++;
        give_up(sink, "dropped: Kafka did not take it in time and newer records needed the room");
        tell_dropping(sink, true);
    }
}

static void empty_outbox(struct kafka_sink *sink) {
    while (sink->first) {
        struct kafka_parcel *parcel = sink->first;
        struct sink_record record = {.key = parcel->has_key ? parcel->bytes : NULL,
                                     .key_len = parcel->key_len,
                                     .value = parcel->bytes + parcel->key_len,
                                     .value_len = parcel->value_len,
                                     .batch = parcel->batch};
        char error[256];
        enum sink_result result = produce(sink, &record, parcel->headers, error, sizeof error);
        if (result == SINK_FULL) return;
        if (result == SINK_OK) {
            parcel->headers = NULL;  // librdkafka's now
            pop(sink);
            continue;
        }
        kafka_topic_failed(sink->topic, error);
        give_up(sink, error);
    }
    tell_dropping(sink, false);
}

// A record that would push out one of its own batch: half of it were worth less than one from before.
static bool displaces_own(const struct kafka_sink *sink, const struct sink_record *record) {
    size_t bytes = sink->bytes + sizeof(struct kafka_parcel) + record->key_len + record->value_len;
    for (const struct kafka_parcel *parcel = sink->first; parcel && bytes > sink->max_bytes; parcel = parcel->next) {
        if (record->batch && parcel->batch == record->batch) return true;
        bytes -= parcel_size(parcel);
    }
    return false;
}

// ---- sink ------------------------------------------------------------------

enum sink_result kafka_sink_put(struct kafka_sink *sink, const struct sink_record *record, rd_kafka_headers_t *headers,
                                char *error, size_t size) {
    if (sink->topic->producer->closed) {
        snprintf(error, size, "topic '%s': the producer is closed", sink->topic->name);
        return SINK_ERROR;
    }
    enum sink_result result = sink->first ? SINK_FULL : produce(sink, record, headers, error, size);
    if (result == SINK_FULL && sink->drop_oldest && !displaces_own(sink, record)) {
        admit(record->batch);
        keep(sink, record, headers);
        return SINK_OK;
    }
    if (result == SINK_FULL) sink->refused = true;
    if (result == SINK_OK) admit(record->batch);
    return result;
}

void kafka_sinks_advance(struct kafka_producer *producer) {
    for (struct kafka_sink *sink = producer->sinks; sink; sink = sink->next)
        if (sink->first) empty_outbox(sink);
    for (struct kafka_sink *sink = producer->sinks; sink; sink = sink->next) {
        if (!sink->refused || (!is_open(sink, 0) && !sink->lane->stopped)) continue;
        sink->refused = false;
        wakeup_signal(&sink->room);
    }
}

void kafka_sink_abandon(struct kafka_sink *sink, const char *cause) {
    while (sink->first) give_up(sink, cause);
    sink->refused = false;
    wakeup_signal(&sink->room);
}
