// The embedded broker: librdkafka's mock cluster on a loopback port of its own choosing, for trying and testing only.
// It keeps 5 MiB of each partition in memory and knows no CreateTopics, DescribeConfigs or offsets for a time. Owned by
// whoever made it, or by all who share it; its end blocks and runs in a worker.
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>
#include <stdlib.h>

#include "buf.h"
#include "kafka.h"

#define MAX_CODES 64

struct kafka_mock {
    unsigned refs;
    struct kafka_mock **home;  // where those who share it find it; NULL when it is somebody's own
    rd_kafka_t *rk;            // for librdkafka's own housekeeping
    rd_kafka_mock_cluster_t *cluster;
    uv_work_t work;
};

struct kafka_mock *kafka_mock_new(char *error, size_t size) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, NULL);
    rd_kafka_conf_set(conf, "client.id", "dbobs-broker", NULL, 0);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, size);
    if (!rk) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(rk, 1);
    if (!cluster) {
        snprintf(error, size, "librdkafka's mock broker does not start; is there a loopback network?");
        rd_kafka_destroy(rk);
        return NULL;
    }
    rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
    struct kafka_mock *mock = xcalloc(1, sizeof *mock);
    mock->refs = 1;
    mock->rk = rk;
    mock->cluster = cluster;
    mock->work.data = mock;
    return mock;
}

struct kafka_mock *kafka_mock_share(struct kafka_mock **home, bool *started, char *error, size_t size) {
    *started = !*home;
    if (*home) {
        (*home)->refs++;
    } else if ((*home = kafka_mock_new(error, size))) {
        (*home)->home = home;
    }
    return *home;
}

const char *kafka_mock_address(const struct kafka_mock *mock) {
    return rd_kafka_mock_cluster_bootstraps(mock->cluster);
}

int kafka_mock_topic(struct kafka_mock *mock, const char *topic, int partitions, char *error, size_t size) {
    rd_kafka_resp_err_t code = rd_kafka_mock_topic_create(mock->cluster, topic, partitions, 1);
    if (code) snprintf(error, size, "topic '%s': %s", topic, rd_kafka_err2str(code));
    return code ? -1 : 0;
}

void kafka_mock_fail(struct kafka_mock *mock, int api, const int *codes, size_t count) {
    rd_kafka_resp_err_t errors[MAX_CODES];
    if (count > MAX_CODES) count = MAX_CODES;
    for (size_t i = 0; i < count; i++) errors[i] = (rd_kafka_resp_err_t)codes[i];
    rd_kafka_mock_push_request_errors_array(mock->cluster, (int16_t)api, count, errors);
}

void kafka_mock_reachable(struct kafka_mock *mock, bool reachable) {
    if (reachable) rd_kafka_mock_broker_set_up(mock->cluster, 1);
    else rd_kafka_mock_broker_set_down(mock->cluster, 1);
}

static void destroy(uv_work_t *work) {
    struct kafka_mock *mock = work->data;
    rd_kafka_mock_cluster_destroy(mock->cluster);
    rd_kafka_destroy(mock->rk);
}

static void on_destroyed(uv_work_t *work, int status) {
    (void)status;
    free(work->data);
}

void kafka_mock_close(struct kafka_mock *mock, uv_loop_t *loop) {
    if (--mock->refs) return;
    if (mock->home) *mock->home = NULL;
    uv_queue_work(loop, &mock->work, destroy, on_destroyed);
}
