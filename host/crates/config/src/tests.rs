use bytesize::ByteSize;

use super::*;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("conf/linger.toml"), variable).map_err(|error| error.to_string())
}

fn variable(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("0123456789'\"abcdef\"\nadmin.token = 1".to_owned()),
        "PORT" => Some("9070".to_owned()),
        _ => None,
    }
}

#[test]
fn small_file_gets_the_defaults() {
    let config = parse("[apps.a]\ncomponent = 'a.wasm'").unwrap();
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].address.to_string(), DEFAULT_LISTEN);
    assert_eq!(config.shutdown_timeout, Duration::from_secs(10));
    assert_eq!(config.busy_poll, Some(Duration::from_micros(50)));
    assert_eq!(config.apps["a"].component, Path::new("conf/a.wasm"));
    assert_eq!(config.routes.len(), 1);
    assert_eq!((config.routes[0].app.as_str(), config.routes[0].path.as_str()), ("a", "/"));
    assert_eq!(config.routes[0].deadline, Some(Duration::from_hours(1)));
}

#[test]
fn every_key_is_read() {
    let config = parse(
        r#"
        listen = "[::1]:0"
        shutdown_timeout = "1m 30s"
        [limits]
        max_connections = 7
        max_requests = 6
        max_streams_per_connection = 8
        max_head_size = "9KiB"
        max_body_buffer = "70KiB"
        max_body_buffers = "80KiB"
        head_timeout = "250ms"
        [detection]
        client_timeout = "none"
        keepalive_idle = "5s"
        keepalive_interval = "2s"
        keepalive_probes = 4
        user_timeout = "1500ms"
        ping_interval = "3s"
        ping_timeout = "700ms"
        ack_timeout = "9s"
        confirm_window = "none"
        [queues]
        max_queues = 1
        max_events = 2
        max_bytes = "3MB"
        max_total_bytes = "5MB"
        max_event_size = "4B"
        max_deliveries_per_request = 5
        max_waiters = 6
        commit = "client"
        lease = "7s"
        max_attempts = 8
        dead_letters = "lost"
        [[queues.rules]]
        name = "orders.*"
        commit = "receipt"
        lease = "9s"
        max_attempts = 10
        dead_letters = "gone"
        [topics]
        max_topics = 1
        max_total_bytes = "2MB"
        max_event_size = "3B"
        max_waiters = 4
        keep_events = 5
        keep_bytes = "6B"
        keep_for = "7s"
        [[topics.rules]]
        name = "news"
        keep_events = 8
        keep_bytes = "9B"
        keep_for = "none"
        [apps.a]
        component = "/x/a.wasm"
        env = { K = "V" }
        dirs = [{ host = "data", guest = "/data", writable = true }]
        sockets = ["127.0.0.1:6379"]
        outgoing_hosts = ["example.com", "localhost:8081"]
        [apps.a.instances]
        max = 2
        max_requests = 3
        max_memory = "64MiB"
        [[routes]]
        app = "a"
        host = "example.org"
        path = "/api"
        methods = ["GET", "POST"]
        deadline = "none"
        grace = "1s"
        "#,
    )
    .unwrap();
    assert_eq!(config.shutdown_timeout, Duration::from_secs(90));
    assert_eq!(config.limits.head_timeout, Duration::from_millis(250));
    assert_eq!(config.limits.max_head_size, ByteSize::kib(9));
    assert_eq!(config.queues.max_bytes, ByteSize::mb(3));
    let app = &config.apps["a"];
    assert_eq!(app.component, Path::new("/x/a.wasm"));
    assert_eq!((app.dirs[0].host.as_path(), app.dirs[0].writable), (Path::new("conf/data"), true));
    assert_eq!((app.instances.max, app.instances.max_memory), (2, ByteSize::mib(64)));
    assert_eq!(config.routes[0].deadline, None);
}

#[test]
fn errors_name_the_place_and_the_remedy() {
    let app = "[apps.a]\ncomponent = 'a.wasm'\n";
    for (text, expected) in [
        ("lisen = 'x'", "conf/linger.toml:1:1: unknown key `lisen`; did you mean `listen`?"),
        ("listen = 'nowhere'", "conf/linger.toml:1:10: invalid address; write `IP:PORT`, `unix:PATH`"),
        (
            "[limits]\nmax_conections = 1",
            "conf/linger.toml:2:1: unknown key `max_conections`; did you mean `max_conn",
        ),
        ("[events]\nstore = 'disc'", "conf/linger.toml:2:9: unknown value `disc`; did you mean `disk`?"),
        (
            "[admin]\nlisten = '127.0.0.1:1'\ntoken = '${LINGER_TOKEN}'",
            "conf/linger.toml:3:9: the environment variable `LINGER_TOKEN` is not set; set it",
        ),
        (&format!("{app}sockets = ['[::1]:1',\n '${{A']"), "conf/linger.toml:4:2: `${` has no `}` after it"),
        ("listen = '127.0.0.1:${TOKEN}'", "conf/linger.toml:1:10: invalid address; write"),
        ("busy_poll = '2ms'", "conf/linger.toml: `busy_poll` must be at most 1ms"),
        ("shutdown_timeout = '10'", "conf/linger.toml:1:20: `10` is not a duration"),
        ("shutdown_timeout = 10", "conf/linger.toml:1:20: invalid type: integer, expected a string"),
        ("[limits]\nmax_head_size = 'big'", "conf/linger.toml:2:17: "),
        (
            &format!("{app}[limits]\nmax_head_size = '1KiB'"),
            "conf/linger.toml: limits: `max_head_size` must be at least 8.0 KiB",
        ),
        (
            &format!("{app}[limits]\nmax_body_buffers = '1KiB'"),
            "conf/linger.toml: limits: `max_body_buffer` must be at least 64.0 KiB",
        ),
        (
            &format!("{app}[detection]\nclient_timeout = '1s'"),
            "conf/linger.toml: detection: `client_timeout` must be at least 6s",
        ),
        ("[limits\n", "conf/linger.toml:1:8: "),
        ("", "conf/linger.toml: no app is configured; add `[apps.NAME]`"),
        ("[apps.a]\n", "conf/linger.toml: apps.a: `component` is missing; set it"),
        (
            &format!("{app}outgoing_hosts = ['http://a/']"),
            "conf/linger.toml: apps.a: outgoing_hosts: `http://a/` is not a hostname",
        ),
        (&format!("{app}instances.max = 0"), "conf/linger.toml: apps.a: instances: `max`"),
        (&format!("{app}instances.mx = 1"), "conf/linger.toml:3:11: unknown key `mx`; did you mean `max`?"),
        (&format!("{app}[apps.b]\ncomponent = 'b.wasm'"), "conf/linger.toml: several apps are configured"),
        (
            &format!("{app}[apps.b]\ncomponent = 'b'\n[[routes]]\napp = 'a'"),
            "conf/linger.toml: apps.b: no route leads to this app",
        ),
        (
            &format!("{app}[queues]\nmax_waiters = 0"),
            "conf/linger.toml: queues: `max_waiters` must be at least 1",
        ),
        (&format!("{app}[queues]\nlease = '10ms'"), "conf/linger.toml: queues: `lease` must be at least 1s"),
        (&format!("{app}[queues]\nlease = 'none'"), "`none` is not a duration"),
        (&format!("{app}[queues]\nmax_attempts = 0"), "expected a nonzero u32"),
        (&format!("{app}[queues]\ndead_letters = 'a'"), "queues: `dead_letters` needs `max_attempts`"),
        (
            &format!("{app}[[queues.rules]]\nname = 'a*'\nmax_attempts = 1\ndead_letters = 'ab'"),
            "queues: rules[0]: `dead_letters` must name a queue",
        ),
        (&format!("{app}[[queues.rules]]\nname = '*a'"), "`*a` matches no name"),
        (&format!("{app}[topics]\nkeep_for = '0s'"), "topics: `keep_for` must be at least 1s, or \"none\""),
        (&format!("{app}[topics]\nkeep_events = 0"), "topics: `max_topics`, `max_waiters` and `keep_events`"),
        (&format!("{app}outgoing_hosts = ['*']"), "`*` is not a hostname"),
        (&format!("{app}[limits]\nmax_requests = 0"), "limits: `max_connections`, `max_requests`"),
        (&format!("{app}[limits]\nhead_timeout = '200years'"), "longer than a hundred years"),
        (
            &format!("{app}[[routes]]\napp = 'a'\nmethods = ['get']"),
            "routes[0]: `get` is not an HTTP method; write it in capitals",
        ),
        (&format!("{app}[[routes]]\napp = 'a'\npath = '/a?b'"), "routes[0]: path `/a?b` has `?`"),
        (
            &format!("{app}[[routes]]\napp = 'a'\nhost = 'a:80'"),
            "routes[0]: host `a:80` must be a name or an address",
        ),
        (&format!("{app}[[routes]]\napp = 'b'"), "conf/linger.toml: routes[0]: unknown app `b`"),
        (&format!("{app}[[routes]]\napp = 'a'\npath = 'x'"), "routes[0]: path `x` must start with `/`"),
        (&format!("{app}[[routes]]\napp = 'a'\nmethods = ['G T']"), "routes[0]: `G T` is not an HTTP method"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.contains(expected), "{text:?} gave {error:?}, not {expected:?}");
        assert!(!error.contains('\n'), "{error:?} is more than one line");
    }
}

#[test]
fn variable_is_replaced_by_a_string() {
    let config = parse(
        "listen = '127.0.0.1:${PORT}'\n[apps.a]\ncomponent = '$${PORT}'\nenv = { '${KEY}' = '<${TOKEN}>' }",
    )
    .unwrap();
    assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:9070");
    assert_eq!(config.apps["a"].component, Path::new("conf/${PORT}"));
    let expected = format!("<{}>", variable("TOKEN").unwrap());
    assert_eq!(config.apps["a"].env, BTreeMap::from([("${KEY}".to_owned(), expected)]));
    assert!(config.admin.is_none());
}

#[test]
fn app_names_are_for_paths() {
    for name in ["a b", "a/b", "a?b", "\u{e4}", ""] {
        let text = format!("[apps.{name:?}]\ncomponent = 'a.wasm'\n");
        let error = Config::parse(&text, Path::new("linger.toml"), variable).unwrap_err().to_string();
        assert!(error.contains("a name has 1 to 128"), "{name}: {error}");
    }
    let config = Config::for_component(Path::new("my component.v2.wasm"));
    assert_eq!(config.apps.keys().next().unwrap(), "my-component.v2");
}

#[test]
fn error_that_quotes_a_variable_of_several_lines_is_one_line() {
    let text = "[apps.a]\ncomponent = 'a'\n[[routes]]\napp = 'a'\npath = '/x ${LINES}'\n";
    let lines = |_: &str| Some("one\ntwo".to_owned());
    let error = Config::parse(text, "linger.toml".as_ref(), lines).unwrap_err().to_string();
    assert!(error.contains("one two") && !error.contains('\n'), "{error}");
}
