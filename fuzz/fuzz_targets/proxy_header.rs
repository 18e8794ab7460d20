//! Arbitrary bytes where a trusted proxy says whose connection it is: no more is read than the header, and that says the same
//! by itself.
#![no_main]

use libfuzzer_sys::fuzz_target;

use linger_http::fuzzing::proxy_header;

fuzz_target!(|data: &[u8]| {
    let Some((client, rest)) = proxy_header(data) else { return };
    let header = &data[..data.len() - rest];
    assert!(header.starts_with(b"PROXY ") || header.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
    assert!(header.len() <= 16 + 4_096);
    assert_eq!(proxy_header(header), Some((client, 0)));
    assert_eq!(proxy_header(&header[..header.len() - 1]), None);
    let followed = [header, b"GET / HTTP/1.1\r\n"].concat();
    assert_eq!(proxy_header(&followed), Some((client, 16)));
});
