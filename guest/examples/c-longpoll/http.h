// The few things of HTTP that this example needs, over the bindings for `wasi:http@0.2`.
//
// An instance serves one request, and its memory goes with it: nothing here is freed.
#pragma once

#include "bindings/handler.h"

// Bytes or text: not ended by a zero.
typedef handler_string_t text;

// What `printf` would print.
text format(const char *how, ...) __attribute__((format(printf, 1, 2)));
// A text for "%.*s".
#define PRINT(text) (int)(text).len, (const char *)(text).ptr
bool equals(text a, const char *b);

typedef struct {
  http_borrow_incoming_request_t handle;
  uint8_t method;
  // As it was sent: still percent-encoded, and without the query.
  text path;
  text query;
} request;

request request_of(http_own_incoming_request_t handle);
// The first query parameter of this name, decoded.
bool query_value(const request *request, const char *name, text *value);
// The first header of this name.
bool header_value(const request *request, const char *name, text *value);

typedef enum { WHOLE, TOO_LARGE, BROKEN } ending;
// All of the body, up to a limit. Blocks until it has arrived.
ending read_body(const request *request, size_t limit, text *body);

typedef struct {
  uint16_t status;
  text body;
  size_t header_count;
  http_tuple2_field_name_field_value_t headers[8];
} answer;

answer text_answer(uint16_t status, text body);
// The same answer with one more header.
answer with_header(answer answer, const char *name, text value);
// Blocks until the host has all of it, or nobody wants it any more.
void send_answer(answer answer, http_own_response_outparam_t out);
