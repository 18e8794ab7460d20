//! Long polling over queues and topics.
//!
//! | request | answer |
//! |---|---|
//! | `POST /push/{queue}` | `202` and the event's id: the body and its content type are stored |
//! | `?delay=SECONDS&ttl=SECONDS` | nobody gets it before the one, or after the other; both at most 30 days |
//! | `GET /poll/{queue}?wait=SECONDS` | `200` and one event, as soon as there is one; `event-id` names it |
//! | | the same with `maybe-delivered: true` when an earlier client may have got it |
//! | `POST /publish/{topic}` | `202` and the cursor after the event: all who follow get it |
//! | `GET /follow/{topic}?after=CURSOR&wait=SECONDS` | `200` and the next event, as soon as there is one |
//! | | `event-cursor` is what to give as `after` next |
//! | | `events-missed: N` when the topic no longer keeps the N events before it |
//! | | `topic-restarted: true` when the topic began anew since: what was missed cannot be told |
//!
//! Without `after` a client follows from the oldest event that the topic keeps, with `after=now` from its end.
//!
//! Both ways to wait give `204` when there was nothing for that long: 5 seconds if not said, at most 60. And
//! `503` with `retry-after: 0` when the server stops: another one may have taken over. Of a topic these have
//! `event-cursor` too, where there is one: with it nothing is missed between two requests.
//!
//! An event whose client left before it got all of it is back in its queue: nothing here has to see to that.

mod answer;
mod queue;
mod topic;

use answer::refusal;
use linger_guest::{Request, Result, handler};
use std::time::Duration;

/// The largest event that is read before the host is asked whether it takes it, in bytes.
const EVENT_LIMIT: usize = 1024 * 1024;

/// How long a client waits when it does not say, and at most, the latter in seconds.
const WAIT: Duration = Duration::from_secs(5);
const WAIT_LIMIT: u64 = 60;

/// What even a client that does not wait leaves the store to find an event that is there.
const LOOK: Duration = Duration::from_millis(20);

handler!(route);

async fn route(request: Request) -> Result {
    let path = request.path().to_owned();
    let path: Vec<&str> = path.split('/').skip(1).collect();
    match (request.method(), &path[..]) {
        ("POST", ["push", name]) => queue::push(name, request).await,
        ("GET", ["poll", name]) => queue::poll(name, &request).await,
        ("POST", ["publish", name]) => topic::publish(name, request).await,
        ("GET", ["follow", name]) => topic::follow(name, &request).await,
        (_, ["push", _]) => Ok(refusal(405, "push an event by POST").header("allow", "POST")),
        (_, ["poll", _]) => Ok(refusal(405, "poll by GET").header("allow", "GET")),
        (_, ["publish", _]) => Ok(refusal(405, "publish an event by POST").header("allow", "POST")),
        (_, ["follow", _]) => Ok(refusal(405, "follow by GET").header("allow", "GET")),
        _ => Ok(refusal(
            404,
            "there is POST /push/{queue} and GET /poll/{queue}, POST /publish/{topic} and GET /follow/{topic}",
        )),
    }
}

/// How long this client waits.
fn wait(request: &Request) -> Result<Duration> {
    Ok(seconds(request, "wait", WAIT_LIMIT)?.unwrap_or(WAIT).max(LOOK))
}

/// The time that a query parameter gives.
fn seconds(request: &Request, name: &str, limit: u64) -> Result<Option<Duration>> {
    let Some(given) = request.query(name) else {
        return Ok(None);
    };
    match whole_seconds(&given, limit) {
        Some(time) => Ok(Some(time)),
        None => {
            let range = format!("a whole number of seconds from 0 to {limit}");
            Err(refusal(400, &format!("{name} is {range}, not {given:?}")).into())
        }
    }
}

fn whole_seconds(given: &str, limit: u64) -> Option<Duration> {
    given.parse().ok().filter(|&seconds| seconds <= limit).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_over_the_limit_is_none() {
        assert_eq!(whole_seconds("0", 60), Some(Duration::ZERO));
        assert_eq!(whole_seconds("60", 60), Some(Duration::from_secs(60)));
        for wrong in ["61", "-1", "1.5", "", "soon"] {
            assert_eq!(whole_seconds(wrong, 60), None, "{wrong}");
        }
    }
}
