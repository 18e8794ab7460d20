//! Arbitrary text where a client says how far it has read: a cursor is written as it was read, and anything else is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

use linger_events::Cursor;

fuzz_target!(|text: &str| {
    if let Ok(cursor) = text.parse::<Cursor>() {
        let written = cursor.to_string();
        assert!(written.len() <= 32);
        assert_eq!(written.parse(), Ok(cursor));
        // All but the case of the epoch, and zeros in front of the number.
        let (epoch, number) = text.split_once('-').expect("both parts");
        assert_eq!(written, format!("{}-{}", epoch.to_lowercase(), number.parse::<u64>().expect("a number")));
    }
});
