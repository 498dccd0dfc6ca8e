// Requests to the cluster: topics listed, created and described, and the question whether a broker is there. Answers
// come as events on the instance's queue; listing blocks in librdkafka and runs in a worker, in short steps so that an
// end need not wait for it. What can fail is told in words that say what to do.
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "kafka.h"

#define STEP_MS 250

// ---- texts -----------------------------------------------------------------

const char *kafka_explain(rd_kafka_resp_err_t code, const char *topic, const char *acl, char *text, size_t size) {
    switch (code) {
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        snprintf(text, size, "not allowed: give the Kafka user the ACL %s on topic '%s'", acl, topic);
        break;
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        snprintf(text, size, "not allowed: give the Kafka user the ACL %s on topic '%s' or on the cluster", acl, topic);
        break;
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        snprintf(text, size, "not allowed: give the Kafka user the ACL Read on the consumer group");
        break;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
        snprintf(text, size, "topic '%s' does not exist; create it: dbobs topics create %s", topic, topic);
        break;
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        snprintf(text, size, "topic '%s' has no such partition", topic);
        break;
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        snprintf(text, size, "no broker answered in time; is it running, and is bootstrap.servers right?");
        break;
    case RD_KAFKA_RESP_ERR__DESTROY:
        snprintf(text, size, "closed");
        break;
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
        snprintf(text, size, "the embedded broker cannot do that");
        break;
    default:
        snprintf(text, size, "%s", rd_kafka_err2str(code));
    }
    return text;
}

// ---- life of a request -----------------------------------------------------

struct kafka_request *kafka_request_new(struct kafka *kafka, enum kafka_request_kind kind, const char *topic,
                                        int timeout_ms) {
    struct kafka_request *request = xcalloc(1, sizeof *request);
    request->kind = kind;
    request->refs = 2;
    request->kafka = kafka;
    request->topic = topic ? xstrdup(topic) : NULL;
    request->timeout_ms = timeout_ms;
    request->work.data = request;
    request->next = kafka->requests;
    request->link = &kafka->requests;
    if (request->next) request->next->link = &request->next;
    kafka->requests = request;
    return request;
}

static void free_config(struct kafka_request *request) {
    for (size_t i = 0; i < request->config_count; i++) {
        free(request->config[i].name);
        free(request->config[i].value);
    }
    free(request->config);
}

void kafka_request_unref(struct kafka_request *request) {
    if (--request->refs) return;
    if (request->listed) rd_kafka_metadata_destroy(request->listed);
    if (request->creation) rd_kafka_NewTopic_destroy(request->creation);
    free_config(request);
    kafka_survey_free(request);
    free(request->topic);
    free(request);
}

static void unlink_request(struct kafka_request *request) {
    if (!request->link) return;
    *request->link = request->next;
    if (request->next) request->next->link = request->link;
    request->link = NULL;
    request->next = NULL;
}

static void fail(struct kafka_request *request, rd_kafka_resp_err_t code, const char *text) {
    static const char *const acls[] = {
        [KAFKA_LIST] = "Describe",    [KAFKA_CREATE] = "Create",     [KAFKA_DESCRIBE] = "DescribeConfigs",
        [KAFKA_PROBE] = "Describe",   [KAFKA_OFFSETS] = "Describe",  [KAFKA_GROUPS] = "Describe",
        [KAFKA_MEMBERS] = "Describe", [KAFKA_COMMITTED] = "Describe"};
    request->code = code;
    const char *topic = request->topic ? request->topic : "*";
    kafka_explain(code, topic, acls[request->kind], request->error, sizeof request->error);
    bool unanswered = code == RD_KAFKA_RESP_ERR__TRANSPORT || code == RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (unanswered && request->kafka && request->kafka->suspect)
        snprintf(request->error, sizeof request->error, "no broker can be reached: %s", request->kafka->last_error);
    // The broker's own words are better where it gives a reason that is not in the code.
    bool plain = strcmp(request->error, rd_kafka_err2str(code)) == 0;
    if (plain && text && *text) snprintf(request->error, sizeof request->error, "%s", text);
}

static void finish(struct kafka_request *request) {
    unlink_request(request);
    request->kafka = NULL;
    request->finished = true;
    if (request->answered) request->answered(request);
    wakeup_signal(&request->done);
    kafka_request_unref(request);
}

void kafka_request_abandon(struct kafka_request *request) {
    unlink_request(request);
    request->answered = NULL;
    if (request->working) {
        request->cancelled = true;  // its worker lets go of the instance, then it finishes
        return;
    }
    fail(request, RD_KAFKA_RESP_ERR__DESTROY, NULL);
    finish(request);
}

// ---- in a worker -----------------------------------------------------------

// A producer's metadata request for one topic makes the broker create it, where that is allowed.
static rd_kafka_resp_err_t create_by_asking(struct kafka_request *request) {
    rd_kafka_t *rk = request->kafka->rk;
    const struct rd_kafka_metadata *found;
    rd_kafka_resp_err_t code = rd_kafka_metadata(rk, 1, NULL, &found, STEP_MS);
    if (code) return code;
    bool there = false;
    for (int i = 0; i < found->topic_cnt; i++) there |= strcmp(found->topics[i].topic, request->topic) == 0;
    rd_kafka_metadata_destroy(found);
    if (there) return RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS;
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, request->topic, NULL);
    if (!rkt) return rd_kafka_last_error();
    code = rd_kafka_metadata(rk, 0, rkt, &found, STEP_MS);
    if (!code) {
        if (found->topic_cnt) code = found->topics[0].err;
        rd_kafka_metadata_destroy(found);
    }
    rd_kafka_topic_destroy(rkt);
    return code;
}

// Requests that go to the controller never end with a mock broker, which has none: it is found out first.
static rd_kafka_resp_err_t look_for_mock(struct kafka_request *request) {
    const struct rd_kafka_metadata *found;
    rd_kafka_resp_err_t code = rd_kafka_metadata(request->kafka->rk, 0, NULL, &found, STEP_MS);
    if (code) return code;
    rd_kafka_metadata_destroy(found);
    request->fallback = kafka_is_mock(request->kafka->rk, 0);
    if (!request->fallback) return RD_KAFKA_RESP_ERR_NO_ERROR;
    return request->kind == KAFKA_CREATE ? create_by_asking(request) : RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE;
}

static rd_kafka_resp_err_t step(struct kafka_request *request) {
    const struct rd_kafka_metadata *found;
    rd_kafka_resp_err_t code;
    switch (request->kind) {
    case KAFKA_LIST:
        return rd_kafka_metadata(request->kafka->rk, 1, NULL, &request->listed, STEP_MS);
    case KAFKA_PROBE:
        code = rd_kafka_metadata(request->kafka->rk, 0, NULL, &found, STEP_MS);
        if (!code) rd_kafka_metadata_destroy(found);
        return code;
    default:
        return look_for_mock(request);
    }
}

static void work(uv_work_t *work) {
    struct kafka_request *request = work->data;
    uint64_t until = uv_hrtime() + (uint64_t)request->timeout_ms * 1000000;
    do {
        request->code = step(request);
        if (request->code != RD_KAFKA_RESP_ERR__TRANSPORT && request->code != RD_KAFKA_RESP_ERR__TIMED_OUT &&
            request->code != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
            return;
        uv_sleep(10);
    } while (!request->cancelled && uv_hrtime() < until);
}

static void submit(struct kafka_request *request);

static void on_worked(uv_work_t *work, int status) {
    (void)status;
    struct kafka_request *request = work->data;
    struct kafka *kafka = request->kafka;
    request->working = false;
    bool goes_on = request->kind != KAFKA_LIST && request->kind != KAFKA_PROBE;
    if (request->cancelled) request->code = RD_KAFKA_RESP_ERR__DESTROY;
    if (request->code) fail(request, request->code, NULL);
    if (goes_on && !request->code && !request->fallback) submit(request);
    else finish(request);
    kafka_unref(kafka);
}

void kafka_request_start(struct kafka_request *request) {
    request->working = true;
    request->kafka->refs++;
    uv_queue_work(request->kafka->loop, &request->work, work, on_worked);
}

// ---- answers ---------------------------------------------------------------

static void take_config(struct kafka_request *request, rd_kafka_event_t *event) {
    size_t count;
    const rd_kafka_ConfigResource_t **resources =
        rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &count);
    if (count == 0) return;
    rd_kafka_resp_err_t code = rd_kafka_ConfigResource_error(resources[0]);
    if (code) {
        fail(request, code, rd_kafka_ConfigResource_error_string(resources[0]));
        return;
    }
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resources[0], &count);
    request->config = xcalloc(count, sizeof *request->config);
    request->config_count = count;
    for (size_t i = 0; i < count; i++) {
        const char *value = rd_kafka_ConfigEntry_value(entries[i]);
        request->config[i].name = xstrdup(rd_kafka_ConfigEntry_name(entries[i]));
        if (value && !rd_kafka_ConfigEntry_is_sensitive(entries[i])) request->config[i].value = xstrdup(value);
    }
}

static void take_created(struct kafka_request *request, rd_kafka_event_t *event) {
    size_t count;
    const rd_kafka_topic_result_t **topics =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    if (count == 0) return;
    rd_kafka_resp_err_t code = rd_kafka_topic_result_error(topics[0]);
    if (code) fail(request, code, rd_kafka_topic_result_error_string(topics[0]));
}

void kafka_request_event(rd_kafka_event_t *event) {
    struct kafka_request *request = rd_kafka_event_opaque(event);
    if (!request) {
        rd_kafka_event_destroy(event);
        return;
    }
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    if (code) fail(request, code, rd_kafka_event_error_string(event));
    else if (request->kind == KAFKA_DESCRIBE) take_config(request, event);
    else if (request->kind == KAFKA_CREATE) take_created(request, event);
    else request->answer = event;
    if (!request->answer) rd_kafka_event_destroy(event);
    finish(request);
}

// ---- requests --------------------------------------------------------------

static void submit(struct kafka_request *request) {
    struct kafka *kafka = request->kafka;
    if (request->kind >= KAFKA_OFFSETS) {
        kafka_survey_submit(request);
        return;
    }
    bool creates = request->kind == KAFKA_CREATE;
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(
        kafka->rk, creates ? RD_KAFKA_ADMIN_OP_CREATETOPICS : RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_AdminOptions_set_request_timeout(options, request->timeout_ms, NULL, 0);
    rd_kafka_AdminOptions_set_opaque(options, request);
    if (creates) {
        rd_kafka_AdminOptions_set_operation_timeout(options, request->timeout_ms, NULL, 0);
        rd_kafka_CreateTopics(kafka->rk, &request->creation, 1, options, kafka->queue);
    } else {
        rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, request->topic);
        rd_kafka_DescribeConfigs(kafka->rk, &resource, 1, options, kafka->queue);
        rd_kafka_ConfigResource_destroy(resource);
    }
    rd_kafka_AdminOptions_destroy(options);
}

struct kafka_request *kafka_list(struct kafka *kafka, int timeout_ms) {
    struct kafka_request *request = kafka_request_new(kafka, KAFKA_LIST, NULL, timeout_ms);
    kafka_request_start(request);
    return request;
}

struct kafka_request *kafka_create(struct kafka *kafka, const char *topic, int partitions, int replication,
                                   const char *const *config, int timeout_ms, char *error, size_t size) {
    rd_kafka_NewTopic_t *creation = rd_kafka_NewTopic_new(topic, partitions, replication, error, size);
    if (!creation) return NULL;
    for (; *config; config += 2) rd_kafka_NewTopic_set_config(creation, config[0], config[1]);
    struct kafka_request *request = kafka_request_new(kafka, KAFKA_CREATE, topic, timeout_ms);
    request->creation = creation;
    kafka_request_start(request);
    return request;
}

struct kafka_request *kafka_describe(struct kafka *kafka, const char *topic, int timeout_ms,
                                     void (*answered)(struct kafka_request *), void *context) {
    struct kafka_request *request = kafka_request_new(kafka, KAFKA_DESCRIBE, topic, timeout_ms);
    request->answered = answered;
    request->context = context;
    if (answered) submit(request);
    else kafka_request_start(request);
    return request;
}

struct kafka_request *kafka_probe(struct kafka *kafka, void (*answered)(struct kafka_request *), void *context) {
    struct kafka_request *request = kafka_request_new(kafka, KAFKA_PROBE, NULL, 0);
    request->answered = answered;
    request->context = context;
    kafka_request_start(request);
    return request;
}
