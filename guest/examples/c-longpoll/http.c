#include "http.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// How much one read asks for, in bytes.
static const size_t CHUNK = 64 * 1024;

static void *allocate(void *old, size_t length) {
  void *memory = realloc(old, length + 1);
  if (memory == NULL) abort();
  return memory;
}

text format(const char *how, ...) {
  va_list arguments;
  va_start(arguments, how);
  int length = vsnprintf(NULL, 0, how, arguments);
  va_end(arguments);
  if (length < 0) abort();
  text result = {allocate(NULL, length), length};
  va_start(arguments, how);
  vsnprintf((char *)result.ptr, length + 1, how, arguments);
  va_end(arguments);
  return result;
}

bool equals(text a, const char *b) { return a.len == strlen(b) && memcmp(a.ptr, b, a.len) == 0; }

request request_of(http_own_incoming_request_t handle) {
  request request = {.handle = http_borrow_incoming_request(handle)};
  http_method_t method;
  http_method_incoming_request_method(request.handle, &method);
  request.method = method.tag;
  text target;
  if (!http_method_incoming_request_path_with_query(request.handle, &target)) target = format("/");
  uint8_t *mark = memchr(target.ptr, '?', target.len);
  request.path = (text){target.ptr, mark == NULL ? target.len : (size_t)(mark - target.ptr)};
  if (mark != NULL) request.query = (text){mark + 1, target.len - request.path.len - 1};
  return request;
}

static int hex(uint8_t digit) {
  const char *digits = "0123456789abcdef", *found = digit == 0 ? NULL : strchr(digits, digit | 0x20);
  return found == NULL || (digit | 0x20) == ' ' ? -1 : (int)(found - digits);
}

static text decoded(const uint8_t *from, const uint8_t *end) {
  text to = {allocate(NULL, end - from), 0};
  for (; from < end; from++) {
    uint8_t byte = *from == '+' ? ' ' : *from;
    if (byte == '%' && end - from > 2 && hex(from[1]) >= 0 && hex(from[2]) >= 0) {
      byte = hex(from[1]) * 16 + hex(from[2]);
      from += 2;
    }
    to.ptr[to.len++] = byte;
  }
  return to;
}

bool query_value(const request *request, const char *name, text *value) {
  const uint8_t *at = request->query.ptr, *end = at + request->query.len;
  while (at < end) {
    const uint8_t *next = memchr(at, '&', end - at);
    if (next == NULL) next = end;
    const uint8_t *equal = memchr(at, '=', next - at);
    if (equals(decoded(at, equal == NULL ? next : equal), name)) {
      *value = decoded(equal == NULL ? next : equal + 1, next);
      return true;
    }
    at = next + 1;
  }
  return false;
}

bool header_value(const request *request, const char *name, text *value) {
  http_own_headers_t headers = http_method_incoming_request_headers(request->handle);
  text key = {(uint8_t *)name, strlen(name)};
  http_list_field_value_t values;
  http_method_fields_get(http_borrow_fields(headers), &key, &values);
  if (values.len == 0) return false;
  *value = (text){values.ptr[0].ptr, values.ptr[0].len};
  return true;
}

ending read_body(const request *request, size_t limit, text *body) {
  http_own_incoming_body_t incoming;
  http_own_input_stream_t stream;
  if (!http_method_incoming_request_consume(request->handle, &incoming)) abort();
  if (!http_method_incoming_body_stream(http_borrow_incoming_body(incoming), &stream)) abort();
  *body = (text){allocate(NULL, 0), 0};
  for (;;) {
    handler_list_u8_t chunk;
    stream_stream_error_t error;
    if (!stream_method_input_stream_blocking_read(stream_borrow_input_stream(stream), CHUNK, &chunk, &error)) {
      return error.tag == STREAM_STREAM_ERROR_CLOSED ? WHOLE : BROKEN;
    }
    if (body->len + chunk.len > limit) return TOO_LARGE;
    body->ptr = allocate(body->ptr, body->len + chunk.len);
    memcpy(body->ptr + body->len, chunk.ptr, chunk.len);
    body->len += chunk.len;
    handler_list_u8_free(&chunk);
  }
}

answer text_answer(uint16_t status, text body) {
  answer answer = {.status = status, .body = body};
  return with_header(answer, "content-type", format("text/plain; charset=utf-8"));
}

answer with_header(answer answer, const char *name, text value) {
  if (answer.header_count == sizeof answer.headers / sizeof *answer.headers) abort();
  http_tuple2_field_name_field_value_t *header = &answer.headers[answer.header_count++];
  header->f0 = (http_field_name_t){(uint8_t *)name, strlen(name)};
  header->f1 = (http_field_value_t){value.ptr, value.len};
  return answer;
}

// Writes all of the data. An error is a client that has left.
static bool write_all(stream_borrow_output_stream_t stream, text data) {
  io_own_pollable_t writable = stream_method_output_stream_subscribe(stream);
  stream_stream_error_t error;
  bool written = true;
  while (written && data.len > 0) {
    uint64_t room;
    written = stream_method_output_stream_check_write(stream, &room, &error);
    if (written && room == 0) io_method_pollable_block(io_borrow_pollable(writable));
    if (!written || room == 0) continue;
    handler_list_u8_t now = {data.ptr, room < data.len ? room : data.len};
    written = stream_method_output_stream_write(stream, &now, &error);
    data = (text){data.ptr + now.len, data.len - now.len};
  }
  written = written && stream_method_output_stream_flush(stream, &error);
  io_pollable_drop_own(writable);
  return written;
}

void send_answer(answer answer, http_own_response_outparam_t out) {
  if (answer.status != 204) answer = with_header(answer, "content-length", format("%zu", answer.body.len));
  http_list_tuple2_field_name_field_value_t headers = {answer.headers, answer.header_count};
  http_own_fields_t fields;
  http_header_error_t refused;
  if (!http_static_fields_from_list(&headers, &fields, &refused)) abort();
  http_own_outgoing_response_t response = http_constructor_outgoing_response(fields);
  http_borrow_outgoing_response_t borrowed = http_borrow_outgoing_response(response);
  http_own_outgoing_body_t body;
  http_own_output_stream_t stream;
  if (!http_method_outgoing_response_set_status_code(borrowed, answer.status)) abort();
  if (!http_method_outgoing_response_body(borrowed, &body)) abort();
  http_result_own_outgoing_response_error_code_t result = {.is_err = false, .val.ok = response};
  http_static_response_outparam_set(out, &result);
  if (!http_method_outgoing_body_write(http_borrow_outgoing_body(body), &stream)) abort();
  bool written = write_all(stream_borrow_output_stream(stream), answer.body);
  stream_output_stream_drop_own(stream);
  http_error_code_t error;
  if (written) http_static_outgoing_body_finish(body, NULL, &error);
}
