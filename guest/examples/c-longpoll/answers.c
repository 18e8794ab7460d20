#include "answers.h"

#include <inttypes.h>

answer nothing(void) { return with_header((answer){.status = 204}, "cache-control", format("no-store")); }

answer stopped(event_reason_t reason) {
  if (reason != EVENT_REASON_SHUTDOWN) return nothing();
  return with_header(text_answer(503, format("the server is stopping\n")), "retry-after", format("0"));
}

static answer refusal(uint16_t status, const char *sentence) { return text_answer(status, format("%s\n", sentence)); }

// The client may try again soon.
static answer busy(uint16_t status, const char *sentence) {
  return with_header(refusal(status, sentence), "retry-after", format("1"));
}

static answer over(event_limit_t limit) {
  switch (limit) {
  case EVENT_LIMIT_EVENTS:
    return busy(429, "the queue holds as many events as the host allows");
  case EVENT_LIMIT_BYTES:
    return busy(429, "the queue holds as many bytes as the host allows");
  case EVENT_LIMIT_WAITERS:
    return busy(429, "as many wait for an event here as the host allows");
  case EVENT_LIMIT_TOTAL_BYTES:
    return refusal(507, "all queues, or all topics, together hold as many bytes as the host allows");
  case EVENT_LIMIT_NAMES:
    return refusal(507, "there are as many queues, or topics, as the host allows");
  default:
    // No request holds more than one delivery here: that would be a mistake of this handler.
    return refusal(500, "Internal Server Error");
  }
}

answer refused(event_event_error_t error) {
  switch (error.tag) {
  case EVENT_EVENT_ERROR_INVALID_NAME:
    return refusal(400, "a name is 1 to 128 letters, digits, '-', '_' or '.', starting with a letter or a digit");
  case EVENT_EVENT_ERROR_INVALID_CONTENT_TYPE:
    return refusal(400, "a content type is at most 256 bytes that a header can hold");
  case EVENT_EVENT_ERROR_INVALID_CURSOR:
    return refusal(400, "a cursor is one that the topic gave");
  case EVENT_EVENT_ERROR_TOO_LARGE:
    return text_answer(413, format("an event is at most %" PRIu64 " bytes\n", error.val.too_large));
  case EVENT_EVENT_ERROR_OVER_LIMIT:
    return over(error.val.over_limit);
  case EVENT_EVENT_ERROR_CANCELLED:
    return stopped(error.val.cancelled);
  case EVENT_EVENT_ERROR_UNAVAILABLE:
    return busy(503, "the store is unavailable");
  default:
    return refusal(500, "Internal Server Error");
  }
}
