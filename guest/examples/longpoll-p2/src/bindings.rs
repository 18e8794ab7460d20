//! What the host gives beyond WASI, bound from `wit/`.

#![allow(unused_qualifications)]

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package linger:longpoll-p2;

        world imports {
            import linger:host/cancellation-p2@0.1.0;
            import linger:host/queue-p2@0.1.0;
            import linger:host/topic-p2@0.1.0;
        }
    ",
    world: "linger:longpoll-p2/imports",
    // Its pollables and those of WASI can be polled together: they are of one type.
    with: { "wasi:io/poll@0.2.12": wasi::io::poll },
    generate_all,
});

pub use linger::host::cancellation_p2 as cancellation;
pub use linger::host::queue_p2 as queue;
pub use linger::host::topic_p2 as topic;
pub use linger::host::types::{EventError, EventId, Limit, PushOptions, Reason};
