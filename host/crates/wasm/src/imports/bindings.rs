//! Generated bindings of `wit/`: all of our interfaces, of both WASI generations.

wasmtime::component::bindgen!({
    path: ["../../../wit", "../../../guest/cancel/wit"],
    inline: "
        package linger:bindings;

        world imports {
            import linger:host/cancellation@0.1.0;
            import linger:host/cancellation-p2@0.1.0;
            import linger:host/queue@0.1.0;
            import linger:host/queue-p2@0.1.0;
            import linger:host/topic@0.1.0;
            import linger:host/topic-p2@0.1.0;
            import linger:host/whole@0.1.0;
            import linger:middleware/ending@0.1.0;
        }
    ",
    world: "linger:bindings/imports",
    imports: {
        "linger:middleware/ending.ended": store | trappable,
        "linger:host/cancellation.current": store | trappable,
        "linger:host/cancellation.[method]cancellation.cancelled": store | trappable,
        "linger:host/queue.[method]queue.take": store | trappable,
        "linger:host/whole.respond": store | trappable,
        "linger:host/topic.[method]topic.publish": store | trappable,
        "linger:host/topic.[method]topic.read": store | trappable,
        "linger:host/topic.[method]topic.end": store | trappable,
        "linger:host/topic-p2.[method]topic.publish": async | trappable,
        "linger:host/topic-p2.[method]topic.end": async | trappable,
        "linger:host/queue-p2.[method]queue.push": async | trappable,
        "linger:host/queue-p2.[method]delivery.ack": async | trappable,
        "linger:host/queue-p2.[method]delivery.release": async | trappable,
        default: trappable,
    },
    with: {
        "wasi:http/types": wasmtime_wasi_http::p3::bindings::http::types,
        "wasi:io/poll": wasmtime_wasi::p2::bindings::io::poll,
        "linger:host/cancellation.cancellation": linger_base::Cancellation,
        "linger:host/cancellation-p2.cancellation": super::cancellation_p2::PolledCancellation,
        "linger:host/queue.queue": super::queue::QueueHandle,
        "linger:host/queue.delivery": super::queue::GuestDelivery,
        "linger:host/queue-p2.queue": super::queue::QueueHandle,
        "linger:host/queue-p2.delivery": super::queue::GuestDelivery,
        "linger:host/queue-p2.pending-take": super::queue_p2::PendingTake,
        "linger:host/topic.topic": super::topic::TopicHandle,
        "linger:host/topic.event": super::topic::SharedEvent,
        "linger:host/topic-p2.topic": super::topic::TopicHandle,
        "linger:host/topic-p2.event": super::topic::SharedEvent,
        "linger:host/topic-p2.pending-read": super::topic_p2::PendingRead,
    },
    require_store_data_send: true,
});
