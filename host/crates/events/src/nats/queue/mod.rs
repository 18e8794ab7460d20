//! Queues: `state` is what this host knows of them, `push` adds events, `line` has the waiting consumers, `fetch` and `pull` ask
//! for events, `arrival`, `settle`, `answer` and `tend` are what becomes of one, `notes` what hosts tell each other of it.

pub(crate) mod answer;
pub(crate) mod arrival;
pub(crate) mod fetch;
pub(crate) mod line;
pub(crate) mod notes;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod settle;
pub(crate) mod state;
pub(crate) mod tend;
