// Binding "dbobs.core.kafka_survey": brokers, topics with their partitions, the ends of partitions, consumer groups.
// Each function starts a request through a producer of dbobs.core.kafka and returns it; a request can be waited for,
// and its result is `false` as long as it runs. Nothing here waits.
#include "bindings.h"
#include "buf.h"
#include "kafka.h"
#include "luax.h"

#define PRODUCER_CLASS "dbobs.kafka_producer"  // of dbobs.core.kafka, which the library opens before
#define SURVEY_CLASS "dbobs.kafka_survey"
#define MAX_TIMEOUT_MS 3600000  // as librdkafka has it
#define MAX_GROUPS 256

// The instance of the producer at 1 and the time limit at index; NULL with nil and a message pushed while there is
// none.
static struct kafka *check_instance(lua_State *lua, int index, int *timeout_ms) {
    struct kafka_producer *producer = luax_boxed(lua, PRODUCER_CLASS);
    double ms = luaL_checknumber(lua, index) * 1000;
    *timeout_ms = ms < MAX_TIMEOUT_MS ? (int)ms : MAX_TIMEOUT_MS;
    struct kafka *kafka = kafka_producer_instance(producer);
    if (!kafka) luax_fail(lua, "the Kafka client failed; a new one starts in a moment");
    return kafka;
}

static int push_request(lua_State *lua, struct kafka_request *request) {
    luax_box(lua, SURVEY_CLASS, request);
    return 1;
}

// cluster(producer, seconds) -> request | nil, error
static int l_cluster(lua_State *lua) {
    int timeout_ms;
    struct kafka *kafka = check_instance(lua, 2, &timeout_ms);
    return kafka ? push_request(lua, kafka_list(kafka, timeout_ms)) : 2;
}

// The table at index, {topic = {partition, ...}}, with which end is asked for. Everything is checked before anything is
// allocated.
static rd_kafka_topic_partition_list_t *read_places(lua_State *lua, int index, int64_t which) {
    for (lua_pushnil(lua); lua_next(lua, index); lua_pop(lua, 1)) {
        luaL_argcheck(lua, lua_type(lua, -2) == LUA_TSTRING && lua_istable(lua, -1), index, "lists by topics expected");
        for (size_t i = lua_objlen(lua, -1); i > 0; i--) {
            lua_rawgeti(lua, -1, (int)i);
            luaL_checkinteger(lua, -1);
            lua_pop(lua, 1);
        }
    }
    rd_kafka_topic_partition_list_t *places = rd_kafka_topic_partition_list_new(16);
    for (lua_pushnil(lua); lua_next(lua, index); lua_pop(lua, 1)) {
        size_t count = lua_objlen(lua, -1);
        for (size_t i = 1; i <= count; i++) {
            lua_rawgeti(lua, -1, (int)i);
            int32_t partition = (int32_t)lua_tointeger(lua, -1);
            rd_kafka_topic_partition_list_add(places, lua_tostring(lua, -3), partition)->offset = which;
            lua_pop(lua, 1);
        }
    }
    return places;
}

// "beginning", "end" or milliseconds since 1970 at index, as librdkafka's OffsetSpec.
static int64_t check_which(lua_State *lua, int index) {
    static const char *const ends[] = {"beginning", "end", NULL};
    if (lua_type(lua, index) != LUA_TNUMBER)
        return luaL_checkoption(lua, index, NULL, ends) ? RD_KAFKA_OFFSET_SPEC_LATEST : RD_KAFKA_OFFSET_SPEC_EARLIEST;
    double time = lua_tonumber(lua, index);
    luaL_argcheck(lua, time >= 0 && time < 1e15, index, "milliseconds since 1970 expected");
    return (int64_t)time;
}

// offsets(producer, {topic = {partition, ...}}, "beginning"|"end"|milliseconds, seconds) -> request | nil, error
static int l_offsets(lua_State *lua) {
    luaL_checktype(lua, 2, LUA_TTABLE);
    int64_t which = check_which(lua, 3);
    int timeout_ms;
    struct kafka *kafka = check_instance(lua, 4, &timeout_ms);
    if (!kafka) return 2;
    return push_request(lua, kafka_offsets(kafka, read_places(lua, 2, which), timeout_ms));
}

// groups(producer, seconds) -> request | nil, error
static int l_groups(lua_State *lua) {
    int timeout_ms;
    struct kafka *kafka = check_instance(lua, 2, &timeout_ms);
    return kafka ? push_request(lua, kafka_groups(kafka, timeout_ms)) : 2;
}

// members(producer, {group, ...}, seconds) -> request | nil, error
static int l_members(lua_State *lua) {
    const char *groups[MAX_GROUPS];
    luaL_checktype(lua, 2, LUA_TTABLE);
    size_t count = lua_objlen(lua, 2);
    luaL_argcheck(lua, count > 0 && count <= MAX_GROUPS, 2, "1 to 256 groups expected");
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(lua, 2, (int)i + 1);
        groups[i] = luaL_checkstring(lua, -1);
        lua_pop(lua, 1);  // the table keeps the text
    }
    int timeout_ms;
    struct kafka *kafka = check_instance(lua, 3, &timeout_ms);
    return kafka ? push_request(lua, kafka_members(kafka, groups, count, timeout_ms)) : 2;
}

// committed(producer, group, seconds) -> request | nil, error
static int l_committed(lua_State *lua) {
    const char *group = luaL_checkstring(lua, 2);
    int timeout_ms;
    struct kafka *kafka = check_instance(lua, 3, &timeout_ms);
    return kafka ? push_request(lua, kafka_committed(kafka, group, timeout_ms)) : 2;
}

// ---- results ---------------------------------------------------------------

static void set_text(lua_State *lua, const char *name, const char *text) {
    lua_pushstring(lua, text);
    lua_setfield(lua, -2, name);
}

static void set_error(lua_State *lua, rd_kafka_resp_err_t code) {
    if (code) set_text(lua, "error", rd_kafka_err2str(code));
}

static void push_partitions(lua_State *lua, const rd_kafka_metadata_topic_t *topic) {
    lua_createtable(lua, topic->partition_cnt, 0);
    for (int i = 0; i < topic->partition_cnt; i++) {
        const rd_kafka_metadata_partition_t *partition = &topic->partitions[i];
        lua_createtable(lua, 0, 5);
        luax_set_number(lua, "id", partition->id);
        luax_set_number(lua, "leader", partition->leader);
        luax_set_number(lua, "replicas", partition->replica_cnt);
        luax_set_number(lua, "in_sync", partition->isr_cnt);
        set_error(lua, partition->err);
        lua_rawseti(lua, -2, i + 1);
    }
}

// {brokers = {{id, host, port}}, topics = {{name, error, partitions = {{id, leader, replicas, in_sync, error}}}}}
static void push_cluster(lua_State *lua, const struct rd_kafka_metadata *listed) {
    lua_createtable(lua, 0, 2);
    lua_createtable(lua, listed->broker_cnt, 0);
    for (int i = 0; i < listed->broker_cnt; i++) {
        lua_createtable(lua, 0, 3);
        luax_set_number(lua, "id", listed->brokers[i].id);
        set_text(lua, "host", listed->brokers[i].host);
        luax_set_number(lua, "port", listed->brokers[i].port);
        lua_rawseti(lua, -2, i + 1);
    }
    lua_setfield(lua, -2, "brokers");
    lua_createtable(lua, listed->topic_cnt, 0);
    for (int i = 0; i < listed->topic_cnt; i++) {
        lua_createtable(lua, 0, 3);
        set_text(lua, "name", listed->topics[i].topic);
        set_error(lua, listed->topics[i].err);
        push_partitions(lua, &listed->topics[i]);
        lua_setfield(lua, -2, "partitions");
        lua_rawseti(lua, -2, i + 1);
    }
    lua_setfield(lua, -2, "topics");
}

// On top: {topic = {[partition] = offset}}; sets one of it.
static void set_offset(lua_State *lua, const rd_kafka_topic_partition_t *place) {
    if (place->err || place->offset < 0) return;
    lua_getfield(lua, -1, place->topic);
    if (lua_isnil(lua, -1)) {
        lua_pop(lua, 1);
        lua_newtable(lua);
        lua_pushvalue(lua, -1);
        lua_setfield(lua, -3, place->topic);
    }
    lua_pushnumber(lua, (double)place->offset);
    lua_rawseti(lua, -2, place->partition);
    lua_pop(lua, 1);
}

static void push_offsets(lua_State *lua, rd_kafka_event_t *answer) {
    size_t count;
    const rd_kafka_ListOffsetsResultInfo_t **infos =
        rd_kafka_ListOffsets_result_infos(rd_kafka_event_ListOffsets_result(answer), &count);
    lua_newtable(lua);
    for (size_t i = 0; i < count; i++) set_offset(lua, rd_kafka_ListOffsetsResultInfo_topic_partition(infos[i]));
}

// {{name, state}, ...}
static void push_groups(lua_State *lua, rd_kafka_event_t *answer) {
    size_t count;
    const rd_kafka_ConsumerGroupListing_t **groups =
        rd_kafka_ListConsumerGroups_result_valid(rd_kafka_event_ListConsumerGroups_result(answer), &count);
    lua_createtable(lua, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_createtable(lua, 0, 2);
        set_text(lua, "name", rd_kafka_ConsumerGroupListing_group_id(groups[i]));
        set_text(lua, "state", rd_kafka_consumer_group_state_name(rd_kafka_ConsumerGroupListing_state(groups[i])));
        lua_rawseti(lua, -2, (int)i + 1);
    }
}

static void push_member(lua_State *lua, const rd_kafka_MemberDescription_t *member) {
    const rd_kafka_MemberAssignment_t *assignment = rd_kafka_MemberDescription_assignment(member);
    const rd_kafka_topic_partition_list_t *list = rd_kafka_MemberAssignment_partitions(assignment);
    lua_createtable(lua, 0, 3);
    set_text(lua, "client", rd_kafka_MemberDescription_client_id(member));
    set_text(lua, "host", rd_kafka_MemberDescription_host(member));
    luax_set_number(lua, "partitions", list ? list->cnt : 0);
}

// {[group] = {state, error, members = {{client, host, partitions}}}}
static void push_members(lua_State *lua, rd_kafka_event_t *answer) {
    size_t count;
    const rd_kafka_ConsumerGroupDescription_t **groups =
        rd_kafka_DescribeConsumerGroups_result_groups(rd_kafka_event_DescribeConsumerGroups_result(answer), &count);
    lua_createtable(lua, 0, (int)count);
    for (size_t i = 0; i < count; i++) {
        const rd_kafka_error_t *error = rd_kafka_ConsumerGroupDescription_error(groups[i]);
        size_t members = rd_kafka_ConsumerGroupDescription_member_count(groups[i]);
        lua_createtable(lua, 0, 3);
        if (error) set_text(lua, "error", rd_kafka_error_string(error));
        set_text(lua, "state", rd_kafka_consumer_group_state_name(rd_kafka_ConsumerGroupDescription_state(groups[i])));
        lua_createtable(lua, (int)members, 0);
        for (size_t j = 0; j < members; j++) {
            push_member(lua, rd_kafka_ConsumerGroupDescription_member(groups[i], j));
            lua_rawseti(lua, -2, (int)j + 1);
        }
        lua_setfield(lua, -2, "members");
        lua_setfield(lua, -2, rd_kafka_ConsumerGroupDescription_group_id(groups[i]));
    }
}

// {topic = {[partition] = offset}}, or nil and an error
static int push_committed(lua_State *lua, rd_kafka_event_t *answer) {
    size_t count;
    const rd_kafka_group_result_t **groups =
        rd_kafka_ListConsumerGroupOffsets_result_groups(rd_kafka_event_ListConsumerGroupOffsets_result(answer), &count);
    const rd_kafka_error_t *error = count ? rd_kafka_group_result_error(groups[0]) : NULL;
    if (error) return luax_fail(lua, "%s", rd_kafka_error_string(error));
    const rd_kafka_topic_partition_list_t *list = count ? rd_kafka_group_result_partitions(groups[0]) : NULL;
    lua_newtable(lua);
    for (int i = 0; list && i < list->cnt; i++) set_offset(lua, &list->elems[i]);
    return 1;
}

// :result() -> false while it runs | nil, error | the answer, see the functions above
static int l_result(lua_State *lua) {
    struct kafka_request *request = luax_boxed(lua, SURVEY_CLASS);
    if (!request->finished) {
        lua_pushboolean(lua, 0);
        return 1;
    }
    if (request->code) return luax_fail(lua, "%s", request->error);
    switch (request->kind) {
    case KAFKA_LIST:
        push_cluster(lua, request->listed);
        break;
    case KAFKA_OFFSETS:
        push_offsets(lua, request->answer);
        break;
    case KAFKA_GROUPS:
        push_groups(lua, request->answer);
        break;
    case KAFKA_MEMBERS:
        push_members(lua, request->answer);
        break;
    default:
        return push_committed(lua, request->answer);
    }
    return 1;
}

static int l_survey_gc(lua_State *lua) {
    kafka_request_unref(luax_boxed(lua, SURVEY_CLASS));
    return 0;
}

static void *done_of(void *userdata) {
    return &(*(struct kafka_request **)userdata)->done;
}

static const luaL_Reg methods[] = {{"result", l_result}, {NULL, NULL}};
static const luaL_Reg meta[] = {{"__gc", l_survey_gc}, {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"cluster", l_cluster}, {"offsets", l_offsets},     {"groups", l_groups},
    {"members", l_members}, {"committed", l_committed}, {NULL, NULL},
};

int luaopen_dbobs_kafka_survey(lua_State *lua) {
    luax_class(lua, SURVEY_CLASS, methods, meta);
    luax_offer(lua, LUAX_WAKEUP, done_of);
    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    return 1;
}
