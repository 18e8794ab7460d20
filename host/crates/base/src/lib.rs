//! The base of all crates of Linger: cancellations, client addresses, permits, rates, names, and the WIT package as text.
//!
//! It names no other crate of Linger, does no IO but looking at a file's metadata ([`file_stamp`]), and names none of Wasmtime,
//! hyper, NATS or the disk store. Everything else may name it, so only what two crates need is here.
#![forbid(unsafe_code)]

mod cancel;
mod client;
mod file_stamp;
mod name;
mod outcome;
pub mod permits;
mod random;
pub mod rate;
pub mod spelling;
pub mod wit;

pub use cancel::{Cancellation, Reason};
pub use client::{ClientAddress, ClientProbe};
pub use file_stamp::FileStamp;
pub use name::{InvalidName, Name};
pub use outcome::Outcome;
pub use random::random_u32;
