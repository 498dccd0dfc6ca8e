// What is in a cluster, for those who watch it: the ends of partitions, consumer groups, their members and committed
// offsets. Requests as in kafka_admin.c, whose answers stay librdkafka's events until the request goes. The embedded
// broker knows no groups.
#include <librdkafka/rdkafka.h>
#include <stdlib.h>

#include "buf.h"
#include "kafka.h"

static rd_kafka_AdminOptions_t *options_of(struct kafka_request *request, rd_kafka_admin_op_t operation) {
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(request->kafka->rk, operation);
    rd_kafka_AdminOptions_set_request_timeout(options, request->timeout_ms, NULL, 0);
    rd_kafka_AdminOptions_set_opaque(options, request);
    return options;
}

static void ask_committed(struct kafka_request *request, const rd_kafka_AdminOptions_t *options) {
    rd_kafka_ListConsumerGroupOffsets_t *wanted = rd_kafka_ListConsumerGroupOffsets_new(request->groups[0], NULL);
    rd_kafka_ListConsumerGroupOffsets(request->kafka->rk, &wanted, 1, options, request->kafka->queue);
    rd_kafka_ListConsumerGroupOffsets_destroy(wanted);
}

void kafka_survey_submit(struct kafka_request *request) {
    static const rd_kafka_admin_op_t operations[] = {
        [KAFKA_OFFSETS] = RD_KAFKA_ADMIN_OP_LISTOFFSETS,
        [KAFKA_GROUPS] = RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS,
        [KAFKA_MEMBERS] = RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS,
        [KAFKA_COMMITTED] = RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS,
    };
    rd_kafka_t *rk = request->kafka->rk;
    rd_kafka_queue_t *queue = request->kafka->queue;
    rd_kafka_AdminOptions_t *options = options_of(request, operations[request->kind]);
    switch (request->kind) {
    case KAFKA_OFFSETS:
        rd_kafka_ListOffsets(rk, request->places, options, queue);
        break;
    case KAFKA_GROUPS:
        rd_kafka_ListConsumerGroups(rk, options, queue);
        break;
    case KAFKA_MEMBERS:
        rd_kafka_DescribeConsumerGroups(rk, (const char **)request->groups, request->group_count, options, queue);
        break;
    default:
        ask_committed(request, options);
    }
    rd_kafka_AdminOptions_destroy(options);
}

void kafka_survey_free(struct kafka_request *request) {
    if (request->answer) rd_kafka_event_destroy(request->answer);
    if (request->places) rd_kafka_topic_partition_list_destroy(request->places);
    for (size_t i = 0; i < request->group_count; i++) free(request->groups[i]);
    free(request->groups);
}

// Leaders of partitions answer this one, which the embedded broker has: it needs no look before.
struct kafka_request *kafka_offsets(struct kafka *kafka, rd_kafka_topic_partition_list_t *places, int timeout_ms) {
    struct kafka_request *request = kafka_request_new(kafka, KAFKA_OFFSETS, NULL, timeout_ms);
    request->places = places;
    kafka_survey_submit(request);
    return request;
}

struct kafka_request *kafka_groups(struct kafka *kafka, int timeout_ms) {
    struct kafka_request *request = kafka_request_new(kafka, KAFKA_GROUPS, NULL, timeout_ms);
    kafka_request_start(request);
    return request;
}

static struct kafka_request *about_groups(struct kafka *kafka, enum kafka_request_kind kind, const char *const *groups,
                                          size_t count, int timeout_ms) {
    struct kafka_request *request = kafka_request_new(kafka, kind, NULL, timeout_ms);
    request->groups = xcalloc(count, sizeof *request->groups);
    request->group_count = count;
    for (size_t i = 0; i < count; i++) request->groups[i] = xstrdup(groups[i]);
    kafka_request_start(request);
    return request;
}

struct kafka_request *kafka_members(struct kafka *kafka, const char *const *groups, size_t count, int timeout_ms) {
    return about_groups(kafka, KAFKA_MEMBERS, groups, count, timeout_ms);
}

struct kafka_request *kafka_committed(struct kafka *kafka, const char *group, int timeout_ms) {
    return about_groups(kafka, KAFKA_COMMITTED, &group, 1, timeout_ms);
}
