//! (host, path, method) to a route. Pure.

use http::{Method, Uri};

use linger_base::spelling::{self, decoded};
use linger_config::RouteConfig;

/// The result of a lookup.
#[derive(Debug, PartialEq, Eq)]
pub enum RouteMatch<T> {
    /// This one takes it.
    Found(T),
    /// A route matches the path, but only for these other methods.
    OtherMethods(Vec<Method>),
    /// No route matches.
    Nothing,
    /// The path is ambiguous: another reading of it leads elsewhere.
    Ambiguous,
}

/// The same, by the place in the table.
#[derive(PartialEq, Eq)]
enum RouteIndex {
    At(usize),
    OtherMethods(Vec<Method>),
    Nothing,
}

/// Routes, the most specific first: a host before any host, then the longer path.
#[derive(Debug)]
pub struct RouteTable<T> {
    entries: Vec<RouteEntry<T>>,
}

#[derive(Debug)]
struct RouteEntry<T> {
    host: Option<String>,
    /// Without a slash at its end, so `/` is empty.
    prefix: String,
    /// Empty means any.
    methods: Vec<Method>,
    target: T,
}

impl<T> RouteTable<T> {
    /// A table of `routes`, each with what it leads to.
    pub fn new(routes: impl IntoIterator<Item = (RouteConfig, T)>) -> Self {
        let mut entries: Vec<_> =
            routes.into_iter().map(|(route, target)| RouteEntry::new(&route, target)).collect();
        // Stable: of equals, the one that was written first wins.
        entries.sort_by_key(|entry| (entry.host.is_none(), std::cmp::Reverse(entry.prefix.len())));
        Self { entries }
    }

    /// Finds the route for a request. `host` is what the client asked for, with or without a port.
    pub fn find(&self, host: &str, uri: &Uri, method: &Method) -> RouteMatch<&T> {
        let (host, path) = (spelling::host(host), decoded(uri.path()));
        let place = self.place(&host, &path, method);
        if spelling::readings(&path).iter().any(|path| self.place(&host, path, method) != place) {
            return RouteMatch::Ambiguous;
        }
        match place {
            RouteIndex::At(index) => RouteMatch::Found(&self.entries[index].target),
            RouteIndex::OtherMethods(allowed) => RouteMatch::OtherMethods(allowed),
            RouteIndex::Nothing => RouteMatch::Nothing,
        }
    }

    fn place(&self, host: &str, path: &str, method: &Method) -> RouteIndex {
        let mut allowed: Vec<Method> = Vec::new();
        for (index, entry) in self.entries.iter().enumerate().filter(|(_, entry)| entry.covers(host, path)) {
            if entry.methods.is_empty() || entry.methods.contains(method) {
                return RouteIndex::At(index);
            }
            for method in &entry.methods {
                if !allowed.contains(method) {
                    allowed.push(method.clone());
                }
            }
        }
        if allowed.is_empty() { RouteIndex::Nothing } else { RouteIndex::OtherMethods(allowed) }
    }
}

impl<T> RouteEntry<T> {
    fn new(route: &RouteConfig, target: T) -> Self {
        Self {
            host: route.host.as_ref().map(|host| spelling::host(host).into_owned()),
            prefix: decoded(&route.path).trim_end_matches('/').to_owned(),
            // The configuration was checked: every method parses.
            methods: route.methods.iter().filter_map(|method| method.parse().ok()).collect(),
            target,
        }
    }

    fn covers(&self, host: &str, path: &str) -> bool {
        let host_fits = self.host.as_deref().is_none_or(|wanted| wanted == host);
        let rest = path.strip_prefix(self.prefix.as_str());
        host_fits
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.prefix.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use linger_config::Config;

    use super::*;

    fn table(routes: &str) -> RouteTable<String> {
        let used = ["a", "b", "c"].into_iter().filter(|app| routes.contains(&format!("app='{app}'")));
        let apps: Vec<_> = used.map(|app| format!("[apps.{app}]\ncomponent='{app}'\n")).collect();
        let apps = apps.concat();
        let config = Config::parse(&format!("{apps}{routes}"), "t.toml".as_ref(), |_| None).unwrap();
        RouteTable::new(config.routes.into_iter().map(|route| (route.clone(), route.app)))
    }

    fn find<'a>(
        table: &'a RouteTable<String>,
        method: &str,
        host: &str,
        path: &str,
    ) -> RouteMatch<&'a String> {
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
            assert_eq!(find(&table, "GET", "h", path), RouteMatch::Found(&app.to_owned()), "{path}");
        }
    }

    #[test]
    fn named_host_wins_over_any_host() {
        let table = table(
            "[[routes]]\napp='a'\npath='/long/path'\n[[routes]]\napp='b'\nhost='Example.org'\n[[routes]]\napp='c'\nhost='[::1]'",
        );
        assert_eq!(find(&table, "GET", "example.ORG:8080", "/long/path"), RouteMatch::Found(&"b".to_owned()));
        assert_eq!(find(&table, "GET", "[::1]:80", "/"), RouteMatch::Found(&"c".to_owned()));
        assert_eq!(find(&table, "GET", "[::1]", "/"), RouteMatch::Found(&"c".to_owned()));
        assert_eq!(find(&table, "GET", "other", "/long/path"), RouteMatch::Found(&"a".to_owned()));
        assert_eq!(find(&table, "GET", "other", "/"), RouteMatch::Nothing);
    }

    #[test]
    fn wrong_method_lists_the_right_ones() {
        let table = table(
            "[[routes]]\napp='a'\npath='/x'\nmethods=['GET','HEAD']\n[[routes]]\napp='b'\npath='/x'\nmethods=['POST']",
        );
        assert_eq!(find(&table, "POST", "h", "/x"), RouteMatch::Found(&"b".to_owned()));
        assert_eq!(
            find(&table, "PUT", "h", "/x"),
            RouteMatch::OtherMethods(vec![Method::GET, Method::HEAD, Method::POST])
        );
        assert_eq!(find(&table, "PUT", "h", "/y"), RouteMatch::Nothing);
    }

    #[test]
    fn other_spellings_lead_to_the_same_route() {
        let table = table("[[routes]]\napp='a'\n[[routes]]\napp='b'\nhost='Example.org.'\npath='/%67et'");
        for (host, path) in [
            ("example.org", "/get"),
            ("example.org.:80", "/%67et/x"),
            ("EXAMPLE.org", "/g%65%74"),
            ("example.org", "/get//x"),
            ("example.org", "/get/x/../y"),
        ] {
            assert_eq!(find(&table, "GET", host, path), RouteMatch::Found(&"b".to_owned()), "{host} {path}");
        }
        assert_eq!(find(&table, "GET", "example.org", "/%2567et"), RouteMatch::Found(&"a".to_owned()));
    }

    #[test]
    fn path_that_some_would_read_otherwise_leads_nowhere() {
        let table = table("[[routes]]\napp='a'\n[[routes]]\napp='b'\npath='/admin'");
        for path in [
            "//admin",
            "/x/../admin",
            "/./admin",
            "/%2e/admin",
            "/admin/..",
            "/admin/%2E%2e/x",
            "/admin%2Fx",
            "/admin\\x",
            "/x%2f..%2fadmin",
            "/x/..%5Cadmin",
        ] {
            assert_eq!(find(&table, "GET", "h", path), RouteMatch::Ambiguous, "{path}");
        }
        for (path, app) in [("/x//y", "a"), ("/x%2Fadmin", "a"), ("/admin/a%2Fb", "b"), ("/admin/x/..", "b")]
        {
            assert_eq!(find(&table, "GET", "h", path), RouteMatch::Found(&app.to_owned()), "{path}");
        }
        // Where there is one place to go, all readings lead there.
        let only = table_of_one();
        assert_eq!(find(&only, "GET", "h", "//x/../..%2Fy"), RouteMatch::Found(&"a".to_owned()));
    }

    fn table_of_one() -> RouteTable<String> {
        table("[[routes]]\napp='a'")
    }

    proptest::proptest! {
        /// However a server behind a route reads its paths: what the route of another guards does not come to it.
        #[test]
        fn guard_is_not_passed_by_spelling(path in "(/|//|%2f|%5C|\\\\|\\.|\\.\\.|%2e|admin|%61dmin|x){1,9}") {
            let table = table("[[routes]]\napp='a'\n[[routes]]\napp='b'\npath='/admin'");
            let path = format!("/{path}");
            let decoded = path.replace("%2f", "/").replace("%5C", "/").replace('\\', "/").replace("%2e", ".").replace("%61", "a");
            let mut segments: Vec<&str> = Vec::new();
            for segment in decoded.split('/') {
                match segment {
                    "" | "." => {}
                    ".." => drop(segments.pop()),
                    segment => segments.push(segment),
                }
            }
            let guarded = segments.first() == Some(&"admin");
            match find(&table, "GET", "h", &path) {
                RouteMatch::Found(app) => proptest::prop_assert_eq!(app == "b", guarded, "{}", path),
                other => proptest::prop_assert_eq!(other, RouteMatch::Ambiguous),
            }
        }
    }
}
