//! Black-box conformance: does an event survive each way in which a client can leave?
//!
//! Works against any server that keeps the contract of the long-poll example: `POST /push/{queue}` stores
//! its body and answers 2xx; `GET /poll/{queue}?wait=SECONDS` answers 200 with one event, or 204 when there
//! was none for that long. A client polls, leaves in the way of a [`TestCase`], an event is pushed, and a client
//! that behaves asks for it.
//!
//! - `table` lists the cases, `case` says what they are made of
//! - `target` is the server: its address, and how to connect to it
//! - `wire` is one connection, down to the bytes that the kernel holds; `http1` and `http2` speak on it
//! - `parked` is the client that leaves, `healthy` the one that does not
//! - `round` plays a case once, `suite` often enough; `report` is what came of it
//!
//! It names h2, rustls, socket2 and rustix. It may not name another crate of Linger: it shares no code with the server that it tests.
#![forbid(unsafe_code)]

mod case;
mod healthy;
mod http1;
mod http2;
mod parked;
mod report;
mod round;
mod suite;
mod table;
mod target;
mod wire;

pub use case::{EventSize, LeaveMode, PollRequest, Protocol, ReadPortion, RoundPlan, TestCase};
pub use report::{ConformanceReport, OutcomeTally, ReportRow};
pub use round::EventFate;
pub use suite::TestSuite;
pub use table::CASES;
pub use target::{CertificateTrust, TargetError};
