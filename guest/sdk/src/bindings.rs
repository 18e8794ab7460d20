//! What the host gives beyond WASI, bound from `wit/`.
//!
//! The worlds have imports only, and a component imports of them what it uses: one that never opens a
//! queue does not ask its host for queues, and so with topics. That takes a world for each: within one, the
//! futures of one type are those of the interface that is first. What several of them share, one of them binds.

// Generated: the documentation of what is public is where the crate makes it public.
#![allow(missing_docs, unused_qualifications)]

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package linger:guest;

        world imports {
            import linger:host/cancellation@0.1.0;
            import linger:host/queue@0.1.0;
        }
    ",
    world: "linger:guest/imports",
    with: {
        "wasi:http/types@0.3.0": wasip3::http::types,
        "wasi:clocks/types@0.3.0": wasip3::clocks::types,
        "linger:host/whole@0.1.0": crate::bindings::whole::linger::host::whole,
    },
    generate_all,
});

pub mod topics {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package linger:guest-topics;

            world imports {
                import linger:host/topic@0.1.0;
            }
        ",
        world: "linger:guest-topics/imports",
        with: {
            "wasi:http/types@0.3.0": wasip3::http::types,
            "wasi:clocks/types@0.3.0": wasip3::clocks::types,
            "linger:host/types@0.1.0": crate::bindings::linger::host::types,
            "linger:host/whole@0.1.0": crate::bindings::whole::linger::host::whole,
        },
        generate_all,
    });
}

pub mod whole {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package linger:guest-whole;

            world imports {
                import linger:host/whole@0.1.0;
            }
        ",
        world: "linger:guest-whole/imports",
        with: {
            "wasi:http/types@0.3.0": wasip3::http::types,
            "wasi:clocks/types@0.3.0": wasip3::clocks::types,
        },
        generate_all,
    });
}
