// A consumer: subscribed as a member of a group, or assigned to partitions from an offset, a time, the beginning or the
// end. Looking up partitions and offsets blocks and runs in a worker, which holds the consumer, in short steps with a
// pause between while no broker answers. Messages stay in librdkafka's bounded queue until they are asked for. Topics
// that do not exist and refusals are told as errors.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "kafka.h"

#define STEP_MS 250
#define FIRST_PAUSE_MS 50
#define LONGEST_PAUSE_MS 1000

static void consumer_unref(struct kafka_consumer *consumer) {
    if (--consumer->refs) return;
    for (size_t i = 0; i < consumer->start_count; i++) free(consumer->starts[i].topic);
    free(consumer->starts);
    if (consumer->late) rd_kafka_topic_partition_list_destroy(consumer->late);
    kafka_report_unref(consumer->report);
    free(consumer);
}

static void on_readable(struct kafka *kafka) {
    struct kafka_consumer *consumer = kafka->owner;
    wakeup_signal(&consumer->readable);
}

static void on_fatal(struct kafka *kafka, rd_kafka_resp_err_t code, const char *text) {
    (void)code;
    struct kafka_consumer *consumer = kafka->owner;
    snprintf(consumer->error, sizeof consumer->error, "%s", text);
}

static const struct kafka_ops consumer_ops = {on_readable, on_fatal};

// ---- in the worker: partitions and offsets ---------------------------------

// Notes why there is no answer: a broker that is away is asked again, everything else is told. `what` comes before it.
static int no_answer(struct kafka_consumer *consumer, rd_kafka_resp_err_t code, const char *what) {
    consumer->unanswered = code == RD_KAFKA_RESP_ERR__TRANSPORT || code == RD_KAFKA_RESP_ERR__TIMED_OUT ||
                           code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
    snprintf(consumer->problem, sizeof consumer->problem, "%s%s", what, rd_kafka_err2str(code));
    return -1;
}

static void add_partition(const struct kafka_start *start, int partition, rd_kafka_topic_partition_list_t *list,
                          rd_kafka_topic_partition_list_t *times) {
    if (start->from == KAFKA_FROM_TIME) {
        rd_kafka_topic_partition_list_add(times, start->topic, partition)->offset = start->value;
        return;
    }
    int64_t offset = start->value;
    if (start->from == KAFKA_FROM_BEGINNING) offset = RD_KAFKA_OFFSET_BEGINNING;
    if (start->from == KAFKA_FROM_END) offset = RD_KAFKA_OFFSET_END;
    if (start->from == KAFKA_FROM_OFFSET && offset < 0) offset = RD_KAFKA_OFFSET_TAIL(-offset);
    rd_kafka_topic_partition_list_add(list, start->topic, partition)->offset = offset;
}

static const rd_kafka_metadata_topic_t *find_topic(const struct rd_kafka_metadata *metadata, const char *name) {
    for (int i = 0; i < metadata->topic_cnt; i++)
        if (strcmp(metadata->topics[i].topic, name) == 0) return &metadata->topics[i];
    return NULL;
}

static int add_start(struct kafka_consumer *consumer, const struct kafka_start *start,
                     const struct rd_kafka_metadata *metadata, rd_kafka_topic_partition_list_t *list,
                     rd_kafka_topic_partition_list_t *times) {
    const rd_kafka_metadata_topic_t *topic = find_topic(metadata, start->topic);
    if (!topic || topic->partition_cnt == 0) {
        snprintf(consumer->problem, sizeof consumer->problem,
                 "topic '%s' does not exist, or the Kafka user has no ACL Describe on it", start->topic);
        return -1;
    }
    bool found = false;
    for (int i = 0; i < topic->partition_cnt; i++) {
        int partition = topic->partitions[i].id;
        if (start->partition >= 0 && start->partition != partition) continue;
        add_partition(start, partition, list, times);
        found = true;
    }
    if (found) return 0;
    snprintf(consumer->problem, sizeof consumer->problem, "topic '%s' has no partition %d, only 0 to %d", start->topic,
             start->partition, topic->partition_cnt - 1);
    return -1;
}

// librdkafka's mock broker answers -1, which means "behind the end", for every time: its messages are looked through.
static int add_times(struct kafka_consumer *consumer, rd_kafka_topic_partition_list_t *times,
                     rd_kafka_topic_partition_list_t *list) {
    if (times->cnt == 0) return 0;
    if (kafka_is_mock(consumer->kafka->rk, STEP_MS * 4)) {
        consumer->late = rd_kafka_topic_partition_list_copy(times);
        for (int i = 0; i < times->cnt; i++) times->elems[i].offset = RD_KAFKA_OFFSET_BEGINNING;
    } else {
        rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(consumer->kafka->rk, times, STEP_MS * 4);
        if (code) return no_answer(consumer, code, "offsets for a time: ");
    }
    for (int i = 0; i < times->cnt; i++)
        rd_kafka_topic_partition_list_add(list, times->elems[i].topic, times->elems[i].partition)->offset =
            times->elems[i].offset;
    return 0;
}

static void start_reading(struct kafka_consumer *consumer, const struct rd_kafka_metadata *metadata) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
    rd_kafka_topic_partition_list_t *times = rd_kafka_topic_partition_list_new(8);
    for (size_t i = 0; i < consumer->start_count; i++)
        if (add_start(consumer, &consumer->starts[i], metadata, list, times)) goto done;
    if (add_times(consumer, times, list)) goto done;
    rd_kafka_resp_err_t code = rd_kafka_assign(consumer->kafka->rk, list);
    if (code) snprintf(consumer->problem, sizeof consumer->problem, "assign: %s", rd_kafka_err2str(code));
    consumer->partitions = (unsigned)list->cnt;
done:
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_topic_partition_list_destroy(times);
}

// The topics are made known before it asks: librdkafka looks for the leader of a topic that it did not know half a
// second after it was assigned.
static void assign(uv_work_t *work) {
    struct kafka_consumer *consumer = work->data;
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t **known = xcalloc(consumer->start_count, sizeof *known);
    for (size_t i = 0; i < consumer->start_count; i++)
        known[i] = rd_kafka_topic_new(consumer->kafka->rk, consumer->starts[i].topic, NULL);
    consumer->unanswered = false;
    *consumer->problem = '\0';
    rd_kafka_resp_err_t code = rd_kafka_metadata(consumer->kafka->rk, 1, NULL, &metadata, STEP_MS);
    if (code) {
        no_answer(consumer, code, "");
    } else {
        start_reading(consumer, metadata);
        rd_kafka_metadata_destroy(metadata);
    }
    for (size_t i = 0; i < consumer->start_count; i++)
        if (known[i]) rd_kafka_topic_destroy(known[i]);
    free(known);
}

static void on_timer_closed(uv_handle_t *timer) {
    consumer_unref(timer->data);
}

static void end_assigning(struct kafka_consumer *consumer) {
    consumer->assigning = false;
    if (!*consumer->error) snprintf(consumer->error, sizeof consumer->error, "%s", consumer->problem);
    wakeup_signal(&consumer->readable);
    kafka_unref(consumer->kafka);
    uv_close((uv_handle_t *)&consumer->again, on_timer_closed);
}

static void on_assigned(uv_work_t *work, int status);

static void start_step(struct kafka_consumer *consumer) {
    consumer->working = true;
    uv_queue_work(consumer->again.loop, &consumer->work, assign, on_assigned);
}

static void on_pause_over(uv_timer_t *timer) {
    start_step(timer->data);
}

static void on_assigned(uv_work_t *work, int status) {
    (void)status;
    struct kafka_consumer *consumer = work->data;
    consumer->working = false;
    if (!consumer->unanswered || consumer->closed) {
        end_assigning(consumer);
        return;
    }
    uv_timer_start(&consumer->again, on_pause_over, consumer->pause_ms, 0);
    consumer->pause_ms = consumer->pause_ms * 2 > LONGEST_PAUSE_MS ? LONGEST_PAUSE_MS : consumer->pause_ms * 2;
}

static void start_assigning(uv_loop_t *loop, struct kafka_consumer *consumer) {
    consumer->assigning = true;
    consumer->refs++;  // the timer's, until it is closed
    consumer->kafka->refs++;
    consumer->pause_ms = FIRST_PAUSE_MS;
    uv_timer_init(loop, &consumer->again);
    consumer->work.data = consumer->again.data = consumer;
    start_step(consumer);
}

// ---- life ------------------------------------------------------------------

static int subscribe(struct kafka_consumer *consumer, char *error, size_t size) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)consumer->start_count);
    for (size_t i = 0; i < consumer->start_count; i++)
        rd_kafka_topic_partition_list_add(list, consumer->starts[i].topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(consumer->kafka->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (code) snprintf(error, size, "subscribe: %s", rd_kafka_err2str(code));
    return code ? -1 : 0;
}

struct kafka_consumer *kafka_consumer_new(uv_loop_t *loop, rd_kafka_conf_t *conf, const struct kafka_start *starts,
                                          size_t count, bool group, char *error, size_t size) {
    struct kafka_consumer *consumer = xcalloc(1, sizeof *consumer);
    consumer->refs = 1;
    consumer->report = kafka_report_new();
    consumer->starts = xcalloc(count, sizeof *starts);
    consumer->start_count = count;
    for (size_t i = 0; i < count; i++) {
        consumer->starts[i] = starts[i];
        consumer->starts[i].topic = xstrdup(starts[i].topic);
    }
    rd_kafka_conf_set(conf, "enable.partition.eof", "true", NULL, 0);
    consumer->kafka = kafka_new(loop, RD_KAFKA_CONSUMER, conf, consumer->report, &consumer_ops, consumer, error, size);
    if (!consumer->kafka) {
        consumer_unref(consumer);
        return NULL;
    }
    if (!group) {
        start_assigning(loop, consumer);
    } else if (subscribe(consumer, error, size)) {
        kafka_consumer_close(consumer);
        return NULL;
    }
    return consumer;
}

void kafka_consumer_close(struct kafka_consumer *consumer) {
    consumer->closed = true;
    if (consumer->assigning && !consumer->working) end_assigning(consumer);
    consumer->report->closed = true;
    wakeup_signal(&consumer->report->changed);
    wakeup_signal(&consumer->readable);
    kafka_release(consumer->kafka);
    consumer_unref(consumer);
}

// ---- messages --------------------------------------------------------------

void kafka_item_free(struct kafka_item *item) {
    if (item->place) rd_kafka_topic_partition_destroy(item->place);
    rd_kafka_event_destroy(item->event);
}

// A message from before the time that was asked for, which its broker could not look up.
static bool is_early(const struct kafka_consumer *consumer, const rd_kafka_message_t *message) {
    if (!consumer->late) return false;
    const rd_kafka_topic_partition_t *place =
        rd_kafka_topic_partition_list_find(consumer->late, rd_kafka_topic_name(message->rkt), message->partition);
    rd_kafka_timestamp_type_t type;
    return place && rd_kafka_message_timestamp(message, &type) < place->offset;
}

static enum kafka_received take_error(struct kafka_item *item) {
    rd_kafka_resp_err_t code = rd_kafka_event_error(item->event);
    item->place = rd_kafka_event_topic_partition(item->event);
    if (code == RD_KAFKA_RESP_ERR__PARTITION_EOF && item->place) {
        item->topic = item->place->topic;
        item->partition = item->place->partition;
        item->offset = item->place->offset;
        return KAFKA_EOF;
    }
    const char *text = rd_kafka_event_error_string(item->event);
    const char *topic = item->place ? item->place->topic : "";
    kafka_explain(code, topic, "Read and Describe", item->error, sizeof item->error);
    if (!item->place || strcmp(item->error, rd_kafka_err2str(code)) == 0)
        snprintf(item->error, sizeof item->error, "%s", text);
    return KAFKA_ERROR;
}

enum kafka_received kafka_consumer_next(struct kafka_consumer *consumer, struct kafka_item *item) {
    memset(item, 0, sizeof *item);
    // Records can be there before the worker has said of how many partitions: their reader counts those that have
    // ended.
    if (consumer->assigning) return KAFKA_NOTHING;
    while ((item->event = kafka_next(consumer->kafka))) {
        if (rd_kafka_event_type(item->event) == RD_KAFKA_EVENT_ERROR) return take_error(item);
        kafka_is_up(consumer->kafka);
        item->message = rd_kafka_event_message_next(item->event);
        if (item->message && !is_early(consumer, item->message)) return KAFKA_MESSAGE;
        rd_kafka_event_destroy(item->event);
    }
    return KAFKA_NOTHING;
}
