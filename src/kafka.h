// Kafka over librdkafka and libuv: producers with their topics, consumers, requests to a cluster, the embedded broker.
// No Lua in here. Everything belongs to one vm's loop thread; librdkafka's own threads only wake it through an eventfd,
// and what would block runs in libuv's workers. Every struct is counted or freed by its close function, which returns
// at once and lets go of librdkafka behind the caller's back.
#ifndef DBOBS_KAFKA_H
#define DBOBS_KAFKA_H

#include <librdkafka/rdkafka.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "sink.h"
#include "wakeup.h"
#include "workers.h"

struct kafka;
struct kafka_mock;
struct kafka_producer;
struct kafka_request;

// ---- kafka.c: one librdkafka instance on the loop -------------------------------------------------------------------

// What happened to a client and is worth telling, for whoever logs: shared by the client's instances and its reader,
// so that the reader does not keep the client alive.
struct kafka_notice {
    struct kafka_notice *next;
    int level;  // syslog's: 3 error, 4 warning, 6 info, 7 debug
    char text[];
};

struct kafka_report {
    unsigned refs;
    struct wakeup changed;
    struct kafka_notice *first, *last;
    unsigned count;
    uint64_t lost;      // notices past the bound
    unsigned down;      // instances that reach no broker
    char cause[300];    // why the last one does not
    bool failing;       // records of some topic are not delivered
    char failure[300];  // which topic, and why
    bool dropping;      // a topic's outbox is past its bound
    char dropped[200];  // which
    bool closed;        // nothing more will come
};

struct kafka_report *kafka_report_new(void);
void kafka_report_ref(struct kafka_report *report);
void kafka_report_unref(struct kafka_report *report);
void kafka_report_add(struct kafka_report *report, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// Takes the oldest notice, which the caller frees; NULL when there is none.
struct kafka_notice *kafka_report_take(struct kafka_report *report);

// A configuration of name, value, ..., NULL. NULL when librdkafka does not take one, with a message, or the name of the
// property when it is unknown. Secrets are in no message.
rd_kafka_conf_t *kafka_conf_new(const char *const *pairs, char *error, size_t size, bool *unknown);

struct kafka_ops {
    // Events may be there: take them with kafka_next until it returns NULL.
    void (*readable)(struct kafka *kafka);
    // librdkafka gave this instance up for good.
    void (*fatal)(struct kafka *kafka, rd_kafka_resp_err_t code, const char *text);
};

// An instance: librdkafka's handle, its queue and what watches it. Owned by a lane or a consumer, held by workers.
struct kafka {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    uv_loop_t *loop;
    const struct kafka_ops *ops;
    void *owner;  // NULL once it let go
    struct kafka_report *report;
    struct kafka_request *requests;  // not answered yet
    int fd;
    unsigned refs;     // the owner and the requests in workers
    unsigned handles;  // of libuv's that are open
    bool suspect, down;
    int64_t suspect_since_ns;
    char last_error[256];
    uv_poll_t poll;
    uv_timer_t retry;
    uv_work_t destroy;
};

// Starts librdkafka with `conf`, which is used up in any case. NULL with a message in error when it refuses.
struct kafka *kafka_new(uv_loop_t *loop, rd_kafka_type_t type, rd_kafka_conf_t *conf, struct kafka_report *report,
                        const struct kafka_ops *ops, void *owner, char *error, size_t size);
// The owner lets go: requests that are not answered fail, librdkafka ends in a worker.
void kafka_release(struct kafka *kafka);
void kafka_unref(struct kafka *kafka);
// The next event for the owner: delivery reports, messages, errors that concern its work. The caller destroys it.
rd_kafka_event_t *kafka_next(struct kafka *kafka);
// Calls ops->readable again from the loop, for a reader that stopped before the end.
void kafka_again(struct kafka *kafka);
// A broker answered: the time without any is over.
void kafka_is_up(struct kafka *kafka);
// Whether the brokers are librdkafka's mock; false when it is not known within the time. Any thread. Blocks that long.
bool kafka_is_mock(rd_kafka_t *rk, int timeout_ms);

// ---- kafka_admin.c: requests to the cluster -------------------------------------------------------------------------

enum kafka_request_kind {
    KAFKA_LIST,
    KAFKA_CREATE,
    KAFKA_DESCRIBE,
    KAFKA_PROBE,
    // of kafka_survey.c
    KAFKA_OFFSETS,
    KAFKA_GROUPS,
    KAFKA_MEMBERS,
    KAFKA_COMMITTED
};

struct kafka_config {
    char *name, *value;  // value NULL: not told
};

struct kafka_request {
    enum kafka_request_kind kind;
    unsigned refs;                       // who asked, and the operation
    struct kafka *kafka;                 // NULL once answered
    struct kafka_request *next, **link;  // of kafka->requests
    struct wakeup done;
    bool finished;
    char *topic;
    rd_kafka_resp_err_t code;
    char error[400];              // "" when it went well
    struct kafka_config *config;  // the answer of describe
    size_t config_count;
    const struct rd_kafka_metadata *listed;  // the answer of list
    int timeout_ms;
    bool working;           // in a worker
    atomic_bool cancelled;  // read by the worker
    bool fallback;          // a mock broker: it has no CreateTopics, a metadata request made the topic
    rd_kafka_NewTopic_t *creation;
    rd_kafka_topic_partition_list_t *places;  // whose offsets are asked for
    char **groups;                            // which groups are asked for
    size_t group_count;
    rd_kafka_event_t *answer;  // of a survey, when it went well
    uv_work_t work;
    void (*answered)(struct kafka_request *request);  // NULL: who asked looks at `finished`
    void *context;
};

// Each starts an operation and returns it with one reference for the caller (kafka_request_unref gives it back).
struct kafka_request *kafka_list(struct kafka *kafka, int timeout_ms);
// Partitions and replication -1 for the broker's defaults; config is name, value, ..., NULL. NULL with a message when
// such a topic cannot be.
struct kafka_request *kafka_create(struct kafka *kafka, const char *topic, int partitions, int replication,
                                   const char *const *config, int timeout_ms, char *error, size_t size);
struct kafka_request *kafka_describe(struct kafka *kafka, const char *topic, int timeout_ms,
                                     void (*answered)(struct kafka_request *), void *context);
struct kafka_request *kafka_probe(struct kafka *kafka, void (*answered)(struct kafka_request *), void *context);
void kafka_request_unref(struct kafka_request *request);
// For kafka_survey.c: a new request, and its first step, which finds out in a worker whether a broker can answer it.
struct kafka_request *kafka_request_new(struct kafka *kafka, enum kafka_request_kind kind, const char *topic,
                                        int timeout_ms);
void kafka_request_start(struct kafka_request *request);
// For kafka.c: an admin answer arrived; it owns the event now. And: the instance goes, nobody will answer.
void kafka_request_event(rd_kafka_event_t *event);
void kafka_request_abandon(struct kafka_request *request);
// Writes what an error code means and what to do; acl is what the operation needs to be allowed. Returns text.
const char *kafka_explain(rd_kafka_resp_err_t code, const char *topic, const char *acl, char *text, size_t size);

// ---- kafka_survey.c: what is in the cluster, for those who watch it -------------------------------------------------

// As above; the answer is an event of librdkafka's in request->answer. `places` is used up: each holds in its offset
// what is asked for: RD_KAFKA_OFFSET_SPEC_EARLIEST, _LATEST, or milliseconds since 1970 for the first record from then
// on (below 0 when there is none).
struct kafka_request *kafka_offsets(struct kafka *kafka, rd_kafka_topic_partition_list_t *places, int timeout_ms);
struct kafka_request *kafka_groups(struct kafka *kafka, int timeout_ms);
struct kafka_request *kafka_members(struct kafka *kafka, const char *const *groups, size_t count, int timeout_ms);
// The committed offsets of one group.
struct kafka_request *kafka_committed(struct kafka *kafka, const char *group, int timeout_ms);
// For kafka_admin.c: sends the request to librdkafka; frees what it asks for.
void kafka_survey_submit(struct kafka_request *request);
void kafka_survey_free(struct kafka_request *request);

// ---- kafka_producer.c: lanes, topics and delivery reports -----------------------------------------------------------

// librdkafka bounds a batch for a whole producer, Kafka for each topic: topics with the same bound share a lane, one
// librdkafka producer. A lane that dies is given a new one after a pause.
struct kafka_lane {
    struct kafka_lane *next;
    struct kafka_producer *producer;
    struct kafka *kafka;  // NULL between one that died and its successor
    int limit;            // max.message.bytes of its topics
    uint64_t in_flight;   // records given to librdkafka and not reported yet
    size_t drop_bytes;    // of those, the bytes that came from outboxes
    bool full, dying, closing;
    bool stopped;        // fenced: never again
    char failure[256];   // why it died or stopped
    int64_t restart_ns;  // monotonic
    int64_t pause_ns;    // before the next restart
};

struct kafka_topic {
    struct kafka_topic *next;
    struct kafka_producer *producer;
    char *name;
    int limit;  // max.message.bytes as far as it is known
    bool known, asking;
    bool held;              // records wait for somebody who creates it
    bool missing;           // it was not there when asked: ask again after the first delivery
    int64_t begun_ns;       // since when it is written to, monotonic
    int64_t hold_until_ns;  // records wait for the limit that long, monotonic
    bool guessed;           // the limit may not be asked for
    int64_t ask_after_ns, look_after_ns, guess_after_ns;
    uint64_t delivered, failed;
    bool failing;
};

// A delivery report's opaque is the record's batch; this bit of it says that the record came from an outbox.
#define KAFKA_FROM_OUTBOX ((uintptr_t)1)

// A record in an outbox.
struct kafka_parcel {
    struct kafka_parcel *next;
    struct batch *batch;
    rd_kafka_headers_t *headers;
    size_t key_len, value_len;
    bool has_key;
    char bytes[];
};

// A topic as somebody writes to it. With drop_oldest it has an outbox, which lets the oldest go for another batch's.
struct kafka_sink {
    struct sink sink;
    struct kafka_sink *next;
    struct kafka_topic *topic;
    struct kafka_lane *lane;
    rd_kafka_topic_t *rkt;
    struct kafka *rkt_of;  // the instance that rkt belongs to
    struct wakeup room;
    bool refused;
    bool drop_oldest, dropping;
    size_t max_bytes, bytes;
    uint64_t count, dropped;
    struct kafka_parcel *first, *last;
};

struct kafka_producer {
    unsigned refs;  // who made it, its lanes, its timer, the sinks that are in somebody's hands
    uv_loop_t *loop;
    rd_kafka_conf_t *conf;
    struct kafka_report *report;
    struct kafka_lane *lanes;
    struct kafka_topic *topics;
    struct kafka_sink *sinks;
    struct wakeup idle;  // nothing is pending, or it may be so
    int max_message;     // message.max.bytes as given; 0 when it was not
    int batch_size;
    size_t queue_bytes;
    bool closed;
    uv_timer_t timer;
};

// conf is used up; `bounded` says that it sets message.max.bytes. NULL with a message when librdkafka refuses it.
struct kafka_producer *kafka_producer_new(uv_loop_t *loop, rd_kafka_conf_t *conf, bool bounded, char *error,
                                          size_t size);
// What is not delivered yet is reported as failed. Gives the caller's reference back; the rest goes when librdkafka has
// let go of everything.
void kafka_producer_close(struct kafka_producer *producer);
void kafka_producer_ref(struct kafka_producer *producer);
void kafka_producer_unref(struct kafka_producer *producer);
// The sink for a topic, the same for the same arguments; it lives as long as the producer.
struct kafka_sink *kafka_producer_sink(struct kafka_producer *producer, const char *name, bool drop_oldest,
                                       size_t max_bytes);
// Records for a topic wait as long as it is held.
void kafka_producer_hold(struct kafka_producer *producer, const char *name, bool held);
// Records that were taken and not reported yet.
uint64_t kafka_producer_pending(const struct kafka_producer *producer);
// An instance for requests; NULL while there is none (a lane that died waits for its successor).
struct kafka *kafka_producer_instance(struct kafka_producer *producer);
// For the sinks: the lane for a limit; the timer that sees to what waits; a record that was given up.
struct kafka_lane *kafka_producer_lane(struct kafka_producer *producer, int limit);
void kafka_producer_tick(struct kafka_producer *producer);
void kafka_topic_failed(struct kafka_topic *topic, const char *cause);
void kafka_topic_look_again(struct kafka_topic *topic);

// ---- kafka_sink.c: putting records ----------------------------------------------------------------------------------

struct kafka_sink *kafka_sink_new(struct kafka_topic *topic, bool drop_oldest, size_t max_bytes);
// headers may be NULL; they are used up when the result is SINK_OK.
enum sink_result kafka_sink_put(struct kafka_sink *sink, const struct sink_record *record, rd_kafka_headers_t *headers,
                                char *error, size_t size);
// There is room, or a limit came: empties outboxes as far as it goes and wakes who was refused.
void kafka_sinks_advance(struct kafka_producer *producer);
// Moves the sink to the lane that its topic's limit asks for.
void kafka_sink_settle(struct kafka_sink *sink);
// Lets go of the outbox, its batches reported with the cause.
void kafka_sink_abandon(struct kafka_sink *sink, const char *cause);
void kafka_sink_forget_instance(struct kafka_sink *sink);

// ---- kafka_consumer.c -----------------------------------------------------------------------------------------------

enum kafka_from { KAFKA_FROM_BEGINNING, KAFKA_FROM_END, KAFKA_FROM_OFFSET, KAFKA_FROM_TIME };

struct kafka_start {
    char *topic;
    int partition;  // -1: all
    enum kafka_from from;
    int64_t value;  // offset (below 0 counts from the end), or milliseconds since 1970
};

struct kafka_consumer {
    unsigned refs;  // who made it, its timer
    struct kafka *kafka;
    struct kafka_report *report;
    struct wakeup readable;
    struct kafka_start *starts;
    size_t start_count;
    bool assigning;   // partitions and offsets are being looked up, in steps:
    bool working;     // in a worker, or between two
    bool unanswered;  // the worker's: no broker answered this time
    bool closed;
    unsigned partitions;  // assigned
    char error[400];      // why there will never be a message; "" otherwise
    char problem[400];    // the worker's, until it is done
    // The partitions that are read from their beginning because their broker knows no offsets for a time, with the
    // time (in `offset`) before which messages are left out.
    rd_kafka_topic_partition_list_t *late;
    uv_work_t work;
    uv_timer_t again;
    uint64_t pause_ms;
};

enum kafka_received { KAFKA_NOTHING, KAFKA_MESSAGE, KAFKA_EOF, KAFKA_ERROR };

// What the consumer got, until the event is destroyed.
struct kafka_item {
    rd_kafka_event_t *event;
    const rd_kafka_message_t *message;
    const char *topic;  // with EOF, as partition and offset
    int partition;
    int64_t offset;
    rd_kafka_topic_partition_t *place;
    char error[400];
};

// conf is used up, starts is copied. With `group` it subscribes to the topics of starts, else it assigns them. NULL
// with a message when librdkafka refuses.
struct kafka_consumer *kafka_consumer_new(uv_loop_t *loop, rd_kafka_conf_t *conf, const struct kafka_start *starts,
                                          size_t count, bool group, char *error, size_t size);
// The next thing it got; never waits.
enum kafka_received kafka_consumer_next(struct kafka_consumer *consumer, struct kafka_item *item);
void kafka_item_free(struct kafka_item *item);
void kafka_consumer_close(struct kafka_consumer *consumer);

// ---- kafka_transaction.c: records and a position in one Kafka transaction
// --------------------------------------------

enum kafka_work { KAFKA_INIT, KAFKA_COMMIT, KAFKA_ABORT };

enum kafka_outcome {
    KAFKA_DONE,
    KAFKA_MUST_ABORT,  // nothing of the transaction will be seen once it is aborted
    KAFKA_FAILED,      // librdkafka gave the producer up; whether the transaction was committed is not known
    KAFKA_FENCED,      // the same; another producer has its transactional.id, or the broker gave up the transaction
    KAFKA_CLOSED
};

// Records of one batch in the transaction.
struct kafka_share {
    struct batch *batch;
    uint32_t count;
};

// A producer with a transactional.id, and the sink for one topic that it serves. A batch is reported when its
// transaction has ended, so that what was aborted is sent again by who has the batch.
struct kafka_transaction {
    struct sink sink;  // first: the ops get a pointer to it
    unsigned refs;     // who made it, its worker
    struct kafka *kafka;
    struct kafka_report *report;
    struct workers *workers;
    struct workers_job job;
    struct wakeup changed;  // work has ended, something failed, or there may be room
    char *topic;
    rd_kafka_topic_t *rkt;

    enum kafka_work work;  // the last that was asked for
    bool working, closed;
    atomic_bool cancelled;  // read by the worker
    enum kafka_outcome outcome;
    char error[400];

    bool open;      // records are taken
    bool broken;    // the transaction cannot be committed any more
    bool vague;     // its cause is not known exactly yet
    bool outgrown;  // the broker refused a batch as too large: the limit was lowered
    char cause[400];
    size_t bytes;
    uint64_t records;
    int64_t begun_ns;  // since its first record, monotonic
    struct kafka_share *shares;
    size_t share_count, share_room;
};

// conf is used up; limit: max.message.bytes of the topic. NULL with a message when librdkafka refuses.
struct kafka_transaction *kafka_transaction_new(uv_loop_t *loop, struct workers *workers, rd_kafka_conf_t *conf,
                                                const char *topic, size_t limit, char *error, size_t size);
// Starts what blocks in a worker: `changed` is signalled when it has ended, see outcome. Records are taken from then on
// when it went well. -1 when no worker could be started.
int kafka_transaction_work(struct kafka_transaction *transaction, enum kafka_work work);
// Puts a record for any topic that nobody waits for; headers are used up when the result is SINK_OK.
enum sink_result kafka_transaction_note(struct kafka_transaction *transaction, const char *topic, int partition,
                                        const struct sink_record *record, rd_kafka_headers_t *headers, char *error,
                                        size_t size);
// Reports the batches of a transaction whose end is known from elsewhere; error NULL: it was committed.
void kafka_transaction_settle(struct kafka_transaction *transaction, const char *error);
// Lets go of librdkafka without ending the transaction: the broker aborts it when its time is over, or when another
// producer with the same transactional.id begins.
void kafka_transaction_stop(struct kafka_transaction *transaction);
// The same; what was not settled is reported as failed.
void kafka_transaction_close(struct kafka_transaction *transaction);

// ---- kafka_mock.c ---------------------------------------------------------------------------------------------------

// A broker in this process for trying and testing. NULL with a message when it cannot be started.
struct kafka_mock *kafka_mock_new(char *error, size_t size);
// The one in `*home`, which everybody shares and the last one to close ends; started when there is none. `*started`
// tells.
struct kafka_mock *kafka_mock_share(struct kafka_mock **home, bool *started, char *error, size_t size);
const char *kafka_mock_address(const struct kafka_mock *mock);
// Creates a topic. 0, or -1 with a message.
int kafka_mock_topic(struct kafka_mock *mock, const char *topic, int partitions, char *error, size_t size);
// The next requests of a kind (Kafka's number of the API) are answered with these error codes.
void kafka_mock_fail(struct kafka_mock *mock, int api, const int *codes, size_t count);
// Takes the broker off the network, or puts it back.
void kafka_mock_reachable(struct kafka_mock *mock, bool reachable);
// Its end, when nobody shares it any more, runs in a worker of the loop.
void kafka_mock_close(struct kafka_mock *mock, uv_loop_t *loop);

#endif
