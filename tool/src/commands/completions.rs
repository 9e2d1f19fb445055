//! `skinny completions` and `skinny man`: shell completions and manual pages, made from the definition of the command
//! line.

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::console::Console;
use crate::error::{About, Result};
use crate::files::output;

pub const COMPLETIONS: &str = "\
Examples:
  skinny completions bash > ~/.local/share/bash-completion/completions/skinny
      for Bash; takes effect in the next shell
  skinny completions fish > ~/.config/fish/completions/skinny.fish
      for Fish";

pub const MAN: &str = "\
Examples:
  skinny man | man -l -
      shows the page of the program
  skinny man --out ~/.local/share/man/man1
      writes a page for each command, e.g. for man skinny-run";

/// Writes the completion script of a shell
///
/// The script goes to standard output. The documentation of the shell says where to put it.
#[derive(Debug, Args)]
#[command(after_long_help = COMPLETIONS)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Writes the manual pages
///
/// Without options, the page of the program goes to standard output. With --out, its page and one page per command go
/// to a folder.
#[derive(Debug, Args)]
#[command(after_long_help = MAN)]
pub struct ManArgs {
    /// Write all pages to this folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

pub fn completions(args: &CompletionsArgs, mut command: Command, console: Console) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "skinny", &mut script);
    console.answer(String::from_utf8_lossy(&script))
}

pub fn man(args: &ManArgs, mut command: Command, console: Console) -> Result<()> {
    command.build();
    match &args.out {
        None => console.answer(page(&command, Path::new("standard output"))?),
        Some(folder) => {
            let name = "skinny";
            write(folder, name, &command, console)?;
            for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
                write(folder, &format!("{name}-{}", command.get_name()), command, console)?;
            }
            Ok(())
        }
    }
}

fn write(folder: &Path, name: &str, command: &Command, console: Console) -> Result<()> {
    let file = folder.join(format!("{name}.1"));
    output::prepare(&file)?;
    // `man` finds the page by this name.
    let command = command.clone().name(name.to_owned());
    output::write(&file, page(&command, &file)?.as_bytes())?;
    console.remark(format_args!("wrote {}", file.display()));
    Ok(())
}

fn page(command: &Command, file: &Path) -> Result<String> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page).about(file)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
