//! What the host gives beyond WASI, bound from `wit/`.
//!
//! The world has imports only, and a component imports of them what it uses: one that never opens a
//! queue does not ask its host for queues, and so with topics.

// Generated: the documentation of what is public is where the crate makes it public.
#![allow(missing_docs, unused_qualifications)]

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package linger:guest;

        world imports {
            import linger:host/cancellation@0.1.0;
            import linger:host/queue@0.1.0;
            import linger:host/topic@0.1.0;
        }
    ",
    world: "linger:guest/imports",
    generate_all,
});
