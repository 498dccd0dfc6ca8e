// A producer as a pipeline sees it: lanes (librdkafka's producers), the topics with their limits, delivery reports and
// what becomes of them. It owns its lanes, topics and sinks until it was closed and the last record was reported. A
// lane whose librdkafka gives up gets a successor after a pause; one that was fenced stops for good.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "kafka.h"

#define SECOND 1000000000LL
// At first the limits of topics are awaited, later only what lasts.
#define TICK_MS 50
#define SLOW_TICK_MS 1000
// Kafka's default of max.message.bytes, taken while the topic's own is not known.
#define DEFAULT_LIMIT 1048588
#define LEAST_GUESS 16384
// How long the first records wait for the topic's limit.
#define HOLD (10 * SECOND)
#define ASK_AGAIN (10 * SECOND)
#define MAX_PAUSE (60 * SECOND)
// After so many events the loop's other handles get their turn.
#define EVENT_BUDGET 256

static void producer_unref(struct kafka_producer *producer);

// ---- reports ---------------------------------------------------------------

static struct kafka_topic *find_topic(struct kafka_producer *producer, const char *name) {
    struct kafka_topic *topic = producer->topics;
    while (topic && strcmp(topic->name, name) != 0) topic = topic->next;
    return topic;
}

static void explain(const struct kafka_lane *lane, const struct kafka_topic *topic, const rd_kafka_message_t *message,
                    char *text, size_t size) {
    switch (message->err) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
        if (message->len + message->key_len < (size_t)topic->limit / 2)
            snprintf(text, size, "topic '%s' refused a batch as too large: its max.message.bytes is less than %d",
                     topic->name, topic->limit);
        else
            snprintf(text, size, "a record of %zu bytes is more than topic '%s' takes (max.message.bytes %d)",
                     message->len + message->key_len, topic->name, topic->limit);
        break;
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
        snprintf(text, size, "%s", lane->dying ? lane->failure : "closed before it was delivered");
        break;
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
        snprintf(text, size, "topic '%s': not delivered within message.timeout.ms", topic->name);
        break;
    default:
        kafka_explain(message->err, topic->name, "Write", text, size);
    }
}

void kafka_topic_failed(struct kafka_topic *topic, const char *cause) {
    struct kafka_report *report = topic->producer->report;
    topic->failed++;
    if (topic->failing && report->failing) return;
    topic->failing = report->failing = true;
    if (strstr(cause, topic->name)) snprintf(report->failure, sizeof report->failure, "%s", cause);
    else snprintf(report->failure, sizeof report->failure, "topic '%s': %s", topic->name, cause);
    wakeup_signal(&report->changed);
}

static void topic_recovered(struct kafka_topic *topic) {
    struct kafka_report *report = topic->producer->report;
    topic->failing = report->failing = false;
    for (struct kafka_topic *other = topic->producer->topics; other; other = other->next)
        report->failing |= other->failing;
    wakeup_signal(&report->changed);
}

// A broker refused a batch as too large: the limit was lowered since it was asked for, or it may not be asked for and
// is less than it was taken for. Then it is tried with half of it.
static void doubt_limit(struct kafka_topic *topic) {
    topic->known = false;
    int64_t now = clock_monotonic_ns();
    if (!topic->guessed || now < topic->guess_after_ns || topic->limit < 2 * LEAST_GUESS) return;
    topic->guess_after_ns = now + SECOND;
    topic->limit /= 2;
    for (struct kafka_sink *sink = topic->producer->sinks; sink; sink = sink->next)
        if (sink->topic == topic) kafka_sink_settle(sink);
}

static void take_report(struct kafka_lane *lane, struct kafka_topic *topic, const rd_kafka_message_t *message) {
    uintptr_t opaque = (uintptr_t)message->_private;
    struct batch *batch = (struct batch *)(opaque & ~(uintptr_t)KAFKA_FROM_OUTBOX);
    lane->in_flight--;
    if (opaque & KAFKA_FROM_OUTBOX) lane->drop_bytes -= message->len + message->key_len;
    if (!message->err) {
        kafka_is_up(lane->kafka);
        lane->pause_ns = SECOND;
        topic->delivered++;
        if (topic->failing) topic_recovered(topic);
        if (topic->missing) topic->known = topic->missing = false;
        if (batch) batch_report(batch, NULL);
        return;
    }
    char text[256];
    explain(lane, topic, message, text, sizeof text);
    if (!lane->closing && !lane->dying) kafka_topic_failed(topic, text);
    if (message->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE) doubt_limit(topic);
    if (batch) batch_report(batch, text);
}

static void take_reports(struct kafka_lane *lane, rd_kafka_event_t *event) {
    const rd_kafka_message_t *message;
    const rd_kafka_topic_t *last = NULL;
    struct kafka_topic *topic = NULL;
    while ((message = rd_kafka_event_message_next(event))) {
        if (message->rkt != last) {
            last = message->rkt;
            topic = find_topic(lane->producer, rd_kafka_topic_name(last));
        }
        take_report(lane, topic, message);
    }
}

// ---- lanes -----------------------------------------------------------------

static void on_readable(struct kafka *kafka);
static void on_fatal(struct kafka *kafka, rd_kafka_resp_err_t code, const char *text);

static const struct kafka_ops lane_ops = {on_readable, on_fatal};

static void set_number(rd_kafka_conf_t *conf, const char *name, int value) {
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    rd_kafka_conf_set(conf, name, text, NULL, 0);
}

static int lane_start(struct kafka_lane *lane, char *error, size_t size) {
    struct kafka_producer *producer = lane->producer;
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(producer->conf);
    set_number(conf, "message.max.bytes", lane->limit);
    set_number(conf, "batch.size", producer->batch_size < lane->limit ? producer->batch_size : lane->limit);
    lane->kafka = kafka_new(producer->loop, RD_KAFKA_PRODUCER, conf, producer->report, &lane_ops, lane, error, size);
    return lane->kafka ? 0 : -1;
}

static struct kafka_lane *lane_new(struct kafka_producer *producer, int limit) {
    struct kafka_lane *lane = xcalloc(1, sizeof *lane);
    lane->producer = producer;
    lane->limit = limit;
    lane->pause_ns = SECOND;
    lane->next = producer->lanes;
    producer->lanes = lane;
    producer->refs++;
    return lane;
}

struct kafka_lane *kafka_producer_lane(struct kafka_producer *producer, int limit) {
    struct kafka_lane *lane = producer->lanes;
    while (lane && lane->limit != limit) lane = lane->next;
    if (lane) return lane;
    lane = lane_new(producer, limit);
    if (lane_start(lane, lane->failure, sizeof lane->failure)) kafka_producer_tick(producer);
    return lane;
}

// librdkafka ends; its topic handles must be gone before.
static void let_go(struct kafka_lane *lane) {
    struct kafka_producer *producer = lane->producer;
    for (struct kafka_sink *sink = producer->sinks; sink; sink = sink->next)
        if (sink->rkt_of == lane->kafka) kafka_sink_forget_instance(sink);
    // Questions that were asked through it get no answer.
    for (struct kafka_topic *topic = producer->topics; topic; topic = topic->next) topic->asking = false;
    kafka_release(lane->kafka);
    lane->kafka = NULL;
    lane->dying = lane->full = false;
    if (lane->closing) {
        producer_unref(producer);
    } else if (!lane->stopped) {
        lane->restart_ns = clock_monotonic_ns() + lane->pause_ns;
        lane->pause_ns = lane->pause_ns * 2 > MAX_PAUSE ? MAX_PAUSE : lane->pause_ns * 2;
        kafka_producer_tick(producer);
    }
}

// Fencing means that a successor with the same transactional.id is at work: beginning anew would fence that one.
static bool is_fenced(rd_kafka_resp_err_t code) {
    return code == RD_KAFKA_RESP_ERR__FENCED || code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
           code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
}

static void on_fatal(struct kafka *kafka, rd_kafka_resp_err_t code, const char *text) {
    struct kafka_lane *lane = kafka->owner;
    if (lane->dying || lane->closing) return;
    lane->dying = true;
    lane->stopped = is_fenced(code);
    if (code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED)
        snprintf(
            lane->failure, sizeof lane->failure,
            "not allowed to begin: give the Kafka user the ACL Write on a topic, or IdempotentWrite on the cluster");
    else snprintf(lane->failure, sizeof lane->failure, "the producer failed: %s", text);
    kafka_report_add(lane->producer->report, 3, "%s%s", lane->failure,
                     lane->stopped ? "; it is fenced and stops for good" : "; a new one is started");
    rd_kafka_purge(kafka->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
}

static void on_readable(struct kafka *kafka) {
    struct kafka_lane *lane = kafka->owner;
    struct kafka_producer *producer = lane->producer;
    rd_kafka_event_t *event;
    int budget = EVENT_BUDGET;
    while (budget-- > 0 && (event = kafka_next(kafka))) {
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR) take_reports(lane, event);
        else kafka_report_add(producer->report, 4, "%s", rd_kafka_event_error_string(event));
        rd_kafka_event_destroy(event);
    }
    if (budget < 0) kafka_again(kafka);
    lane->full = false;
    producer->refs++;
    if ((lane->dying || lane->closing) && lane->in_flight == 0) let_go(lane);
    if (!producer->closed) {
        kafka_sinks_advance(producer);
        kafka_producer_tick(producer);
    }
    if (kafka_producer_pending(producer) == 0) wakeup_signal(&producer->idle);
    producer_unref(producer);
}

// ---- limits and time -------------------------------------------------------

static void settle_sinks(struct kafka_topic *topic) {
    for (struct kafka_sink *sink = topic->producer->sinks; sink; sink = sink->next)
        if (sink->topic == topic) kafka_sink_settle(sink);
    kafka_sinks_advance(topic->producer);
}

static void on_described(struct kafka_request *request) {
    struct kafka_topic *topic = request->context;
    topic->asking = false;
    topic->ask_after_ns = clock_monotonic_ns() + ASK_AGAIN;
    bool unanswered = request->code == RD_KAFKA_RESP_ERR__TIMED_OUT || request->code == RD_KAFKA_RESP_ERR__TRANSPORT;
    if (!unanswered) topic->known = true;
    topic->missing = request->code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    // One that was just created is not known to every broker at once.
    if (topic->missing && clock_monotonic_ns() - topic->begun_ns < SECOND) {
        topic->known = false;
        topic->ask_after_ns = 0;
    }
    if (request->code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED && !topic->guessed) {
        topic->guessed = true;
        kafka_report_add(topic->producer->report, 6,
                         "topic '%s': max.message.bytes is taken to be %d; to read it the Kafka user needs the ACL "
                         "DescribeConfigs on the topic",
                         topic->name, topic->limit);
    }
    for (size_t i = 0; i < request->config_count; i++)
        if (strcmp(request->config[i].name, "max.message.bytes") == 0 && request->config[i].value)
            topic->limit = atoi(request->config[i].value);
    settle_sinks(topic);
    kafka_producer_tick(topic->producer);
}

// librdkafka refuses records for a topic that it found missing or forbidden until it looks again, minutes later.
void kafka_topic_look_again(struct kafka_topic *topic) {
    struct kafka *kafka = kafka_producer_instance(topic->producer);
    int64_t now = clock_monotonic_ns();
    if (!kafka || now < topic->look_after_ns) return;
    topic->look_after_ns = now + SECOND;
    kafka_request_unref(kafka_probe(kafka, NULL, NULL));
}

static void ask_limit(struct kafka_topic *topic, int64_t now) {
    struct kafka *kafka = kafka_producer_instance(topic->producer);
    if (!kafka) return;
    // The mock broker would never answer, and takes records of any size.
    if (kafka_is_mock(kafka->rk, 0)) topic->known = true;
    if (topic->known || topic->asking || now < topic->ask_after_ns) return;
    topic->asking = true;
    kafka_request_unref(kafka_describe(kafka, topic->name, 30000, on_described, topic));
}

static void restart(struct kafka_lane *lane) {
    lane->restart_ns = 0;
    if (lane_start(lane, lane->failure, sizeof lane->failure) == 0) return;
    kafka_report_add(lane->producer->report, 3, "cannot start a new producer: %s", lane->failure);
    lane->restart_ns = clock_monotonic_ns() + MAX_PAUSE;
}

static void on_tick(uv_timer_t *timer) {
    struct kafka_producer *producer = timer->data;
    int64_t now = clock_monotonic_ns();
    bool wanted = false, hurried = false;
    for (struct kafka_lane *lane = producer->lanes; lane; lane = lane->next) {
        if (lane->kafka || lane->stopped) continue;
        if (now >= lane->restart_ns) restart(lane);
        wanted |= lane->kafka == NULL;
    }
    for (struct kafka_topic *topic = producer->topics; topic; topic = topic->next) {
        if (topic->known || topic->held) continue;
        ask_limit(topic, now);
        wanted |= !topic->known;
        hurried |= !topic->known && now < topic->hold_until_ns;
    }
    kafka_sinks_advance(producer);
    if (!wanted) uv_timer_stop(timer);
    uv_timer_set_repeat(timer, hurried ? TICK_MS : SLOW_TICK_MS);
}

void kafka_producer_tick(struct kafka_producer *producer) {
    if (producer->closed || uv_is_active((uv_handle_t *)&producer->timer)) return;
    for (struct kafka_topic *topic = producer->topics; topic; topic = topic->next)
        if (!topic->known && !topic->held) goto start;
    for (struct kafka_lane *lane = producer->lanes; lane; lane = lane->next)
        if (!lane->kafka && !lane->stopped) goto start;
    return;
start:
    uv_timer_start(&producer->timer, on_tick, 0, TICK_MS);
}

// ---- producer --------------------------------------------------------------

static int conf_number(rd_kafka_conf_t *conf, const char *name) {
    char text[32] = "";
    size_t size = sizeof text;
    if (rd_kafka_conf_get(conf, name, text, &size) != RD_KAFKA_CONF_OK) return 0;
    return atoi(text);
}

static void on_timer_closed(uv_handle_t *handle) {
    producer_unref(handle->data);
}

struct kafka_producer *kafka_producer_new(uv_loop_t *loop, rd_kafka_conf_t *conf, bool bounded, char *error,
                                          size_t size) {
    struct kafka_producer *producer = xcalloc(1, sizeof *producer);
    producer->loop = loop;
    producer->conf = conf;
    producer->report = kafka_report_new();
    producer->max_message = bounded ? conf_number(conf, "message.max.bytes") : 0;
    producer->batch_size = conf_number(conf, "batch.size");
    producer->queue_bytes = (size_t)conf_number(conf, "queue.buffering.max.kbytes") * 1024;
    producer->refs = 2;  // the caller and the timer
    uv_timer_init(loop, &producer->timer);
    producer->timer.data = producer;
    bool less = producer->max_message && producer->max_message < DEFAULT_LIMIT;
    struct kafka_lane *lane = lane_new(producer, less ? producer->max_message : DEFAULT_LIMIT);
    if (lane_start(lane, error, size) == 0) return producer;
    kafka_producer_close(producer);
    return NULL;
}

static void producer_unref(struct kafka_producer *producer) {
    if (--producer->refs) return;
    struct kafka_lane *lane;
    while ((lane = producer->lanes)) {
        producer->lanes = lane->next;
        free(lane);
    }
    struct kafka_topic *topic;
    while ((topic = producer->topics)) {
        producer->topics = topic->next;
        free(topic->name);
        free(topic);
    }
    struct kafka_sink *sink;
    while ((sink = producer->sinks)) {
        producer->sinks = sink->next;
        free(sink);
    }
    rd_kafka_conf_destroy(producer->conf);
    kafka_report_unref(producer->report);
    free(producer);
}

void kafka_producer_ref(struct kafka_producer *producer) {
    producer->refs++;
}

void kafka_producer_unref(struct kafka_producer *producer) {
    producer_unref(producer);
}

void kafka_producer_close(struct kafka_producer *producer) {
    if (producer->closed) return;
    producer->closed = true;
    for (struct kafka_sink *sink = producer->sinks; sink; sink = sink->next)
        kafka_sink_abandon(sink, "closed before it was delivered");
    for (struct kafka_lane *lane = producer->lanes; lane; lane = lane->next) {
        lane->closing = true;
        if (!lane->kafka) {
            producer_unref(producer);
            continue;
        }
        rd_kafka_purge(lane->kafka->rk,
                       RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
        if (lane->in_flight == 0) let_go(lane);
    }
    producer->report->closed = true;
    wakeup_signal(&producer->report->changed);
    wakeup_signal(&producer->idle);
    uv_close((uv_handle_t *)&producer->timer, on_timer_closed);
    producer_unref(producer);
}

static struct kafka_topic *topic_of(struct kafka_producer *producer, const char *name) {
    struct kafka_topic *topic = find_topic(producer, name);
    if (topic) return topic;
    topic = xcalloc(1, sizeof *topic);
    topic->producer = producer;
    topic->name = xstrdup(name);
    topic->limit = DEFAULT_LIMIT;
    topic->begun_ns = clock_monotonic_ns();
    topic->hold_until_ns = topic->begun_ns + HOLD;
    topic->next = producer->topics;
    producer->topics = topic;
    return topic;
}

struct kafka_sink *kafka_producer_sink(struct kafka_producer *producer, const char *name, bool drop_oldest,
                                       size_t max_bytes) {
    for (struct kafka_sink *sink = producer->sinks; sink; sink = sink->next)
        if (strcmp(sink->topic->name, name) == 0 && sink->drop_oldest == drop_oldest && sink->max_bytes == max_bytes)
            return sink;
    struct kafka_sink *sink = kafka_sink_new(topic_of(producer, name), drop_oldest, max_bytes);
    sink->next = producer->sinks;
    producer->sinks = sink;
    kafka_sink_settle(sink);
    kafka_producer_tick(producer);
    return sink;
}

void kafka_producer_hold(struct kafka_producer *producer, const char *name, bool held) {
    struct kafka_topic *topic = topic_of(producer, name);
    topic->held = held;
    topic->begun_ns = clock_monotonic_ns();
    topic->hold_until_ns = topic->begun_ns + HOLD;
    if (!held) topic->known = false;
    kafka_producer_tick(producer);
}

uint64_t kafka_producer_pending(const struct kafka_producer *producer) {
    uint64_t pending = 0;
    for (const struct kafka_lane *lane = producer->lanes; lane; lane = lane->next) pending += lane->in_flight;
    for (const struct kafka_sink *sink = producer->sinks; sink; sink = sink->next) pending += sink->count;
    return pending;
}

struct kafka *kafka_producer_instance(struct kafka_producer *producer) {
    for (struct kafka_lane *lane = producer->lanes; lane; lane = lane->next)
        if (lane->kafka && !lane->dying && !lane->closing) return lane->kafka;
    return NULL;
}
