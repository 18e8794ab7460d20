//! `linger new`.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;

use crate::project::{ProjectLanguage, ProjectTemplate, files};

/// Make a new project for a handler, with all that it needs of Linger
///
/// The folder NAME gets sources that build to a component, with a test, and a configuration that serves it. What they are written
/// with, an SDK or a helper module, is in it.
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "linger new hello",
    "linger new chat --template longpoll",
    "linger new chat --lang python",
))]
pub(super) struct NewArgs {
    /// The project's name, and that of its folder
    name: String,

    /// What it is written in
    #[arg(long, value_enum, default_value = "rust")]
    lang: ProjectLanguage,

    /// What it starts as: `hello` in Rust, else `longpoll`, if not said
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
        // It is there, whoever reads this.
        let _ = write!(
            std::io::stdout(),
            "{name}: made. Next:\n\n  cd {name}\n  {steps}\n  linger serve linger.toml\n\n\
             {name}/README.md says how to try it.\n"
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// Nothing that somebody has written is overwritten.
fn refuse_what_is_there(folder: &Path) -> anyhow::Result<()> {
    let name = folder.display();
    match std::fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => {
                bail!("{name}: the folder is there, and is not empty; take another name, or remove it")
            }
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => bail!("{name}: {error}; take another name, or remove what is there"),
    }
}
