//! `linger new`.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;

use crate::project::{ProjectLanguage, ProjectTemplate, files};

/// Create a project for a handler, complete with SDK, test and configuration
///
/// Creates the folder NAME with sources that build to a component, a test, a configuration that serves it, and a
/// copy of the SDK or helper module.
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "linger new hello",
    "linger new chat --template longpoll",
    "linger new chat --lang python",
))]
pub(super) struct NewArgs {
    /// The name of the project and its folder
    name: String,

    /// The programming language
    #[arg(long, value_enum, default_value = "rust")]
    lang: ProjectLanguage,

    /// The template; by default `hello` for Rust, and `longpoll` for other languages
    #[arg(long, value_enum)]
    template: Option<ProjectTemplate>,
}

impl NewArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { name, lang, template } = self;
        let files = files(&name, lang, template.unwrap_or_else(|| lang.usual_template()))
            .map_err(|message| anyhow!(message))?;
        let folder = Path::new(&name);
        refuse_what_is_there(folder)?;
        for file in files {
            let path = folder.join(file.path);
            let parent = path.parent().unwrap_or(folder);
            std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
            std::fs::write(&path, file.text.as_bytes()).with_context(|| path.display().to_string())?;
        }
        let steps = lang.steps().join("\n  ");
        // The project exists, even if nobody reads this.
        let _ = write!(
            std::io::stdout(),
            "{name}: created. Next steps:\n\n  cd {name}\n  {steps}\n  linger serve linger.toml\n\n\
             {name}/README.md has requests to try.\n"
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// Never overwrites a file that somebody has written.
fn refuse_what_is_there(folder: &Path) -> anyhow::Result<()> {
    let name = folder.display();
    match std::fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => {
                bail!("{name}: the folder exists and is not empty; choose another name, or remove it")
            }
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => bail!("{name}: {error}; choose another name, or remove the file"),
    }
}
