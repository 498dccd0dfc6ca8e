// One librdkafka instance on the loop: its eventfd and the serving of its queue, errors and log lines turned into what
// is worth telling, the watch for brokers that are away, and its end in a worker, because that blocks. Owned by a lane
// of a producer or by a consumer; requests in workers hold it too. Starting fails on properties that contradict.
#include "kafka.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "buf.h"
#include "clock.h"

#define MAX_NOTICES 64
// A broker that closes idle connections looks like one that is away until it was asked a few times more.
#define SUSPECT_NS 2000000000LL
#define PROBE_PAUSE_MS 500
#define CLOSE_NS 1500000000

// ---- configuration ---------------------------------------------------------

static bool is_secret(const char *name) {
    return strstr(name, "password") || strstr(name, "secret") || strstr(name, ".pem") ||
           strstr(name, "oauthbearer.config");
}

rd_kafka_conf_t *kafka_conf_new(const char *const *pairs, char *error, size_t size, bool *unknown) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    *unknown = false;
    for (; *pairs; pairs += 2) {
        char cause[256];
        rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, pairs[0], pairs[1], cause, sizeof cause);
        if (result == RD_KAFKA_CONF_OK) continue;
        *unknown = result == RD_KAFKA_CONF_UNKNOWN;
        if (*unknown) snprintf(error, size, "%s", pairs[0]);
        else if (is_secret(pairs[0]))
            snprintf(error, size, "property '%s': librdkafka does not take its value", pairs[0]);
        else snprintf(error, size, "property '%s': %s", pairs[0], cause);
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    return conf;
}

// ---- report ----------------------------------------------------------------

struct kafka_report *kafka_report_new(void) {
    struct kafka_report *report = xcalloc(1, sizeof *report);
    report->refs = 1;
    return report;
}

void kafka_report_ref(struct kafka_report *report) {
    report->refs++;
}

void kafka_report_unref(struct kafka_report *report) {
    if (--report->refs) return;
    struct kafka_notice *notice;
    while ((notice = kafka_report_take(report))) free(notice);
    free(report);
}

void kafka_report_add(struct kafka_report *report, int level, const char *format, ...) {
    if (report->count >= MAX_NOTICES) {
        report->lost++;
        return;
    }
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct kafka_notice *notice = xmalloc(sizeof *notice + strlen(text) + 1);
    notice->next = NULL;
    notice->level = level;
    strcpy(notice->text, text);
    if (report->last) report->last->next = notice;
    else report->first = notice;
    report->last = notice;
    report->count++;
    wakeup_signal(&report->changed);
}

struct kafka_notice *kafka_report_take(struct kafka_report *report) {
    struct kafka_notice *notice = report->first;
    if (!notice) return NULL;
    report->first = notice->next;
    if (!report->first) report->last = NULL;
    report->count--;
    return notice;
}

// ---- brokers away ----------------------------------------------------------

static void set_down(struct kafka *kafka, bool down) {
    if (down) snprintf(kafka->report->cause, sizeof kafka->report->cause, "%s", kafka->last_error);
    if (down == kafka->down) return;
    kafka->down = down;
    kafka->report->down += down ? 1 : -1U;
    wakeup_signal(&kafka->report->changed);
}

void kafka_is_up(struct kafka *kafka) {
    if (!kafka->suspect) return;
    kafka->suspect = false;
    set_down(kafka, false);
    uv_timer_stop(&kafka->retry);
}

static void on_probed(struct kafka_request *request);

// librdkafka tells when the last broker is gone, but not when one is back: it is asked, again and again.
static void on_retry(uv_timer_t *timer) {
    struct kafka *kafka = timer->data;
    if (kafka->suspect) kafka_request_unref(kafka_probe(kafka, on_probed, kafka));
}

static void on_probed(struct kafka_request *request) {
    struct kafka *kafka = request->context;
    if (!kafka->suspect) return;
    if (request->code != RD_KAFKA_RESP_ERR__TIMED_OUT && request->code != RD_KAFKA_RESP_ERR__TRANSPORT) {
        kafka_is_up(kafka);  // whatever else it says, a broker said it
        return;
    }
    if (clock_monotonic_ns() - kafka->suspect_since_ns > SUSPECT_NS) set_down(kafka, true);
    uv_timer_start(&kafka->retry, on_retry, PROBE_PAUSE_MS, 0);
}

static void begin_suspicion(struct kafka *kafka) {
    if (kafka->suspect) return;
    kafka->suspect = true;
    kafka->suspect_since_ns = clock_monotonic_ns();
    uv_timer_start(&kafka->retry, on_retry, PROBE_PAUSE_MS, 0);
}

bool kafka_is_mock(rd_kafka_t *rk, int timeout_ms) {
    static const char prefix[] = "mockCluster";
    char *id = rd_kafka_clusterid(rk, timeout_ms);
    bool mock = id && strncmp(id, prefix, sizeof prefix - 1) == 0;
    if (id) rd_kafka_mem_free(rk, id);
    return mock;
}

static void remember_error(struct kafka *kafka, const char *text) {
    const char *suffix = strstr(text, " (after ");
    int len = suffix ? (int)(suffix - text) : (int)strlen(text);
    snprintf(kafka->last_error, sizeof kafka->last_error, "%.*s", len, text);
}

// ---- events ----------------------------------------------------------------

// Returns whether the error concerns connections and is dealt with; others are the owner's.
static bool take_error(struct kafka *kafka, rd_kafka_event_t *event) {
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    const char *text = rd_kafka_event_error_string(event);
    if (rd_kafka_event_error_is_fatal(event)) {
        kafka->ops->fatal(kafka, code, text);
        return true;
    }
    switch (code) {
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__TRANSPORT:
        remember_error(kafka, text);
        kafka_report_add(kafka->report, 7, "%s", text);
        return true;
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        begin_suspicion(kafka);
        return true;
    default:
        return false;
    }
}

static void take_log(struct kafka *kafka, rd_kafka_event_t *event) {
    const char *facility, *text;
    int level;
    if (rd_kafka_event_log(event, &facility, &text, &level)) return;
    // What also comes as an error event, or as the result of a call, is for debugging only.
    static const char *const twice[] = {"FAIL", "ERROR", "FATAL", "FATALERR", "TXNERR", "ADDPARTS"};
    for (size_t i = 0; i < sizeof twice / sizeof *twice; i++)
        if (strcmp(facility, twice[i]) == 0) level = 7;
    if (strcmp(facility, "GETPID") == 0 && strstr(text, "retrying"))
        level = 7;  // as a broker does that has just started
    const char *rest = strncmp(text, "[thrd:", 6) == 0 ? strstr(text, "]: ") : NULL;
    kafka_report_add(kafka->report, level, "%s: %s", facility, rest ? rest + 3 : text);
}

rd_kafka_event_t *kafka_next(struct kafka *kafka) {
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(kafka->queue, 0))) {
        switch (rd_kafka_event_type(event)) {
        case RD_KAFKA_EVENT_DR:
        case RD_KAFKA_EVENT_FETCH:
            return event;
        case RD_KAFKA_EVENT_ERROR:
            if (!take_error(kafka, event)) return event;
            rd_kafka_event_destroy(event);
            break;
        case RD_KAFKA_EVENT_LOG:
            take_log(kafka, event);
            rd_kafka_event_destroy(event);
            break;
        default:
            kafka_request_event(event);
        }
    }
    return NULL;
}

void kafka_again(struct kafka *kafka) {
    eventfd_write(kafka->fd, 1);
}

static void on_readable(uv_poll_t *poll, int status, int events) {
    (void)status;
    (void)events;
    struct kafka *kafka = poll->data;
    eventfd_t count;
    eventfd_read(kafka->fd, &count);
    kafka->ops->readable(kafka);
}

// ---- life ------------------------------------------------------------------

static void watch(struct kafka *kafka) {
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(kafka->queue, kafka->fd, &one, sizeof one);
    uv_timer_init(kafka->loop, &kafka->retry);
    kafka->poll.data = kafka->retry.data = kafka;
    kafka->handles = 2;
    uv_poll_start(&kafka->poll, UV_READABLE, on_readable);
    kafka_again(kafka);  // for what came before the queue was watched
}

struct kafka *kafka_new(uv_loop_t *loop, rd_kafka_type_t type, rd_kafka_conf_t *conf, struct kafka_report *report,
                        const struct kafka_ops *ops, void *owner, char *error, size_t size) {
    bool consumes = type == RD_KAFKA_CONSUMER;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG |
                                       (consumes ? RD_KAFKA_EVENT_FETCH : RD_KAFKA_EVENT_DR));
    rd_kafka_conf_set(conf, "log.queue", "true", NULL, 0);
    rd_kafka_conf_set_log_cb(conf, NULL);  // what it says after its queue is gone nobody needs
    rd_kafka_t *rk = rd_kafka_new(type, conf, error, size);
    if (!rk) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    struct kafka *kafka = xcalloc(1, sizeof *kafka);
    kafka->rk = rk;
    kafka->loop = loop;
    kafka->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int code = kafka->fd < 0 ? -errno : uv_poll_init(loop, &kafka->poll, kafka->fd);
    if (code) {
        snprintf(error, size, "cannot watch its queue: %s", uv_strerror(code));
        if (kafka->fd >= 0) close(kafka->fd);
        rd_kafka_destroy(rk);
        free(kafka);
        return NULL;
    }
    kafka->ops = ops;
    kafka->owner = owner;
    kafka->report = report;
    kafka_report_ref(report);
    kafka->refs = 1;
    snprintf(kafka->last_error, sizeof kafka->last_error, "no connection");
    if (consumes) rd_kafka_poll_set_consumer(rk);
    kafka->queue = consumes ? rd_kafka_queue_get_consumer(rk) : rd_kafka_queue_get_main(rk);
    rd_kafka_set_log_queue(rk, kafka->queue);
    watch(kafka);
    return kafka;
}

static void free_if_done(struct kafka *kafka) {
    if (kafka->handles || kafka->refs) return;
    close(kafka->fd);
    free(kafka);
}

static void on_closed(uv_handle_t *handle) {
    struct kafka *kafka = handle->data;
    kafka->handles--;
    free_if_done(kafka);
}

// A consumer commits and leaves its group, which a broker that is away must not hold up for long.
static void close_consumer(struct kafka *kafka) {
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(kafka->rk, kafka->queue);
    if (error) {
        rd_kafka_error_destroy(error);
        return;
    }
    uint64_t until = uv_hrtime() + CLOSE_NS;
    while (!rd_kafka_consumer_closed(kafka->rk) && uv_hrtime() < until)
        rd_kafka_event_destroy(rd_kafka_queue_poll(kafka->queue, 20));
}

static void destroy(uv_work_t *work) {
    struct kafka *kafka = work->data;
    if (rd_kafka_type(kafka->rk) == RD_KAFKA_CONSUMER) close_consumer(kafka);
    rd_kafka_queue_io_event_enable(kafka->queue, -1, NULL, 0);
    rd_kafka_queue_destroy(kafka->queue);
    rd_kafka_destroy_flags(kafka->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

static void on_destroyed(uv_work_t *work, int status) {
    (void)status;
    struct kafka *kafka = work->data;
    kafka->handles--;
    free_if_done(kafka);
}

void kafka_unref(struct kafka *kafka) {
    if (--kafka->refs) return;
    kafka->handles++;
    kafka->destroy.data = kafka;
    uv_queue_work(kafka->loop, &kafka->destroy, destroy, on_destroyed);
}

void kafka_release(struct kafka *kafka) {
    kafka->owner = NULL;
    struct kafka_request *next;
    for (struct kafka_request *request = kafka->requests; request; request = next) {
        next = request->next;
        kafka_request_abandon(request);
    }
    set_down(kafka, false);
    kafka_report_unref(kafka->report);
    kafka->report = NULL;
    uv_close((uv_handle_t *)&kafka->poll, on_closed);
    uv_close((uv_handle_t *)&kafka->retry, on_closed);
    kafka_unref(kafka);
}
