//! Topics: `state` is what this host knows of them, `publish` adds events, `follow` fetches them into a `mirror`, which `readers`
//! read.

pub(crate) mod follow;
pub(crate) mod mirror;
pub(crate) mod publish;
pub(crate) mod readers;
pub(crate) mod state;
