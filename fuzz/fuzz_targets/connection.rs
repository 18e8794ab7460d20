//! Arbitrary bytes for a connection: nothing panics, and it ends soon after its client has left.
//!
//! The last two bytes of an input say how the client leaves and where the bytes before them are split; the
//! rest goes over a real socket. So a captured request with two bytes added makes a seed.
#![no_main]

mod client;
mod service;

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;

use crate::client::Script;
use crate::service::Service;

/// How long a connection may go on without its client. Far more than it does, for a machine under load.
const BOUND: Duration = Duration::from_secs(10);

static SERVICE: LazyLock<Service> = LazyLock::new(Service::start);

fuzz_target!(|data: &[u8]| {
    if let Some(script) = Script::parse(data) {
        SERVICE.run(&script, BOUND);
    }
});
