// A transactional producer: its sink takes records while a transaction is open, and their batches are reported when it
// has ended. What blocks (init, commit, abort) runs in a worker in short steps, again and again while no broker
// answers; the loop serves the queue meanwhile. A new transaction begins with the end of the one before. Which errors
// can be aborted, and what is fatal, is librdkafka's to say; what follows from it is the owner's.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "kafka.h"

#define STEP_MS 500
#define PAUSE_MS 20
// Of a batch in Kafka's format around one record.
#define OVERHEAD 128
// What a record takes in librdkafka's memory beside its bytes.
#define RECORD_COST 200
#define EVENT_BUDGET 256

static void transaction_unref(struct kafka_transaction *transaction) {
    if (--transaction->refs) return;
    kafka_report_unref(transaction->report);
    free(transaction->shares);
    free(transaction->topic);
    free(transaction);
}

// ---- events ----------------------------------------------------------------

static void spoil(struct kafka_transaction *transaction, const char *cause) {
    if (!transaction->broken) snprintf(transaction->cause, sizeof transaction->cause, "%s", cause);
    transaction->broken = true;
    wakeup_signal(&transaction->changed);
}

// Only those that failed are reported, see delivery.report.only.error.
static void take_reports(struct kafka_transaction *transaction, rd_kafka_event_t *event) {
    const rd_kafka_message_t *message;
    while ((message = rd_kafka_event_message_next(event))) {
        rd_kafka_resp_err_t code = message->err;
        const char *topic = rd_kafka_topic_name(message->rkt);
        char text[256];
        if (!code || code == RD_KAFKA_RESP_ERR__PURGE_QUEUE || code == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT) continue;
        transaction->outgrown |= code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
        if (code == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT)
            snprintf(text, sizeof text, "topic '%s': not delivered within message.timeout.ms", topic);
        else kafka_explain(code, topic, "Write", text, sizeof text);
        // It says more than that librdkafka takes no more records, which may have been noticed before.
        if (transaction->vague) snprintf(transaction->cause, sizeof transaction->cause, "%s", text);
        transaction->vague = false;
        spoil(transaction, text);
    }
}

static void on_readable(struct kafka *kafka) {
    struct kafka_transaction *transaction = kafka->owner;
    rd_kafka_event_t *event;
    int budget = EVENT_BUDGET;
    while (budget-- > 0 && (event = kafka_next(kafka))) {
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR) take_reports(transaction, event);
        else kafka_report_add(transaction->report, 4, "%s", rd_kafka_event_error_string(event));
        rd_kafka_event_destroy(event);
    }
    if (budget < 0) kafka_again(kafka);
}

static void on_fatal(struct kafka *kafka, rd_kafka_resp_err_t code, const char *text) {
    (void)code;
    spoil(kafka->owner, text);
}

static const struct kafka_ops transaction_ops = {on_readable, on_fatal};

// ---- in the worker ---------------------------------------------------------

static rd_kafka_error_t *call(rd_kafka_t *rk, enum kafka_work work) {
    switch (work) {
    case KAFKA_INIT:
        return rd_kafka_init_transactions(rk, STEP_MS);
    case KAFKA_COMMIT:
        return rd_kafka_commit_transaction(rk, STEP_MS);
    default:
        return rd_kafka_abort_transaction(rk, STEP_MS);
    }
}

static bool is_fenced(rd_kafka_resp_err_t code) {
    return code == RD_KAFKA_RESP_ERR__FENCED || code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
           code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
}

static void judge(struct kafka_transaction *transaction, const rd_kafka_error_t *error) {
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    snprintf(transaction->error, sizeof transaction->error, "%s", rd_kafka_error_string(error));
    if (rd_kafka_error_txn_requires_abort(error)) {
        transaction->outcome = KAFKA_MUST_ABORT;
        return;
    }
    // The first fatal error says what it was; later calls only that there was one.
    char text[300];
    rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(transaction->kafka->rk, text, sizeof text);
    if (fatal) snprintf(transaction->error, sizeof transaction->error, "%s", text);
    transaction->outcome = is_fenced(fatal ? fatal : code) ? KAFKA_FENCED : KAFKA_FAILED;
    if (fatal == RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED ||
        code == RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
        snprintf(transaction->error, sizeof transaction->error,
                 "not allowed: give the Kafka user the ACLs Write and Describe on the transactional.id");
}

static void on_work(struct workers_job *job) {
    struct kafka_transaction *transaction =
        (struct kafka_transaction *)((char *)job - offsetof(struct kafka_transaction, job));
    rd_kafka_t *rk = transaction->kafka->rk;
    rd_kafka_error_t *error;
    while ((error = call(rk, transaction->work)) && rd_kafka_error_is_retriable(error)) {
        if (transaction->cancelled) break;
        rd_kafka_error_destroy(error);
        uv_sleep(PAUSE_MS);
    }
    if (!error) error = rd_kafka_begin_transaction(rk);
    transaction->outcome = KAFKA_DONE;
    if (error) judge(transaction, error);
    if (error) rd_kafka_error_destroy(error);
}

// ---- on the loop -----------------------------------------------------------

void kafka_transaction_settle(struct kafka_transaction *transaction, const char *error) {
    size_t count = transaction->share_count;
    struct kafka_share *shares = transaction->shares;
    transaction->shares = NULL;
    transaction->share_count = transaction->share_room = 0;
    transaction->bytes = transaction->records = 0;
    for (size_t i = 0; i < count; i++)
        while (shares[i].count--) batch_report(shares[i].batch, error);
    free(shares);
}

static void end_transaction(struct kafka_transaction *transaction) {
    char text[sizeof transaction->cause + 64];
    const char *cause = *transaction->cause ? transaction->cause : "the transaction could not be committed";
    snprintf(text, sizeof text, "the transaction was aborted: %s", cause);
    kafka_transaction_settle(transaction, transaction->work == KAFKA_ABORT ? text : NULL);
    transaction->open = true;
    transaction->broken = transaction->vague = false;
    snprintf(transaction->error, sizeof transaction->error, "%s", transaction->cause);
    *transaction->cause = '\0';
    kafka_is_up(transaction->kafka);
}

static void on_worked(struct workers_job *job) {
    struct kafka_transaction *transaction =
        (struct kafka_transaction *)((char *)job - offsetof(struct kafka_transaction, job));
    struct kafka *kafka = transaction->kafka;
    transaction->working = false;
    if (transaction->cancelled) {
        transaction->outcome = KAFKA_CLOSED;
        transaction->kafka = NULL;
        snprintf(transaction->error, sizeof transaction->error, "closed before the transaction was ended");
    } else if (transaction->outcome == KAFKA_DONE) {
        end_transaction(transaction);
    } else {
        spoil(transaction, transaction->error);
    }
    wakeup_signal(&transaction->changed);
    kafka_unref(kafka);
    transaction_unref(transaction);
}

int kafka_transaction_work(struct kafka_transaction *transaction, enum kafka_work work) {
    transaction->work = work;
    transaction->working = true;
    transaction->open = false;
    transaction->job = (struct workers_job){.work = on_work, .done = on_worked};
    transaction->refs++;
    transaction->kafka->refs++;
    if (workers_run(transaction->workers, &transaction->job) == 0) return 0;
    transaction->working = false;
    transaction->kafka->refs--;
    transaction->refs--;
    return -1;
}

// ---- records ---------------------------------------------------------------

static void admit(struct kafka_transaction *transaction, struct batch *batch) {
    if (!batch) return;
    batch_ref(batch);
    batch->pending++;
    batch->sent++;
    size_t count = transaction->share_count;
    if (count && transaction->shares[count - 1].batch == batch) {
        transaction->shares[count - 1].count++;
        return;
    }
    if (count == transaction->share_room) {
        transaction->share_room = count ? count * 2 : 16;
        transaction->shares = xrealloc(transaction->shares, transaction->share_room * sizeof *transaction->shares);
    }
    transaction->shares[transaction->share_count++] = (struct kafka_share){batch, 1};
}

// What librdkafka's answer to a record means. It is taken only when there was no error.
static enum sink_result take_answer(struct kafka_transaction *transaction, const char *topic,
                                    const struct sink_record *record, rd_kafka_resp_err_t code, char *error,
                                    size_t size) {
    switch (code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        if (!transaction->records++) transaction->begun_ns = clock_monotonic_ns();
        transaction->bytes += record->key_len + record->value_len + RECORD_COST;
        return SINK_OK;
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
        return SINK_FULL;
    case RD_KAFKA_RESP_ERR__STATE:
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__FENCED:
        transaction->vague |= !transaction->broken;
        spoil(transaction, "librdkafka takes no more records of this transaction");
        return SINK_FULL;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
        snprintf(error, size, "a record of %zu bytes is more than topic '%s' takes (%zu)",
                 record->key_len + record->value_len, topic, transaction->sink.limit);
        return SINK_ERROR;
    default:
        kafka_explain(code, topic, "Write", error, size);
        return SINK_ERROR;
    }
}

static bool is_open(const struct kafka_transaction *transaction) {
    return transaction->open && !transaction->working && !transaction->broken && transaction->kafka;
}

static enum sink_result put(struct sink *sink, const struct sink_record *record, char *error, size_t size) {
    struct kafka_transaction *transaction = (struct kafka_transaction *)sink;
    if (transaction->closed) {
        snprintf(error, size, "topic '%s': the producer is closed", transaction->topic);
        return SINK_ERROR;
    }
    if (!is_open(transaction)) return SINK_FULL;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    if (record->key_len + record->value_len <= sink->limit)
        code = rd_kafka_producev(transaction->kafka->rk, RD_KAFKA_V_RKT(transaction->rkt),
                                 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                 RD_KAFKA_V_KEY((void *)record->key, record->key_len),
                                 RD_KAFKA_V_VALUE((void *)record->value, record->value_len), RD_KAFKA_V_END);
    enum sink_result result = take_answer(transaction, transaction->topic, record, code, error, size);
    if (result == SINK_OK) admit(transaction, record->batch);
    return result;
}

enum sink_result kafka_transaction_note(struct kafka_transaction *transaction, const char *topic, int partition,
                                        const struct sink_record *record, rd_kafka_headers_t *headers, char *error,
                                        size_t size) {
    if (!is_open(transaction)) return SINK_FULL;
    rd_kafka_resp_err_t code = rd_kafka_producev(
        transaction->kafka->rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY((void *)record->key, record->key_len),
        RD_KAFKA_V_VALUE((void *)record->value, record->value_len), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    return take_answer(transaction, topic, record, code, error, size);
}

static struct wakeup *room(struct sink *sink) {
    return &((struct kafka_transaction *)sink)->changed;
}

static const struct sink_ops sink_ops = {put, room};

// ---- life ------------------------------------------------------------------

struct kafka_transaction *kafka_transaction_new(uv_loop_t *loop, struct workers *workers, rd_kafka_conf_t *conf,
                                                const char *topic, size_t limit, char *error, size_t size) {
    struct kafka_transaction *transaction = xcalloc(1, sizeof *transaction);
    transaction->sink.ops = &sink_ops;
    transaction->sink.limit = limit - OVERHEAD;
    transaction->refs = 1;
    transaction->report = kafka_report_new();
    transaction->workers = workers;
    transaction->topic = xstrdup(topic);
    // Successes are told by the commit.
    rd_kafka_conf_set(conf, "delivery.report.only.error", "true", NULL, 0);
    transaction->kafka =
        kafka_new(loop, RD_KAFKA_PRODUCER, conf, transaction->report, &transaction_ops, transaction, error, size);
    if (!transaction->kafka) goto fail;
    transaction->rkt = rd_kafka_topic_new(transaction->kafka->rk, topic, NULL);
    if (transaction->rkt) return transaction;
    snprintf(error, size, "topic '%s': %s", topic, rd_kafka_err2str(rd_kafka_last_error()));
    kafka_release(transaction->kafka);
fail:
    transaction_unref(transaction);
    return NULL;
}

void kafka_transaction_stop(struct kafka_transaction *transaction) {
    struct kafka *kafka = transaction->kafka;
    if (transaction->cancelled) return;
    transaction->cancelled = true;
    transaction->open = false;
    transaction->report->closed = true;
    wakeup_signal(&transaction->report->changed);
    rd_kafka_topic_destroy(transaction->rkt);
    transaction->rkt = NULL;
    // A worker that is at it still needs it.
    if (!transaction->working) transaction->kafka = NULL;
    rd_kafka_purge(kafka->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
    kafka_release(kafka);
    wakeup_signal(&transaction->changed);
}

void kafka_transaction_close(struct kafka_transaction *transaction) {
    kafka_transaction_stop(transaction);
    transaction->closed = true;
    kafka_transaction_settle(transaction, "closed before the transaction was committed");
    wakeup_signal(&transaction->changed);
    transaction_unref(transaction);
}
