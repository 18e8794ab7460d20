//! The error type of handlers, which every other error converts into.

use crate::{BodyError, Response};
use std::fmt;

/// A result whose error type `?` converts every error into: see [`Error`].
pub type Result<T = Response, E = Error> = std::result::Result<T, E>;

/// Why a handler has no ordinary response.
///
/// It is made from one of two things, by `?` or `into`:
///
/// - a [`Response`], which is then sent: an early return;
/// - any [`std::error::Error`], whose message goes to the component's standard error, for the log, while
///   the client gets a bare `500`. Of a [`BodyError`] the client learns more: it is its own mistake
///   (`413` for a body over the limit, `400` for one that broke off).
///
/// It does not implement `std::error::Error` itself, so that `?` can convert every error into it.
///
/// ```no_run
/// use linger_guest::{Request, Response, Result};
///
/// async fn double(request: Request) -> Result<Response> {
///     let Some(number) = request.query("number") else {
///         return Err(Response::text("a number, please\n").status(400).into());
///     };
///     let number: u32 = number.parse()?; // `500` to the client, the reason to the log
///     Ok(Response::text(format!("{}\n", u64::from(number) * 2)))
/// }
/// ```
pub struct Error(Kind);

enum Kind {
    Answer(Box<Response>),
    Failure(Box<dyn std::error::Error>),
}

impl Error {
    /// The response that the client gets, and a line in the log for what it does not get.
    pub(crate) fn answer(self) -> Response {
        match self.0 {
            Kind::Answer(response) => *response,
            Kind::Failure(error) => match error.downcast_ref::<BodyError>() {
                Some(mistake @ BodyError::TooLarge { .. }) => {
                    Response::text(format!("{mistake}\n")).status(413)
                }
                Some(mistake @ BodyError::Broken(_)) => {
                    eprintln!("{mistake}");
                    Response::text("the request body broke off\n").status(400)
                }
                None => {
                    eprintln!("the handler failed: {}", Chain(&*error));
                    Response::text("Internal Server Error\n").status(500)
                }
            },
        }
    }
}

impl<E: std::error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Kind::Failure(Box::new(error)))
    }
}

impl From<Response> for Error {
    fn from(response: Response) -> Self {
        Self(Kind::Answer(Box::new(response)))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Answer(response) => response.fmt(f),
            Kind::Failure(error) => error.fmt(f),
        }
    }
}

/// An error and what caused it, in one line.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_does_not_reach_the_client() {
        let failure = "x".parse::<u32>().unwrap_err();
        let response = Error::from(failure).answer();
        assert_eq!(response.status_code(), 500);
        assert_eq!(response.body(), b"Internal Server Error\n");
    }

    #[test]
    fn body_over_the_limit_is_413_and_names_it() {
        let response = Error::from(BodyError::TooLarge { limit: 10 }).answer();
        assert_eq!(response.status_code(), 413);
        assert_eq!(response.body(), b"the body is larger than 10 bytes\n");
    }

    #[test]
    fn response_is_the_answer() {
        let response = Error::from(Response::empty()).answer();
        assert_eq!(response.status_code(), 204);
    }
}
