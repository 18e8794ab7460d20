//! Logs that limits are reached: for each limit, at most one line per minute.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use linger_base::ClientAddress;
use linger_events::{LimitKind, StoreError};

use super::WaitPoint;
use super::labels::{LabelKind as _, Reached};

/// Between two lines about the same limit.
const PAUSE: Duration = Duration::from_mins(1);

/// Says so for each limit, of the whole server or of one app.
#[derive(Debug, Default)]
pub(super) struct LimitNotices(Mutex<HashMap<Reached, NoticeTimes>>);

#[derive(Debug)]
struct NoticeTimes {
    last: Instant,
    /// How many times it was reached since.
    times: u64,
}

impl LimitNotices {
    /// A limit was reached. Names the client that did, if one did more than others.
    pub(super) fn tell(&self, limit: Reached, app: Option<&str>, client: Option<ClientAddress>) {
        let Some(effect) = effect(limit) else { return };
        if let Some(times) = self.note(limit, Instant::now()) {
            let client = client.map(|client| tracing::field::display(client.ip));
            let limit = limit.value();
            let more = match times {
                1 => String::new(),
                _ => format!(" ({times} times since the last such line)"),
            };
            tracing::warn!(app, client, limit, times, "{limit} is reached: {effect}{more}");
        }
    }

    /// Counts. Gives how many there were since the last line, if it is time for another one.
    fn note(&self, limit: Reached, now: Instant) -> Option<u64> {
        let mut all = self.0.lock();
        let Some(told) = all.get_mut(&limit) else {
            all.insert(limit, NoticeTimes { last: now, times: 0 });
            return Some(1);
        };
        told.times += 1;
        if now.duration_since(told.last) < PAUSE {
            return None;
        }
        told.last = now;
        Some(std::mem::take(&mut told.times))
    }
}

impl Reached {
    /// The limit for which a queue or a topic refused something, if it was one.
    #[must_use]
    pub fn of_events(place: WaitPoint, error: &StoreError) -> Option<Self> {
        Some(match (place, error) {
            (WaitPoint::Queue, StoreError::TooLarge { .. }) => Self::QueueEventSize,
            (WaitPoint::Topic, StoreError::TooLarge { .. }) => Self::TopicEventSize,
            (WaitPoint::Queue, StoreError::OverLimit(limit)) => match limit {
                LimitKind::Events => Self::QueueEvents,
                LimitKind::Bytes => Self::QueueBytes,
                LimitKind::TotalBytes => Self::QueueTotalBytes,
                LimitKind::Names => Self::QueueNames,
                LimitKind::Waiters => Self::QueueWaiters,
                LimitKind::Deliveries => Self::Deliveries,
            },
            (WaitPoint::Topic, StoreError::OverLimit(limit)) => match limit {
                LimitKind::Names => Self::TopicNames,
                LimitKind::Waiters => Self::TopicWaiters,
                // The others are of queues alone.
                LimitKind::TotalBytes | LimitKind::Events | LimitKind::Bytes | LimitKind::Deliveries => {
                    Self::TopicTotalBytes
                }
            },
            (_, StoreError::Settled | StoreError::Unavailable(_)) => return None,
        })
    }
}

/// What becomes of whatever comes beyond a limit. None: whoever keeps the limit says so.
fn effect(limit: Reached) -> Option<&'static str> {
    Some(match limit {
        Reached::Connections => "new connections wait",
        Reached::ConnectionsPerClient => "a connection was closed",
        Reached::Requests | Reached::RequestsPerClient | Reached::AppRequests => "a request got 503",
        Reached::BodyBuffers | Reached::BodyBuffersPerApp | Reached::BodyBuffersPerClient => {
            "guests do not read their request bodies, and a request with a body got 503"
        }
        Reached::BodyTimeout => "a request body arrived too slowly, and the request got 408",
        Reached::InstanceMemory => {
            "clients read large responses of an instance slowly, and a request got 503"
        }
        Reached::Instances => {
            "all instances were busy (max, max_queued, queue_timeout), and a request got 503"
        }
        Reached::Streams => "a connection has its maximum of concurrent requests",
        Reached::HeadSize | Reached::Headers => "a request got 431",
        Reached::LogLines => return None,
        Reached::QueueEvents | Reached::QueueBytes | Reached::QueueTotalBytes | Reached::QueueEventSize => {
            "a push was refused"
        }
        Reached::QueueNames => "a push or a take was refused",
        Reached::QueueWaiters | Reached::Deliveries => "a take was refused",
        Reached::TopicTotalBytes | Reached::TopicEventSize => "a publish was refused",
        Reached::TopicNames => "a publish or a read was refused",
        Reached::TopicWaiters => "a read was refused",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_a_minute_for_each_limit_says_how_many_there_were() {
        let (teller, start) = (LimitNotices::default(), Instant::now());
        let at = |seconds| teller.note(Reached::Requests, start + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(1));
        assert_eq!([at(1), at(2), at(59)], [None; 3]);
        assert_eq!(teller.note(Reached::Connections, start), Some(1));
        assert_eq!(at(60), Some(4));
        assert_eq!(at(119), None);
        assert_eq!(at(1000), Some(2));
        assert_eq!(at(2000), Some(1));
    }
}
