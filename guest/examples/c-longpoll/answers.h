// Answers without an event.
#pragma once

#include "http.h"

// No event came: the client asks again.
answer nothing(void);
// The answer to a client whose wait should end. Whoever left does not get it.
answer stopped(event_reason_t reason);
// The answer when a queue or a topic refused.
answer refused(event_event_error_t error);
