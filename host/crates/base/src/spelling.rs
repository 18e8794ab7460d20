//! The spellings of hostnames and paths. Pure.
//!
//! Routes guard: what one of them has middleware for must not be reached over another by writing it in another way. So a
//! path is compared in its normal form, and one that some would read in another way still goes nowhere but where all
//! readings lead.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// The host of an authority, as hosts are compared: without its port and the dot of the root, in lower case.
pub fn host(authority: &str) -> Cow<'_, str> {
    let host = without_port(authority);
    let host = host.strip_suffix('.').unwrap_or(host);
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = address.and_then(|text| text.parse::<Ipv6Addr>().ok()) {
        return format!("[{address}]").into();
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        host.to_ascii_lowercase().into()
    } else {
        host.into()
    }
}

/// The host of an authority: `example.com:80` and `[::1]:80` lose their port.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!host.contains(':') || host.ends_with(']')) =>
        {
            host
        }
        _ => authority,
    }
}

/// The same path with what is percent-encoded without need decoded: letters, digits and `-._~` (RFC 3986, section 6.2.2.2).
pub fn decoded(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return path.into();
    }
    let (mut decoded, mut rest) = (String::with_capacity(path.len()), path);
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                decoded.push(char::from(byte));
                rest = &after[2..];
            }
            _ => {
                decoded.push('%');
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    if decoded == path { path.into() } else { decoded.into() }
}

/// Whether there is one way to read a path.
pub fn is_plain(path: &str) -> bool {
    readings(&decoded(path)).is_empty()
}

/// What a path is for those who read it otherwise: who take `..` for the segment before, several slashes for one, or an
/// encoded slash for a slash. None for nearly every path.
pub fn readings(path: &str) -> Vec<String> {
    let (encoded, leaning) = (split(path, &ENCODED), split(path, &LEANING));
    let split = split(&encoded, &LEANING);
    let dots = split.split('/').any(|segment| matches!(segment, "." | ".."));
    let slashes = split.contains("//");
    if !dots && !slashes && split == path {
        return Vec::new();
    }
    let mut readings = Vec::new();
    for path in [path, &*encoded, &*leaning, &*split] {
        readings.extend([
            path.to_owned(),
            merged(path),
            resolved(path),
            resolved(&merged(path)),
            merged(&resolved(path)),
        ]);
    }
    readings.retain(|reading| reading != path);
    readings
}

const ENCODED: [&str; 2] = ["%2F", "%2f"];
/// Those that lean to the other side, which some take for slashes as well.
const LEANING: [&str; 3] = ["%5C", "%5c", "\\"];

/// The same with slashes in the place of these.
fn split<'a>(path: &'a str, slashes: &[&str]) -> Cow<'a, str> {
    let mut path = Cow::Borrowed(path);
    for slash in slashes {
        if path.contains(slash) {
            path = path.replace(slash, "/").into();
        }
    }
    path
}

/// Several slashes are one.
fn merged(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !merged.ends_with('/') {
            merged.push(c);
        }
    }
    merged
}

/// Without segments of dots (RFC 3986, section 5.2.4).
fn resolved(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut all = path.split('/').skip(1).peekable();
    while let Some(segment) = all.next() {
        let last = all.peek().is_none();
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            segment => {
                segments.push(segment);
                continue;
            }
        }
        if last {
            segments.push("");
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_are_compared_without_what_says_nothing() {
        for (authority, expected) in [
            ("example.com", "example.com"),
            ("Example.COM.:443", "example.com"),
            ("example.com:", "example.com"),
            ("[::1]:80", "[::1]"),
            ("[0:0::0001]", "[::1]"),
            ("[FE80::A]", "[fe80::a]"),
            ("192.0.2.1:80", "192.0.2.1"),
        ] {
            assert_eq!(host(authority), expected, "{authority}");
        }
    }

    #[test]
    fn only_what_means_the_same_is_decoded() {
        for (path, expected) in [
            ("/get", "/get"),
            ("/%67et", "/get"),
            ("/%7Euser/%2e%2E/x", "/~user/../x"),
            ("/a%2Fb%20c%25%32", "/a%2Fb%20c%252"),
            ("/%", "/%"),
            ("/%6", "/%6"),
            ("/%zz%+1", "/%zz%+1"),
        ] {
            assert_eq!(decoded(path), expected, "{path}");
        }
    }

    #[test]
    fn dots_are_resolved_as_the_standard_has_it() {
        for (path, expected) in [
            ("/a/b/c/./../../g", "/a/g"),
            ("/..", "/"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/a/../b", "/b"),
            ("/a//../b", "/a/b"),
            ("/a/...", "/a/..."),
            ("/", "/"),
        ] {
            assert_eq!(resolved(path), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn plain_paths_have_one_reading(path in "(/[a-z0-9.~_-]{0,2}[a-z]){1,6}/?") {
            prop_assert!(readings(&path).is_empty(), "{:?}", readings(&path));
            prop_assert_eq!(&*decoded(&path), &path);
        }

        #[test]
        fn decoding_is_done_once_and_for_all(path in "/[a-z%/.0-9A-F]{0,12}") {
            let once = decoded(&path).into_owned();
            // What a second decoding would find was hidden from the first, and is to stay hidden.
            prop_assert!(once.len() <= path.len());
            prop_assert!(once.starts_with('/'));
        }

        #[test]
        fn each_way_to_read_a_path_is_among_its_readings(path in "(/|%2f|\\\\|a|b|\\.|\\.\\.){1,8}") {
            let path = format!("/{path}");
            let all = readings(&path);
            let whole = resolved(&merged(&split(&split(&path, &ENCODED), &LEANING)));
            prop_assert!(whole == path || all.contains(&whole));
            prop_assert!(all.iter().all(|reading| reading.starts_with('/')));
        }
    }
}
