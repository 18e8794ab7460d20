//! What became of the events of one queue, as its clients saw it.
//!
//! The order that the store promises (`host/crates/events/src/local/`): who takes gets the oldest event that lies in the
//! queue, in the order of the pushes, and an event that returns finds its old place. So a younger event is handed out
//! before an older one only while a request has the older one in its hands, and returns it later. A request of the
//! example has one at a time. A client is not told of events that returned without being seen, so `attempt` and
//! `maybe-delivered` cannot tell which did. What can be told from outside, and is checked of every answer:
//!
//! - The older events that nobody has read yet are at most as many as other requests that were sent, and whose
//!   answers were not read, since the queue was quiet: each has one of them in its hands.
//! - While the queue is quiet, that is from when all who left have been noticed and settled until somebody else
//!   comes, the answers to one client come strictly in the order of the pushes. Here the first rule leaves no
//!   exception: no older event is unread.

use std::collections::HashSet;
use std::fmt;

use crate::harness::Answer;

/// An answer with an event of which all was read.
pub(super) struct Reading {
    pub(super) id: String,
    pub(super) data: Vec<u8>,
    pub(super) flagged: bool,
}

impl Reading {
    pub(super) fn of(answer: &Answer) -> Self {
        answer.expect(200);
        Self {
            id: answer.header("event-id").expect("an id").to_owned(),
            data: answer.body.to_vec(),
            flagged: answer.header("maybe-delivered").is_some(),
        }
    }
}

#[derive(Default)]
pub(super) struct ChaosLedger {
    /// In the order of the pushes.
    events: Vec<ChaosEvent>,
    /// Those of events of which any client has seen anything.
    seen: HashSet<String>,
    /// Requests since the queue was quiet whose answers were not read.
    away: usize,
    /// While the queue is quiet, the least that may come next.
    turn: Option<usize>,
    youngest_read: usize,
    tally: ChaosTally,
}

#[derive(Default)]
struct ChaosEvent {
    length: usize,
    answered: bool,
    readings: usize,
    /// What its round's client did.
    manner: String,
    /// A client has received all of its data, and not the end of the stream.
    without_end: bool,
    gone: bool,
}

/// Counts, and what is wrong.
#[derive(Default)]
pub(super) struct ChaosTally {
    pushed: usize,
    readings: usize,
    /// Read once more, with the flag.
    again: usize,
    /// Read after a younger one.
    out_of_turn: usize,
    lost: usize,
    /// Gone with a client that had all of the data, and not the end of the stream.
    without_end: usize,
    wrong: Vec<String>,
}

impl ChaosLedger {
    /// The next event, which is about to be pushed: its number and its data.
    pub(super) fn push(&mut self, padding: usize) -> (usize, Vec<u8>) {
        let number = self.events.len();
        let data = [format!("{number}:").as_bytes(), &vec![b'x'; padding]].concat();
        self.events.push(ChaosEvent { length: data.len(), ..ChaosEvent::default() });
        self.tally.pushed += 1;
        (number, data)
    }

    /// The host has said that it is stored.
    pub(super) fn answered(&mut self, number: usize) {
        self.events[number].answered = true;
    }

    /// What the client of the latest event's round does.
    pub(super) fn plays(&mut self, manner: impl fmt::Debug) {
        self.events.last_mut().unwrap().manner = format!("{manner:?}");
    }

    /// Polls are about to be sent.
    pub(super) fn asked(&mut self, polls: usize) {
        self.away += polls;
    }

    /// A client has seen a part of this event, or all of it.
    pub(super) fn seen(&mut self, id: &str) {
        self.seen.insert(id.to_owned());
    }

    /// A client has read all of an answer.
    pub(super) fn read(&mut self, reading: &Reading) {
        let number = self.number(&reading.data);
        if self.events[number].readings > 0 || self.seen.contains(&reading.id) {
            if reading.flagged {
                self.tally.again += 1;
            } else {
                self.wrong(number, "was seen before, and comes without a flag");
            }
        }
        self.seen(&reading.id);
        self.count(number);
    }

    /// A client has received all of an answer for a stream that it had reset, whose head nobody told it.
    pub(super) fn received(&mut self, data: &[u8]) {
        self.count(self.number(data));
    }

    /// All who left have been noticed, and nobody has come since.
    pub(super) fn begin_quiet(&mut self) {
        self.away = 0;
        self.turn = Some(0);
    }

    pub(super) fn end_quiet(&mut self) {
        self.turn = None;
    }

    /// How many that the host has taken were read by nobody.
    pub(super) fn missing(&self) -> usize {
        self.events.iter().filter(|event| event.is_missing()).count()
    }

    /// A client has received this of an answer, and not its end. All of its data is taken for the answer, now and
    /// then, by the host too, as the README says: then it does not come again.
    pub(super) fn received_without_end(&mut self, data: &[u8]) {
        let text = str::from_utf8(data).unwrap();
        let number = text.split_once(':').and_then(|(number, _)| number.parse::<usize>().ok());
        if let Some(event) = number.and_then(|number| self.events.get_mut(number)) {
            event.without_end |= event.length == data.len();
        }
    }

    /// The queue is empty: what is missing does not come any more.
    pub(super) fn empty(&mut self) {
        self.away -= 1;
        for number in 0..self.events.len() {
            if !self.events[number].is_missing() {
                continue;
            }
            self.events[number].gone = true;
            if self.events[number].without_end {
                self.tally.without_end += 1;
                continue;
            }
            self.tally.lost += 1;
            let around = self.events[number.saturating_sub(2)..].iter().take(4);
            let manners: Vec<_> = around.map(|event| &*event.manner).collect();
            self.wrong(number, &format!("is lost; the clients around it: {}", manners.join(", ")));
        }
    }

    pub(super) fn into_tally(self) -> ChaosTally {
        self.tally
    }

    fn count(&mut self, number: usize) {
        self.away -= 1;
        let overtaken = self.events[..number].iter().filter(|event| event.is_unread()).count();
        if overtaken > self.away {
            let how = format!("comes before {overtaken} older ones, of which others have {}", self.away);
            self.wrong(number, &how);
        }
        if let Some(turn) = self.turn {
            if number < turn {
                self.wrong(number, "comes after a younger one in a quiet queue");
            }
            self.turn = Some(number + 1);
        }
        self.events[number].readings += 1;
        self.tally.readings += 1;
        self.tally.out_of_turn += usize::from(number < self.youngest_read);
        self.youngest_read = self.youngest_read.max(number);
    }

    fn number(&self, data: &[u8]) -> usize {
        let text = str::from_utf8(data).unwrap();
        let number: usize = text.split(':').next().unwrap().parse().expect("an event");
        assert_eq!(self.events[number].length, data.len(), "event {number} is not whole");
        number
    }

    fn wrong(&mut self, number: usize, how: &str) {
        self.tally.wrong.push(format!("event {number} {how}"));
    }
}

impl ChaosEvent {
    /// Whether nobody has it, as far as is known.
    fn is_unread(&self) -> bool {
        self.readings == 0 && !self.without_end && !self.gone
    }

    fn is_missing(&self) -> bool {
        self.answered && self.readings == 0 && !self.gone
    }
}

impl ChaosTally {
    pub(super) fn add(&mut self, other: Self) {
        self.pushed += other.pushed;
        self.readings += other.readings;
        self.again += other.again;
        self.out_of_turn += other.out_of_turn;
        self.lost += other.lost;
        self.without_end += other.without_end;
        self.wrong.extend(other.wrong);
    }

    /// Whether nothing went wrong. A guest that streams its answers ends them by a frame of its own, and a client that leaves
    /// before that one can count as one that has read all: seldom, and only then.
    pub(super) fn is_right(&self, streams: bool) -> bool {
        const SELDOM: usize = 50;
        let tolerated = if streams { self.pushed / SELDOM } else { 0 };
        self.wrong.is_empty() && self.without_end <= tolerated
    }
}

impl fmt::Display for ChaosTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pushed, readings, again, out_of_turn, lost, without_end, wrong } = self;
        write!(f, "{pushed} events, {lost} lost, {without_end} read but for the end of their stream, ")?;
        write!(f, "{} wrong; {readings} readings, ", wrong.len())?;
        write!(f, "{again} of them again and flagged, {out_of_turn} after a younger event")?;
        wrong.iter().take(20).try_for_each(|wrong| write!(f, "\n  {wrong}"))
    }
}
