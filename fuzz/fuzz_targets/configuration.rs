//! An arbitrary configuration: it is taken, or refused in one line that names its place.
#![no_main]

use libfuzzer_sys::fuzz_target;

use linger_config::Config;

fuzz_target!(|text: &str| {
    // Some variables are set, to what is meaningful somewhere.
    let variable = |name: &str| match name.len() % 4 {
        0 => None,
        1 => Some("8s".to_owned()),
        2 => Some("127.0.0.1:0".to_owned()),
        _ => Some("\"${X}\n".to_owned()),
    };
    match Config::parse(text, "folder/linger.toml".as_ref(), variable) {
        Ok(config) => assert!(!config.listeners.is_empty()),
        Err(error) => {
            let said = error.to_string();
            assert!(said.starts_with("folder/linger.toml") && !said.contains('\n'), "{said}");
        }
    }
});
