//! (host, path, method) to a route. Pure.

use http::{Method, Uri};

use crate::config::Route;

/// What the table says about a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Match<T> {
    /// This one takes it.
    Found(T),
    /// There is something at that path, for these other methods only.
    OtherMethods(Vec<Method>),
    /// There is nothing at that path.
    Nothing,
}

/// Routes, the most specific first: a host before any host, then the longer path.
#[derive(Debug)]
pub struct Table<T> {
    entries: Vec<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    host: Option<String>,
    /// Without a slash at its end, so `/` is empty.
    prefix: String,
    /// Empty means any.
    methods: Vec<Method>,
    target: T,
}

impl<T> Table<T> {
    /// A table of `routes`, each with what it leads to.
    pub fn new(routes: impl IntoIterator<Item = (Route, T)>) -> Self {
        let mut entries: Vec<_> =
            routes.into_iter().map(|(route, target)| Entry::new(&route, target)).collect();
        // Stable: of equals, the one that was written first wins.
        entries.sort_by_key(|entry| (entry.host.is_none(), std::cmp::Reverse(entry.prefix.len())));
        Self { entries }
    }

    /// Finds the route for a request. `host` is what the client asked for, with or without a port.
    pub fn find(&self, host: &str, uri: &Uri, method: &Method) -> Match<&T> {
        let host = without_port(host);
        let mut allowed: Vec<Method> = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.covers(host, uri.path())) {
            if entry.methods.is_empty() || entry.methods.contains(method) {
                return Match::Found(&entry.target);
            }
            for method in &entry.methods {
                if !allowed.contains(method) {
                    allowed.push(method.clone());
                }
            }
        }
        if allowed.is_empty() { Match::Nothing } else { Match::OtherMethods(allowed) }
    }
}

impl<T> Entry<T> {
    fn new(route: &Route, target: T) -> Self {
        Self {
            host: route.host.as_ref().map(|host| host.to_ascii_lowercase()),
            prefix: route.path.trim_end_matches('/').to_owned(),
            // The configuration was checked: every method parses.
            methods: route.methods.iter().filter_map(|method| method.parse().ok()).collect(),
            target,
        }
    }

    fn covers(&self, host: &str, path: &str) -> bool {
        let host_fits = self.host.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(host));
        let rest = path.strip_prefix(self.prefix.as_str());
        host_fits
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.prefix.is_empty())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn table(routes: &str) -> Table<String> {
        let used = ["a", "b", "c"].into_iter().filter(|app| routes.contains(&format!("app='{app}'")));
        let apps: Vec<_> = used.map(|app| format!("[apps.{app}]\ncomponent='{app}'\n")).collect();
        let apps = apps.concat();
        let config = Config::parse(&format!("{apps}{routes}"), "t.toml".as_ref(), |_| None).unwrap();
        Table::new(config.routes.into_iter().map(|route| (route.clone(), route.app)))
    }

    fn find<'a>(table: &'a Table<String>, method: &str, host: &str, path: &str) -> Match<&'a String> {
        table.find(host, &path.parse().unwrap(), &method.parse().unwrap())
    }

    #[test]
    fn longest_path_wins_by_whole_segments() {
        let table =
            table("[[routes]]\napp='a'\n[[routes]]\napp='b'\npath='/x'\n[[routes]]\napp='c'\npath='/x/y/'");
        for (path, app) in [
            ("/", "a"),
            ("/xy", "a"),
            ("/x", "b"),
            ("/x/", "b"),
            ("/x/z?q=/x/y", "b"),
            ("/x/y", "c"),
            ("/x/y/z", "c"),
        ] {
            assert_eq!(find(&table, "GET", "h", path), Match::Found(&app.to_owned()), "{path}");
        }
    }

    #[test]
    fn named_host_wins_over_any_host() {
        let table = table(
            "[[routes]]\napp='a'\npath='/long/path'\n[[routes]]\napp='b'\nhost='Example.org'\n[[routes]]\napp='c'\nhost='[::1]'",
        );
        assert_eq!(find(&table, "GET", "example.ORG:8080", "/long/path"), Match::Found(&"b".to_owned()));
        assert_eq!(find(&table, "GET", "[::1]:80", "/"), Match::Found(&"c".to_owned()));
        assert_eq!(find(&table, "GET", "[::1]", "/"), Match::Found(&"c".to_owned()));
        assert_eq!(find(&table, "GET", "other", "/long/path"), Match::Found(&"a".to_owned()));
        assert_eq!(find(&table, "GET", "other", "/"), Match::Nothing);
    }

    #[test]
    fn wrong_method_lists_the_right_ones() {
        let table = table(
            "[[routes]]\napp='a'\npath='/x'\nmethods=['GET','HEAD']\n[[routes]]\napp='b'\npath='/x'\nmethods=['POST']",
        );
        assert_eq!(find(&table, "POST", "h", "/x"), Match::Found(&"b".to_owned()));
        assert_eq!(
            find(&table, "PUT", "h", "/x"),
            Match::OtherMethods(vec![Method::GET, Method::HEAD, Method::POST])
        );
        assert_eq!(find(&table, "PUT", "h", "/y"), Match::Nothing);
    }
}
