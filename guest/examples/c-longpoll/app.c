// Long polling over queues and topics.
//
// | request | answer |
// |---|---|
// | `POST /push/{queue}` | `202` and the event's id: the body and its content type are stored |
// | `?delay=SECONDS&ttl=SECONDS` | nobody gets it before the one, or after the other; both at most 30 days |
// | `GET /poll/{queue}?wait=SECONDS` | `200` and one event, as soon as there is one; `event-id` names it |
// | | the same with `maybe-delivered: true` when an earlier client may have got it |
// | `POST /publish/{topic}` | `202` and the cursor after the event: all who follow get it |
// | `GET /follow/{topic}?after=CURSOR&wait=SECONDS` | `200` and the next event, as soon as there is one |
// | | `event-cursor` is what to give as `after` next |
// | | `events-missed: N` when the topic no longer keeps the N events before it |
// | | `topic-restarted: true` when the topic began anew since: what was missed cannot be told |
//
// Without `after` a client follows from the oldest event that the topic keeps, with `after=now` from its end.
//
// Both ways to wait give `204` when there was nothing for that long: 5 seconds if not said, at most 60. And `503` with
// `retry-after: 0` when the server stops: another one may have taken over. Of a topic these have `event-cursor` too,
// where there is one: with it nothing is missed between two requests.
//
// An event whose client left before it got all of it is back in its queue: nothing here has to see to that.

#include <inttypes.h>
#include <string.h>

#include "answers.h"
#include "http.h"

// The largest event that is read before the host is asked whether it takes it, in bytes.
static const size_t EVENT_LIMIT = 1024 * 1024;

// The longest delay and time to live of an event, in seconds.
static const uint64_t AGE_LIMIT = 30 * 24 * 60 * 60;

// How long a client waits when it does not say, and at most, in seconds.
static const uint64_t WAIT = 5, WAIT_LIMIT = 60;

static const uint64_t SECOND = 1000 * 1000 * 1000;

// What even a client that does not wait leaves the store to find an event that is there, in nanoseconds.
static const uint64_t LOOK = 20 * 1000 * 1000;

// The time that a query parameter gives, in nanoseconds. False, with the answer, if it is none.
static bool seconds(const request *request, const char *name, uint64_t limit, event_option_duration_t *time, answer *out) {
  text given;
  time->is_some = query_value(request, name, &given);
  if (!time->is_some) return true;
  uint64_t value = 0;
  bool valid = given.len > 0 && given.len < 20;
  for (size_t at = 0; valid && at < given.len; at++) {
    valid = given.ptr[at] >= '0' && given.ptr[at] <= '9';
    value = value * 10 + (given.ptr[at] - '0');
  }
  time->val = value * SECOND;
  if (valid && value <= limit) return true;
  const char *range = "%s is a whole number of seconds from 0 to %" PRIu64 ", not \"%.*s\"\n";
  *out = text_answer(400, format(range, name, limit, PRINT(given)));
  return false;
}

static bool waits(const request *request, uint64_t *time, answer *out) {
  event_option_duration_t given;
  if (!seconds(request, "wait", WAIT_LIMIT, &given, out)) return false;
  *time = given.is_some ? given.val : WAIT * SECOND;
  if (*time < LOOK) *time = LOOK;
  return true;
}

// Waits for the first of: the client gone, what is awaited, the timer. True, with the reason, if it is the first.
static bool stopped_in(uint64_t time, io_own_pollable_t arrived, event_reason_t *reason) {
  cancellation_own_cancellation_t own = cancellation_current();
  cancellation_borrow_cancellation_t cancellation = cancellation_borrow_cancellation(own);
  io_borrow_pollable_t all[] = {
      io_borrow_pollable(cancellation_method_cancellation_subscribe(cancellation)),
      io_borrow_pollable(arrived),
      io_borrow_pollable(clock_subscribe_duration(time)),
  };
  io_list_borrow_pollable_t list = {all, sizeof all / sizeof *all};
  handler_list_u32_t ready;
  io_poll(&list, &ready);
  return cancellation_method_cancellation_reason(cancellation, reason);
}

// The body of an event to be stored. False, with the answer, if there is none.
static bool event_of(const request *request, text *data, answer *out) {
  switch (read_body(request, EVENT_LIMIT, data)) {
  case WHOLE:
    return true;
  case TOO_LARGE:
    *out = text_answer(413, format("the body is larger than %zu bytes\n", EVENT_LIMIT));
    return false;
  default:
    *out = text_answer(400, format("the request body broke off\n"));
    return false;
  }
}

// An answer with an event.
static answer event_answer(text data, bool has_kind, text kind) {
  answer answer = {.status = 200, .body = data};
  answer = with_header(answer, "content-type", has_kind ? kind : format("application/octet-stream"));
  return with_header(answer, "cache-control", format("no-store"));
}

static text id_text(queue_event_id_t id) { return format("%08" PRIx32 "-%" PRIu64, id.epoch, id.number); }

static answer push(text name, const request *request) {
  answer out;
  queue_push_options_t options = {};
  text data;
  if (!seconds(request, "delay", AGE_LIMIT, &options.delay, &out)) return out;
  if (!seconds(request, "ttl", AGE_LIMIT, &options.time_to_live, &out)) return out;
  if (!event_of(request, &data, &out)) return out;
  options.content_type.is_some = header_value(request, "content-type", &options.content_type.val);
  queue_own_queue_t queue;
  event_event_error_t error;
  if (!queue_static_queue_open(&name, &queue, &error)) return refused(error);
  handler_list_u8_t bytes = {data.ptr, data.len};
  queue_event_id_t id;
  if (!queue_method_queue_push(queue_borrow_queue(queue), &bytes, &options, &id, &error)) return refused(error);
  return text_answer(202, format("%.*s\n", PRINT(id_text(id))));
}

static answer delivered(queue_borrow_delivery_t delivery) {
  queue_event_id_t id;
  handler_list_u8_t data;
  text kind;
  queue_method_delivery_id(delivery, &id);
  queue_method_delivery_data(delivery, &data);
  bool has_kind = queue_method_delivery_content_type(delivery, &kind);
  answer answer = with_header(event_answer((text){data.ptr, data.len}, has_kind, kind), "event-id", id_text(id));
  bool maybe = queue_method_delivery_maybe_delivered(delivery);
  return maybe ? with_header(answer, "maybe-delivered", format("true")) : answer;
}

static answer poll(text name, const request *request) {
  answer out;
  uint64_t time;
  if (!waits(request, &time, &out)) return out;
  queue_own_queue_t queue;
  event_event_error_t error;
  if (!queue_static_queue_open(&name, &queue, &error)) return refused(error);
  queue_own_pending_take_t own = queue_method_queue_take(queue_borrow_queue(queue));
  queue_borrow_pending_take_t pending = queue_borrow_pending_take(own);
  event_reason_t reason;
  if (stopped_in(time, queue_method_pending_take_subscribe(pending), &reason)) return stopped(reason);
  queue_result_own_delivery_event_error_t taken;
  if (!queue_method_pending_take_get(pending, &taken)) return nothing();
  if (taken.is_err) return refused(taken.val.err);
  return delivered(queue_borrow_delivery(taken.val.ok));
}

static answer publish(text name, const request *request) {
  answer out;
  text data, kind, cursor;
  if (!event_of(request, &data, &out)) return out;
  bool has_kind = header_value(request, "content-type", &kind);
  topic_own_topic_t topic;
  event_event_error_t error;
  if (!topic_static_topic_open(&name, &topic, &error)) return refused(error);
  handler_list_u8_t bytes = {data.ptr, data.len};
  if (!topic_method_topic_publish(topic_borrow_topic(topic), &bytes, has_kind ? &kind : NULL, &cursor, &error)) {
    return refused(error);
  }
  return text_answer(202, format("%.*s\n", PRINT(cursor)));
}

static answer followed(const topic_batch_t *batch) {
  topic_borrow_event_t event = topic_borrow_event(batch->events.ptr[0]);
  handler_list_u8_t data;
  text kind;
  topic_method_event_data(event, &data);
  bool has_kind = topic_method_event_content_type(event, &kind);
  answer answer = with_header(event_answer((text){data.ptr, data.len}, has_kind, kind), "event-cursor", batch->next);
  if (batch->missed > 0) answer = with_header(answer, "events-missed", format("%" PRIu64, batch->missed));
  return batch->restarted ? with_header(answer, "topic-restarted", format("true")) : answer;
}

static answer follow(text name, const request *request) {
  answer out;
  uint64_t time;
  if (!waits(request, &time, &out)) return out;
  topic_own_topic_t own_topic;
  event_event_error_t error;
  if (!topic_static_topic_open(&name, &own_topic, &error)) return refused(error);
  topic_borrow_topic_t topic = topic_borrow_topic(own_topic);
  text after;
  bool has_after = query_value(request, "after", &after);
  // Should nothing come, the client goes on from this place.
  if (has_after && equals(after, "now") && !topic_method_topic_end(topic, &after, &error)) return refused(error);
  topic_own_pending_read_t own = topic_method_topic_read(topic, has_after ? &after : NULL, 1);
  topic_borrow_pending_read_t pending = topic_borrow_pending_read(own);
  event_reason_t reason;
  topic_result_batch_event_error_t batch;
  if (stopped_in(time, topic_method_pending_read_subscribe(pending), &reason)) {
    out = stopped(reason);
  } else if (!topic_method_pending_read_get(pending, &batch)) {
    out = nothing();
  } else {
    return batch.is_err ? refused(batch.val.err) : followed(&batch.val.ok);
  }
  return has_after ? with_header(out, "event-cursor", after) : out;
}

static const struct {
  const char *prefix;
  uint8_t method;
  const char *method_name, *otherwise;
  answer (*run)(text name, const request *request);
} ROUTES[] = {
    {"/push/", HTTP_METHOD_POST, "POST", "push an event by POST\n", push},
    {"/poll/", HTTP_METHOD_GET, "GET", "poll by GET\n", poll},
    {"/publish/", HTTP_METHOD_POST, "POST", "publish an event by POST\n", publish},
    {"/follow/", HTTP_METHOD_GET, "GET", "follow by GET\n", follow},
};

static answer route(const request *request) {
  for (size_t at = 0; at < sizeof ROUTES / sizeof *ROUTES; at++) {
    size_t length = strlen(ROUTES[at].prefix);
    if (request->path.len < length || memcmp(request->path.ptr, ROUTES[at].prefix, length) != 0) continue;
    text name = {request->path.ptr + length, request->path.len - length};
    if (memchr(name.ptr, '/', name.len) != NULL) continue;
    if (request->method == ROUTES[at].method) return ROUTES[at].run(name, request);
    return with_header(text_answer(405, format("%s", ROUTES[at].otherwise)), "allow", format("%s", ROUTES[at].method_name));
  }
  return text_answer(404, format("there is POST /push/{queue} and GET /poll/{queue}, "
                                 "POST /publish/{topic} and GET /follow/{topic}\n"));
}

void exports_incoming_handle(exports_incoming_own_incoming_request_t own, exports_incoming_own_response_outparam_t out) {
  request request = request_of(own);
  send_answer(route(&request), out);
}
